"""Where a server keeps what must outlive it: the tables, and how they are read and written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from impasto.errors import InvalidInput

SCHEMA = "1"
BUSY_MS = 30_000
LOCK = 0x696D70617374  # any number that is ours

metadata = MetaData()

about = Table("about", metadata, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("place", Integer, nullable=False),  # within the priority; the lowest is next
    Column("model", String(80), nullable=False),
    Column("alike", String(80)),  # digest of what its recipes share; None when they do not share it
    Column("request", JSON, nullable=False),
    Column("recipes", JSON, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("sheets", JSON, nullable=False),
    Column("made", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease", String(40)),
    Column("error", JSON),
    Column("idempotency_key", String(200), unique=True),
    Column("said", String(80), nullable=False),  # digest of the request, which a repeated key has to repeat
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Index("jobs_waiting", "state", "priority", "place"),
    sqlite_autoincrement=True,
)

pictures = Table(
    "pictures",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("job", String(40), nullable=False, index=True),
    Column("row", Integer, nullable=False),  # which picture of the job
    Column("kind", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("format", String(8), nullable=False),
    Column("seed", String(20)),
    Column("prompt", Text, nullable=False),
    Column("negative_prompt", Text, nullable=False),
    Column("model", String(200), nullable=False),
    Column("model_digest", String(80), nullable=False),
    Column("recipe", JSON),
    Column("pixels", String(80), nullable=False, index=True),  # `pixels_digest`
    Column("starred", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("pixels", String(80), nullable=False, index=True),  # `pixels_digest`
    sqlite_autoincrement=True,
)


class Database:
    """The tables of one server.

    A change is on the disk when `writing` ends. One change is made at a time: the writers of SQLite would otherwise
    wait for one another by trying again and again.
    """

    def __init__(self, url: str) -> None:
        """Open the database at `url`, and make its tables where they are missing.

        Raises:
            InvalidInput: no database can be opened there, another version's is there, or another server uses it.
        """
        try:
            self.engine = _engine(url)
            metadata.create_all(self.engine)
            self._check_version()
            self._held = _held(self.engine)
        except (ArgumentError, SQLAlchemyError, ImportError) as error:
            shown = url.partition(":")[0]
            raise InvalidInput(f"The {shown} database cannot be opened: {str(error).splitlines()[0]}") from error
        self._writer = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the tables."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection whose changes are kept all together at the end, or none when an exception ends it."""
        with self._writer, self.engine.execution_options(writes=True).begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        if self._held:
            self._held.close()
        self.engine.dispose()

    def _check_version(self) -> None:
        with self.engine.begin() as connection:
            found = connection.scalar(select(about.c.value).where(about.c.key == "schema"))
            if found is None:
                connection.execute(about.insert().values(key="schema", value=SCHEMA))
            elif found != SCHEMA:
                raise InvalidInput(
                    f"The database is of layout {found}; this version of Impasto reads {SCHEMA}. Use another folder."
                )


def _held(engine: Engine) -> Connection | None:
    """Take the database for this process alone, until it ends; SQLite's is in a folder that is taken already."""
    if engine.dialect.name != "postgresql":
        return None
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if not connection.scalar(select(func.pg_try_advisory_lock(LOCK))):
        connection.close()
        engine.dispose()
        raise InvalidInput("Another server uses this database. Stop it, or use another database.")
    return connection


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where sqlite3 thinks they should
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"busy_timeout = {BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine

"""What was found out of files, remembered for as long as they stay as they are.

Hashing a model of four gigabytes takes seconds. A file is taken for unchanged while its size, its times of change and
its inode are; a file that was changed a moment ago is not remembered, since a second change within the clock's tick
would not show (as in git's index, Documentation/technical/racy-git).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from impasto.files import write_text
from impasto.schema import file_digest
from impasto.weights.home import home

SETTLED = 2_000_000_000
"""Nanoseconds after its last change that a file is remembered from on."""


def stamp(path: Path) -> list[int]:
    """Return what changes when the file at `path` does: size, time of change of content and of entry, inode."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


class Facts:
    """Facts by file and by name; those of a file that changed are forgotten."""

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        self.new: dict[str, Any] = {}
        self._known = known or {}

    def know(self, file: Path, what: str, find_out: Callable[[], str]) -> str:
        """Return the fact called `what` of `file`; `find_out` reads it from the file, if it is not remembered."""
        before = stamp(file)
        known = self._of(file, before).get(what)
        return known if isinstance(known, str) else self.learn(file, what, find_out, before)

    def learn(self, file: Path, what: str, find_out: Callable[[], str], before: list[int] | None = None) -> str:
        """Return what `find_out` reads from `file`, whatever was remembered, and remember it."""
        before = before or stamp(file)
        fact = find_out()
        if stamp(file) == before and time.time_ns() - max(before[1:3]) > SETTLED:
            facts = {**self._of(file, before), what: fact}
            self.new[str(file.absolute())] = self._known[str(file.absolute())] = {"stamp": before, "facts": facts}
        return fact

    def sha256(self, file: Path, *, again: bool = False) -> str:
        """Return `sha256:<hex>` of `file`, read if it is not remembered or is to be read `again`."""
        return (self.learn if again else self.know)(file, "sha256", lambda: file_digest(file))

    def _of(self, file: Path, now: list[int]) -> dict[str, Any]:
        known = self._known.get(str(file.absolute()))
        if not isinstance(known, dict) or known.get("stamp") != now or not isinstance(known.get("facts"), dict):
            return {}
        facts: dict[str, Any] = known["facts"]
        return facts


@contextmanager
def remembered(path: Path | None = None) -> Iterator[Facts]:
    """Yield the facts in the file at `path` (by itself one in `home()`), and add those that were new when done.

    What cannot be read or written is found out again the next time.
    """
    path = path or home() / "facts.json"
    facts = Facts(_read(path))
    try:
        yield facts
    finally:
        if facts.new:
            with suppress(OSError):
                write_text(path, json.dumps({**_read(path), **facts.new}, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}

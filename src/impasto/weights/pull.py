"""Pulling: from an offer of the hub to an entry of the store, once, pinned and compared with what was promised.

Pulled are safetensors, configurations, tokenizers and licences; each file is compared with the digest that the hub gave
for it before anything was fetched. What was cut off goes on where it stopped, in the same run or a later one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import InvalidInput, PullFailed, WeightsChanged
from impasto.schema import digest, file_digest
from impasto.weights.detect import CONTENTS, content, kind_at, open_model
from impasto.weights.facts import remembered
from impasto.weights.files import MAX_HEADER_BYTES, read_header
from impasto.weights.hub import download
from impasto.weights.layouts import diffusers
from impasto.weights.offers import Offer, Promised
from impasto.weights.store import KINDS, Entry, Store, Stored, StoredFile

SMALL = 1 << 20
"""Bytes up to which a licence is shown."""


@dataclass(frozen=True)
class Pulling:
    """Where pulling stands.

    Attributes:
        file: that is being fetched, or checked.
        done: bytes of all files that are there.
        total: bytes of all files.
        stored: the entry, at the end.
    """

    file: str
    done: int
    total: int
    stored: Stored | None = None


def licence_text(offer: Offer, store: Store) -> str | None:
    """Return the text of the licence of `offer`, fetched to where the other files will be.

    Raises:
        PullFailed: it cannot be fetched.
    """
    promise = next((file for file in offer.files if file.path == offer.licence.file), None)
    if promise is None or promise.bytes > SMALL:
        return None
    with _staging(offer, store) as folder:
        for _ in _fetched(offer, promise, folder):
            pass
        return (folder / promise.path).read_text("utf-8", "replace")


def discard(offer: Offer, store: Store) -> None:
    """Throw away what was fetched of an `offer` that a person does not want."""
    with _staging(offer, store) as folder:
        shutil.rmtree(folder)


def pull(offer: Offer, store: Store) -> Iterator[Pulling]:
    """Fetch what `offer` says into the `store`; the last thing yielded holds the entry.

    A person must have agreed to the licence before.

    Raises:
        InvalidInput: something else in the store has the name.
        PullFailed: a file cannot be fetched, or is not what the hub promised; what is there is kept for the next time.
        WeightsError: what was fetched cannot be used.
    """
    if stored := there(offer, store):
        yield Pulling("", offer.bytes, offer.bytes, stored)
        return
    with _staging(offer, store) as folder:
        done, first = 0, next(file for file in offer.files if file.path.endswith(".safetensors"))
        for promise in offer.files:
            if promise is first and offer.main == ".":
                diffusers.read_settings(folder)  # before gigabytes of what is not built here
            known = promise.path != offer.main
            for size in _fetched(offer, promise, folder):
                yield Pulling(promise.path, done + size, offer.bytes)
                known = known or _known_by_beginning(offer, _part(folder / offer.main))
            done += promise.bytes
        yield Pulling("checking", done, offer.bytes)
        entry = _entry(offer, folder)
        _free(offer, store)
        stored = store.put(folder, entry)
    yield Pulling("", done, offer.bytes, stored)


def _known_by_beginning(offer: Offer, part: Path) -> bool:
    """Return whether enough of a file of weights is there to know what it is; refuse what is not used here."""
    if not part.is_file():
        return True  # whole
    with part.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if min(length, MAX_HEADER_BYTES) > part.stat().st_size - 8:
            return False
        header = file.read(min(length, MAX_HEADER_BYTES)).decode("utf-8", "replace")
    kind = content(re.findall(r'"([^"]*)":\{', header))
    if kind and CONTENTS[kind].kind is None:
        raise PullFailed(f"{offer.main} of {offer.origin.repo} is {CONTENTS[kind].what}, and not used here.")
    return True


def replaced(offer: Offer, store: Store) -> Stored | None:
    """Return what is in the store under the name of `offer` and from the same repository, but is not the same.

    Raises:
        InvalidInput: something else has the name.
    """
    _free(offer, store)
    found = [stored for stored in store if stored.entry.name == offer.name]
    return next((stored for stored in found if not _same(offer, stored.entry)), None)


def _free(offer: Offer, store: Store) -> None:
    for stored in store:
        origin = stored.entry.origin
        if stored.entry.name == offer.name and (origin is None or origin.repo != offer.origin.repo):
            other = f"{stored.entry.kind} of {origin.repo if origin else 'unknown origin'}"
            raise InvalidInput(f"{offer.name!r} is in the store already, the {other}. Choose another with --name.")


def there(offer: Offer, store: Store) -> Stored | None:
    """Return the entry of what `offer` would bring, if it is in the store and as it was."""
    for stored in store:
        if stored.entry.name == offer.name and _same(offer, stored.entry):
            with suppress(WeightsChanged), remembered() as facts:
                stored.verify(facts)
                return stored
    return None


def _same(offer: Offer, entry: Entry) -> bool:
    if entry.origin is None:
        return False
    wanted = (offer.origin.repo, offer.origin.revision, offer.main, {file.path for file in offer.files})
    return wanted == (entry.origin.repo, entry.origin.revision, entry.main, {file.path for file in entry.files})


@contextmanager
def _staging(offer: Offer, store: Store) -> Iterator[Path]:
    """Yield the folder for what is fetched, which one process at a time may use."""
    from filelock import FileLock, Timeout

    what = digest([offer.origin.repo, offer.origin.revision, sorted(file.path for file in offer.files)])
    folder = store.pulling / f"{offer.name}-{what[7:19]}"
    folder.mkdir(parents=True, exist_ok=True)
    left = offer.bytes - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if (free := shutil.disk_usage(folder).free) < left:
        raise PullFailed(f"{left:,} bytes more are needed for {offer.name}; the disk of {store.root} has {free:,}.")
    lock = FileLock(store.pulling / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PullFailed(f"{offer.origin.repo} is being pulled already. Wait for it to end.") from None
    try:
        yield folder
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _fetched(offer: Offer, promise: Promised, folder: Path) -> Iterator[int]:
    """Fetch a file into `folder`, and yield how many of its bytes are there."""
    target = folder / promise.path
    if not target.is_file() or not _kept(promise, target):
        part = _part(target)
        part.parent.mkdir(parents=True, exist_ok=True)
        yield from download(offer, promise, part)
        if not _kept(promise, part):
            part.unlink()
            raise PullFailed(
                f"{promise.path} of {offer.origin.repo} is not what the hub promised: its hash is another. "
                "It was thrown away. Try again; if it stays so, do not use this hub."
            )
        part.replace(target)
    yield promise.bytes


def _part(target: Path) -> Path:
    """Return where a file is while it is fetched."""
    return target.with_name(f".{target.name}.part")


def _kept(promise: Promised, path: Path) -> bool:
    """Return whether the file at `path` is what was promised."""
    if promise.sha256:
        return file_digest(path) == f"sha256:{promise.sha256}"
    content = path.read_bytes() if path.stat().st_size == promise.bytes else b""
    return bool(promise.blob) and _blob(content) == promise.blob


def _blob(content: bytes) -> str:
    """Return git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(offer: Offer, folder: Path) -> Entry:
    main = folder / offer.main
    kind, what = kind_at(main)
    if kind not in KINDS:
        raise PullFailed(f"{offer.main} of {offer.origin.repo} is {what or 'no file of weights'}, and not used here.")
    files = tuple(
        StoredFile(path=promise.path, bytes=promise.bytes, sha256=file_digest(folder / promise.path))
        for promise in sorted(offer.files, key=lambda promise: promise.path)
    )
    for stray in set(folder.rglob("*")) - {folder / promise.path for promise in offer.files}:
        if stray.is_file():
            stray.unlink()  # of an earlier attempt
    return Entry(
        name=offer.name,
        kind=kind,
        main=offer.main,
        files=files,
        identity=open_model(main).digest if kind == "model" else None,
        origin=offer.origin,
        licence=offer.licence,
        base=offer.base or (None if main.is_dir() else read_header(main)[1].get("ss_new_sd_model_hash")),
    )

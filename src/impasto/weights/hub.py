"""The Hugging Face hub, or whatever speaks its routes: the one place where a connection to the outside is opened.

The address is that of the variable HF_ENDPOINT, or the usual one; who asks is known by HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto import __version__
from impasto.errors import ImpastoError, InvalidInput, NotFound, PullFailed, PushFailed
from impasto.weights.offers import Offer, Promised, Wish, offered

LIBRARY: dict[str, Any] = {"library_name": "impasto", "library_version": __version__}

TRIES = 5
"""How often in a row a connection may bring nothing before it is given up."""

TIMEOUT = 30.0


def ask(wish: Wish) -> Offer:
    """Ask the hub what it offers for a `wish`; nothing is fetched yet.

    Raises:
        NotFound: there is no such repository, revision, file or variant.
        InvalidInput: the repository's name is none, or it has several files to choose from.
        PullFailed: the hub cannot be reached, or does not let this person in, or there is nothing that is pulled.
    """
    from huggingface_hub import HfApi

    with told(wish.repo, PULL, wish.revision):
        info = HfApi(endpoint=endpoint(), **LIBRARY).model_info(wish.repo, revision=wish.revision, files_metadata=True)
    return offered(info, wish, endpoint())


def endpoint() -> str | None:
    """Return the address that HF_ENDPOINT names; None for the usual one."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def download(offer: Offer, promise: Promised, part: Path) -> Iterator[int]:
    """Fetch the rest of a file to `part`, over as many connections as it takes, and yield how much of it is there.

    Raises:
        PullFailed: the hub does not give it, or connections bring nothing any more.
    """
    import httpx2

    idle, reason = 0, "nothing came"
    while (have := _size(part)) < promise.bytes or not part.exists():
        if idle >= TRIES:
            raise PullFailed(
                f"The connection broke off at {have:,} of {promise.bytes:,} bytes of {promise.path}: {reason}. "
                "The same command goes on from there."
            )
        time.sleep(idle)
        try:
            with told(offer.origin.repo, PULL, offer.origin.revision, cut=False):
                yield from _stream(offer, promise, part, have)
        except httpx2.TransportError as error:
            reason = str(error)
        idle = 0 if _size(part) > have else idle + 1


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stream(offer: Offer, promise: Promised, part: Path, have: int) -> Iterator[int]:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers  # utils names it too, but not for type checkers
    from huggingface_hub.utils._http import hf_raise_for_status

    origin = offer.origin
    url = hf_hub_url(origin.repo, promise.path, revision=origin.revision, endpoint=origin.hub)
    headers = {**build_hf_headers(**LIBRARY), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        goes_on = have > 0 and response.status_code == 206
        with part.open("ab" if goes_on else "wb", buffering=0) as file:  # what came is there, whatever comes next
            size = have if goes_on else 0
            for piece in response.iter_bytes():
                size += file.write(piece[: promise.bytes + 1 - size])
                yield size
                if size > promise.bytes:
                    break  # its hash will not be what was promised either


LOG_IN = "say who you are: `hf auth login`, or the variable HF_TOKEN."

WORDS = {
    "HFValidationError": "{repo!r} is not a repository's name. Write OWNER/NAME, as in its address.",
    "OfflineModeIsEnabled": (
        "{repo} cannot be {done}: --offline, IMPASTO_OFFLINE or HF_HUB_OFFLINE forbids the network."
    ),
    "GatedRepoError": (
        f"{{repo}} is gated: its owners let in who agreed to their conditions. Agree on its page, then {LOG_IN}"
    ),
    "RevisionNotFoundError": "{repo} has no revision {revision!r}.",
    "RepositoryNotFoundError": (
        f"There is no repository {{repo!r}} on {{hub}}, or it is private. Check the name; for a private one, {LOG_IN}"
    ),
    "HfHubHTTPError": (
        f"{{hub}} did not {{verb}} {{repo}}: {{reason}}. Try again later; for what is not public, {LOG_IN}"
    ),
    "RuntimeError": "{hub} did not {verb} {repo}: {reason}. Try again later.",  # for a large file that was not taken
    "TransportError": "{hub} cannot be reached for {repo}: {reason}. Is there a network?",
}
"""What the hub's library raises, by name, and what is said instead of its many words; of a kind, the nearest row."""

MISTAKES: dict[str, type[ImpastoError]] = {
    "HFValidationError": InvalidInput,
    "RevisionNotFoundError": NotFound,
    "RepositoryNotFoundError": NotFound,
}
"""Those that are about what was asked for, and what they are then; of all others it depends on the errand."""


@dataclass(frozen=True)
class Errand:
    """What a hub is asked to do.

    Attributes:
        error: what is raised when it fails.
        verb: what the hub does then, after `did not`.
        done: what cannot be done with a repository then.
    """

    error: type[ImpastoError]
    verb: str
    done: str


PULL = Errand(PullFailed, "give", "pulled")
PUSH = Errand(PushFailed, "take", "pushed")


@contextmanager
def told(repo: str, errand: Errand, revision: str | None = None, *, cut: bool = True) -> Iterator[None]:
    """Say in one message what the hub's library says in many (`WORDS`).

    Args:
        repo: that it is about.
        errand: what the hub is asked to do.
        revision: that was asked for.
        cut: whether a connection that breaks off is an error too; else it is raised as it is.

    Raises:
        InvalidInput: the repository's name is none.
        NotFound: there is no such repository or revision.
        PullFailed, PushFailed: by the errand.
    """
    import httpx2

    try:
        yield
    except Exception as error:
        row = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in WORDS), None)
        if row is None or (isinstance(error, httpx2.TransportError) and not cut):
            raise
        facts = {"repo": repo, "revision": revision, "hub": endpoint() or "the hub", "reason": _reason(error)}
        words = WORDS[row].format(**facts, verb=errand.verb, done=errand.done)
        raise MISTAKES.get(row, errand.error)(words) from error


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason_phrase}"
    first, *_ = str(error).splitlines() or [type(error).__name__]
    return f"{first} {error.__cause__ or ''}".rstrip()

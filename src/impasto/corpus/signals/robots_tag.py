"""X-Robots-Tag headers and meta robots: `noai`, `noimageai`, for all or for one user agent.

The grammar is Google's robots meta tag specification, the AI directives DeviantArt's. A header is a list of directives;
`agent:` before a directive narrows what follows in that line to the agent. Some directives have values that hold
colons and commas themselves (`unavailable_after: Wed, 25 Jun 2030 15:00:00 GMT`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from impasto.corpus.signals.agents import concerns_us
from impasto.corpus.signals.reading import Reading, strictest

HEADER = "X-Robots-Tag"

REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""Directives that refuse. Who wants no index of their images wants no collection of them either."""

VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview", "indexifembedded"})
"""Directives with a value after a colon, which therefore name no agent."""

_AGENT = re.compile(r"[A-Za-z*_][\w.*+/-]*")


def read(lines: Iterable[str]) -> Reading:
    """Read the X-Robots-Tag header lines of a response, each on its own.

    A refusal that follows a comma after another agent's directive may come from a line of its own that something on
    the way joined to it (RFC 9110, 5.3), so that is `unknown`.
    """
    return strictest(_line(line) for line in lines)


def read_meta(metas: Iterable[tuple[str, str]]) -> Reading:
    """Read the (name, content) of a page's `meta` elements, of which those named `robots` or for us count."""
    return strictest(
        _line(content) for name, content in metas if name.strip().lower() == "robots" or _names_us(name.strip())
    )


def _names_us(name: str) -> bool:
    return bool(name) and name != "*" and concerns_us(name)


def _line(line: str) -> Reading:
    verdicts = list(_verdicts(line))
    if "deny" in verdicts:
        return Reading("deny", line)
    return Reading("unknown" if "unknown" in verdicts else "absent", line)


def _verdicts(line: str) -> Iterator[str]:
    ours, narrowed = True, False
    for part in line.split(","):
        scope, directive = _scoped(part)
        if scope is not None:
            ours, narrowed = concerns_us(scope), True
        if _refuses(directive):
            yield "deny" if ours else "unknown" if narrowed and scope is None else "absent"
        elif _nearly_refuses(directive):
            yield "unknown" if ours or scope is None else "absent"


def _scoped(part: str) -> tuple[str | None, str]:
    """Return the agent that `part` names, if it names one, and its directive."""
    before, colon, after = part.partition(":")
    name = before.strip()
    if not colon or name.lower() in VALUED or _refuses(name) or not _AGENT.fullmatch(name):
        return None, (name if colon else part)
    return name, after


def _refuses(directive: str) -> bool:
    return directive.strip().strip("\"'").lower() in REFUSALS


def _nearly_refuses(directive: str) -> bool:
    """Return whether someone meant to refuse and wrote it in another way, such as `no-ai` or `noai=1`."""
    words: Sequence[str] = re.findall(r"[a-z]+", directive.lower())
    return any(word in ("noai", "noimageai") for word in words) or "".join(words) in ("noai", "noimageai")

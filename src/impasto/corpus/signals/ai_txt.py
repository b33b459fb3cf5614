"""ai.txt (Spawning): robots.txt's syntax, read for the use of works and not for their fetching: `Disallow: *.jpg`."""

from __future__ import annotations

from impasto.corpus.signals import groups
from impasto.corpus.signals.agents import TRAINING
from impasto.corpus.signals.paths import matches, target
from impasto.corpus.signals.reading import ABSENT, Reading, strictest

PATH = "/ai.txt"


def read(text: str | None, url: str) -> Reading:
    """Read the ai.txt of a site for the work at `url`: the longest rule that fits holds, of two as long the refusal.

    Args:
        text: the file; None when there is none. A web page in its place means that there is none.
        url: of the work.
    """
    if text is None or text.lstrip("\ufeff \r\n\t").startswith("<"):
        return ABSENT
    named = [agent for agent in sorted(TRAINING) if agent in text.lower()]
    others = (_of(text, url, agent) for agent in named)
    refused = [reading for reading in others if reading.verdict == "deny"]
    return strictest([_of(text, url, None), *refused])


def _of(text: str, url: str, agent: str | None) -> Reading:
    path = target(url)
    best: tuple[int, Reading] = (-1, ABSENT)
    for line in groups.rules(text, agent):
        if line.key in ("allow", "disallow") and line.value and _fits(line, path):
            reading = Reading("deny" if line.key == "disallow" else "allow", f"{line.key}: {line.value}")
            longer = len(line.value) > best[0] or (len(line.value) == best[0] and reading.verdict == "deny")
            best = (len(line.value), reading) if longer else best
    return best[1]


def _fits(line: groups.Line, path: str) -> bool:
    """Return whether a rule is about `path`; a refusal of `*.jpg` is one of `FOX.JPG` too."""
    if line.key == "disallow":
        return matches(line.value.lower(), path.lower())
    return matches(line.value, path)

"""robots.txt (RFC 9309): whether we may ask for a url at all, and what AIPREF lines in it say of training.

Leave to fetch is not leave to train: a robots.txt that lets us in is `absent`, never `allow`. One that keeps a crawler
out that gathers for training (`agents.TRAINING`) keeps us out too.
"""

from __future__ import annotations

from impasto.corpus.signals import groups
from impasto.corpus.signals.agents import TOKEN, TRAINING
from impasto.corpus.signals.content_usage import HEADER, preference
from impasto.corpus.signals.paths import matches, target
from impasto.corpus.signals.reading import ABSENT, Reading, strictest


class Robots:
    """A robots.txt that was fetched."""

    def __init__(self, text: str) -> None:
        """Parse `text`; what is no rule in it is passed over, as RFC 9309 has it."""
        from protego import Protego

        self.text = text.lstrip("\ufeff")[: groups.SIZE]
        self._rules = Protego.parse(self.text)
        self._training = [agent for agent in sorted(TRAINING) if agent in self.text.lower()]

    def crawl(self, url: str) -> Reading:
        """Return `deny` when neither we nor those that gather for training may fetch `url`."""
        refused = [agent for agent in (TOKEN, *self._training) if not self._rules.can_fetch(url, agent)]
        return Reading("deny", f"disallowed for {', '.join(refused)}") if refused else ABSENT

    def delay(self) -> float | None:
        """Return the seconds to wait between requests, where they are stated."""
        delay = self._rules.crawl_delay(TOKEN)
        return float(delay) if delay is not None else None

    def usage(self, url: str) -> Reading:
        """Return what Content-Usage lines say of `url`: those for us, and refusals to those that gather for training.

        The longest path that fits holds, of several as long the strictest.
        """
        others = (self._usage(url, agent) for agent in self._training)
        return strictest([self._usage(url, None), *(one for one in others if one.verdict in ("deny", "unknown"))])

    def _usage(self, url: str, agent: str | None) -> Reading:
        path = target(url)
        found: dict[int, list[Reading]] = {}
        for line in groups.rules(self.text, agent):
            if line.key == HEADER.lower():
                pattern, text = _split(line.value)
                if matches(pattern, path):
                    found.setdefault(len(pattern), []).append(preference(text))
        return strictest(found[max(found)]) if found else ABSENT


def _split(value: str) -> tuple[str, str]:
    """Split `/path train-ai=n` into path and preferences; without a path it is for all."""
    if not value.startswith(("/", "*")):
        return "/", value
    pattern, *text = value.split(maxsplit=1)  # by a space or a tab
    return pattern, "".join(text)


def of_answer(status: int, text: str) -> Robots | Reading:
    """Return the robots.txt in an answer, or what its failure means (RFC 9309, 2.3.1).

    Args:
        status: of the HTTP response; 0 when there was none.
        text: its body.
    """
    if 200 <= status < 300:
        return Robots(text)
    if 400 <= status < 500 and status != 429:
        return ABSENT
    return Reading("unknown", f"robots.txt cannot be had (status {status})")

"""Groups of a robots.txt or of one of its kin (RFC 9309, 2.2): which lines are meant for whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from impasto.corpus.signals.agents import is_us, product

SIZE = 500 * 1024  # bytes that RFC 9309 asks to be read


class Line(NamedTuple):
    """A rule: `key` in lower case, and its value."""

    key: str
    value: str


def rules(text: str, agent: str | None = None) -> list[Line]:
    """Return the rules for `agent` (None: us): those of the groups that name it, else those of the groups for `*`.

    What stands before the first user-agent line belongs to nobody by the letter, and is taken for everybody.
    """
    own: list[Line] = []
    common: list[Line] = []
    named = False
    for agents, line in _grouped(text):
        if any(is_us(one) if agent is None else product(one) == agent for one in agents):
            named = True
            own.extend([line] if line else [])
        elif line and (not agents or "*" in agents):
            common.append(line)
    return own if named else common


def _grouped(text: str) -> Iterator[tuple[tuple[str, ...], Line | None]]:
    """Yield each rule with the agents of its group; and each group once without a rule, since it may have none."""
    agents: tuple[str, ...] = ()
    open_ = False
    for line in _lines(text):
        if line.key == "user-agent":
            agents = (*agents, line.value) if open_ else (line.value,)
            open_ = True
            yield agents, None
        elif line.key != "sitemap":
            open_ = False
            yield agents, line


def _lines(text: str) -> Iterator[Line]:
    for raw in text.lstrip("\ufeff")[:SIZE].splitlines():
        key, colon, value = raw.partition("#")[0].partition(":")
        if colon:
            yield Line(key.strip().lower().replace(" ", "-").replace("useragent", "user-agent"), value.strip())

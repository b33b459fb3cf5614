"""What was found out about a file: what holds, what was changed, and what is not known, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["holds", "changed", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: a word for it: `signature`, `signer`, `file`, `pixels`, `recipe` ...
        state: whether it holds, was changed, or cannot be known.
        text: a sentence for people.
    """

    about: str
    state: State
    text: str


@dataclass(frozen=True)
class Report:
    """What was found out about a file or folder.

    Attributes:
        what: it is, in words.
        findings: what was looked at.
        says: what it says of itself, which holds as far as its signer is to be believed: (what, value).
    """

    what: str
    findings: tuple[Finding, ...]
    says: tuple[tuple[str, str], ...] = ()

    def of(self, state: State) -> list[Finding]:
        """Return the findings of one state."""
        return [finding for finding in self.findings if finding.state == state]

    @property
    def state(self) -> State:
        """`changed` when anything was, else `unknown` when anything is, else `holds`."""
        states = [finding.state for finding in self.findings]
        return "changed" if "changed" in states else "unknown" if "unknown" in states or not states else "holds"

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "what": self.what,
            "state": self.state,
            "findings": [vars(finding) for finding in self.findings],
            "says": [{"what": what, "value": value} for what, value in self.says],
        }


def stranger(name: str) -> Finding:
    """Return what is to be said of a signer called `name` whom nobody here knows."""
    return Finding(
        "signer",
        "unknown",
        f"It was signed by somebody who goes by {name}; whether that is true is not known here. "
        "If you have a certificate of theirs from a place that you believe, give it with --trust.",
    )

"""What all signals, consent and licence of a work come to. The one place where that is decided.

    explicit grant > refusal of this work > refusal of its site > licence > silence

A grant is the maker's own (`owner`, `grant`, with evidence); a site's `allow` is none, and outweighs no refusal. Of
several signals the most restrictive holds. What could not be read is unknown, and unknown is refused. Silence is
`unreserved`, never consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from impasto.corpus.record import Basis, Consent, Licence, Signal

#: kind of a signal -> whether it speaks of the work or of its whole site
KINDS: Mapping[str, Literal["work", "site"]] = {
    "X-Robots-Tag": "work",
    "meta robots": "work",
    "Content-Usage": "work",
    "TDMRep": "work",
    "TDMRep meta": "work",
    "C2PA training-mining": "work",
    "XMP data mining": "work",
    "robots.txt": "site",
    "robots.txt Content-Usage": "site",
    "ai.txt": "site",
}

GRANTS: tuple[Basis, ...] = ("owner", "grant")
LICENCES: tuple[Basis, ...] = ("licence", "public-domain")


class Decision(NamedTuple):
    """Whether a work may be taken.

    Attributes:
        basis: the right by which it may be, `unknown` when it is refused.
        refused_by: kinds of the signals that refuse it, or that cannot be read; empty when it may be taken.
        reason: one sentence for people.
    """

    basis: Basis
    refused_by: tuple[str, ...]
    reason: str

    @property
    def taken(self) -> bool:
        """Whether the work may be taken."""
        return not self.refused_by and self.basis != "unknown"


def decide(signals: Iterable[Signal], consent: Consent, licence: Licence) -> Decision:
    """Return what `signals`, `consent` and `licence` come to.

    Args:
        signals: all that were looked for; kinds that `KINDS` does not have speak of the work.
        consent: as stated beforehand; basis `unknown` where nobody stated any.
        licence: as stated by the source; `unknown` where it states none.
    """
    if consent.basis in GRANTS and consent.evidence:
        return Decision(consent.basis, (), f"Granted: {consent.evidence}")
    refused = [signal for signal in signals if signal.verdict in ("deny", "unknown")]
    for level in ("work", "site"):
        if by := [signal for signal in refused if KINDS.get(signal.kind, "work") == level]:
            words = "; ".join(f"{s.kind} ({s.verdict}) {s.raw}".strip()[:200] for s in by)
            return Decision("unknown", tuple(signal.kind for signal in by), f"Reserved, or not readable, by {words}")
    if consent.basis in LICENCES and licence.spdx != "unknown":
        return Decision(consent.basis, (), f"Licensed {licence.spdx}, and nothing reserves it.")
    if consent.basis == "synthetic":
        return Decision("synthetic", (), "Synthetic, and nothing reserves it.")
    return Decision("unreserved", (), "No reservation was found; nobody was asked.")

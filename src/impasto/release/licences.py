"""What the licences of a base, a corpus and adapters together allow and oblige: a table and one engine.

The reading is the strict one: whatever a model was made from counts as something that the model is a derivative of, the
works it learned from too, which is contested in law. An `ok` therefore never rests on a contested point; it is no legal
advice either. What is not in the table is asked about, never assumed.

Sources: the licences' texts; creativecommons.org/compatiblelicenses; the GNU project's list of licences;
CreativeML Open RAIL-M (2022-08-22), paragraphs 4, 5 and Attachment A.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from license_expression import (  # type: ignore[import-untyped]  # it ships no type information
    AND,
    OR,
    ExpressionError,
    LicenseWithExceptionSymbol,
    Licensing,
)
from license_expression import LicenseExpression as Parsed

from impasto.errors import InvalidInput

Verdict = Literal["ok", "ask", "no"]
Role = Literal["base", "corpus", "adapter", "part"]

ATTRIBUTION, COPY, NOTICES, CHANGES = "attribution", "licence copy", "notices", "changes"
USE, SAME, NON_COMMERCIAL, SOURCE = "use restrictions", "same licence", "non-commercial", "source"

OBLIGATIONS = {
    ATTRIBUTION: "Name the makers, their licences and where those are (ATTRIBUTION).",
    COPY: "Give everybody who gets it a copy of the licence (LICENSE).",
    NOTICES: "Keep the copyright and other notices that came with it.",
    CHANGES: "Say prominently that it was changed, and what was.",
    USE: "Carry the use restrictions as an enforceable provision in the terms that it is given or served under, "
    "and tell whoever gets it that they are subject to them (paragraphs 4 and 5).",
    SAME: "Give it under the same licence, or one that its makers named as compatible, and add no further terms.",
    NON_COMMERCIAL: "Give and use it for no commercial purpose.",
    SOURCE: "Offer the source in the form preferred for changing it, the scripts and settings of its training.",
}
"""What one may be obliged to, in words."""


@dataclass(frozen=True)
class Terms:
    """A row of `TERMS`: what one licence asks of whoever gives on something made from its work.

    Attributes:
        obliges: keys of `OBLIGATIONS`.
        derivatives: whether something made from it may be given on at all.
        into: share-alike: the only licences that it may be given on under; None when it may be under others too.
        accepts: copyleft: the only licences, besides itself and `into`'s, whose works may go into work under it; None
            for any whose own terms allow it.
        use: name of the use restrictions that have to be carried.
        agreement: terms with conditions on persons or sizes that only a person can judge.
        words: what to know of it, a sentence.
    """

    obliges: tuple[str, ...] = ()
    derivatives: bool = True
    into: frozenset[str] | None = None
    accepts: frozenset[str] | None = None
    use: str | None = None
    agreement: bool = False
    words: str = ""

    @property
    def attribution(self) -> bool:
        """Whether its makers or notices have to be kept by whoever gets it."""
        return bool({ATTRIBUTION, NOTICES} & set(self.obliges))


FREE = Terms(words="Nothing is asked.")
PERMISSIVE = Terms((NOTICES, COPY))
APACHE = Terms((NOTICES, COPY, CHANGES))
BY = Terms((ATTRIBUTION, NOTICES, COPY, CHANGES))
BY_NC = Terms((*BY.obliges, NON_COMMERCIAL))
RAIL = (COPY, NOTICES, CHANGES, USE)


def _alike(*into: str, obliges: Sequence[str] = BY.obliges) -> Terms:
    return Terms((*obliges, SAME), into=frozenset(into))


FOR_GPL = frozenset(
    {"CC0-1.0", "CC-PDM-1.0", "Unlicense", "0BSD", "MIT-0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Zlib"}
)
"""What may go into work under any version of the GNU licences."""

FOR_GPL3 = FOR_GPL | {"Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0"}


def _copyleft(*into: str, accepts: frozenset[str]) -> Terms:
    return Terms((NOTICES, COPY, CHANGES, SOURCE, SAME), into=frozenset(into), accepts=accepts)


def _no_derivatives(*obliges: str) -> Terms:
    return Terms((*BY.obliges, *obliges), derivatives=False, words="Nothing made from it may be given on.")


def _creative_commons() -> Iterator[tuple[str, Terms]]:
    """Yield the licences of Creative Commons; share-alike is kept by the same version or a later one (from 2.0 on)."""
    versions = ("1.0", "2.0", "2.5", "3.0", "4.0")
    for place, version in enumerate(versions):
        later = versions[place:] if version != "1.0" else ("1.0",)
        free = ["LAL-1.3", "GPL-3.0-only"] if version == "4.0" else []
        yield f"CC-BY-{version}", BY
        yield f"CC-BY-SA-{version}", _alike(*(f"CC-BY-SA-{one}" for one in later), *free)
        yield f"CC-BY-NC-{version}", BY_NC
        yield f"CC-BY-NC-SA-{version}", _alike(*(f"CC-BY-NC-SA-{one}" for one in later), obliges=BY_NC.obliges)
        yield f"CC-BY-ND-{version}", _no_derivatives()
        yield f"CC-BY-NC-ND-{version}", _no_derivatives(NON_COMMERCIAL)


GPL2, GPL3, AGPL3 = ("GPL-2.0-only", "GPL-2.0-or-later"), ("GPL-3.0-only", "GPL-3.0-or-later"), ("AGPL-3.0-only",)

TERMS: dict[str, Terms] = {
    **dict.fromkeys(("CC0-1.0", "CC-PDM-1.0", "Unlicense", "0BSD", "MIT-0", "PDDL-1.0"), FREE),
    **dict.fromkeys(
        ("MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Zlib", "BSL-1.0", "CDLA-Permissive-2.0"), PERMISSIVE
    ),
    "Apache-2.0": APACHE,
    "ODC-By-1.0": BY,
    **dict(_creative_commons()),
    "LAL-1.3": _alike("LAL-1.3", "CC-BY-SA-4.0"),
    "OFL-1.1": _alike("OFL-1.1"),
    "ODbL-1.0": _alike("ODbL-1.0"),
    "GPL-2.0-only": _copyleft("GPL-2.0-only", accepts=FOR_GPL),
    "GPL-2.0-or-later": _copyleft(*GPL2, *GPL3, accepts=FOR_GPL),
    "GPL-3.0-only": _copyleft("GPL-3.0-only", accepts=FOR_GPL3),
    "GPL-3.0-or-later": _copyleft("GPL-3.0-only", "GPL-3.0-or-later", accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "LGPL-2.1-only": _copyleft("LGPL-2.1-only", *GPL2, *GPL3, accepts=FOR_GPL),
    "LGPL-2.1-or-later": _copyleft("LGPL-2.1-only", "LGPL-2.1-or-later", *GPL2, *GPL3, accepts=FOR_GPL),
    "LGPL-3.0-only": _copyleft("LGPL-3.0-only", "GPL-3.0-only", accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "LGPL-3.0-or-later": _copyleft("LGPL-3.0-only", "LGPL-3.0-or-later", *GPL3, accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "AGPL-3.0-only": _copyleft("AGPL-3.0-only", accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "AGPL-3.0-or-later": _copyleft("AGPL-3.0-only", "AGPL-3.0-or-later", accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "MPL-2.0": _copyleft("MPL-2.0", accepts=FOR_GPL3 - {"CC-BY-SA-4.0"}),
    "EUPL-1.2": _copyleft("EUPL-1.2", accepts=FOR_GPL),
    "CreativeML-OpenRAIL-M": Terms(RAIL, use="CreativeML-OpenRAIL-M"),
    "OpenRAIL++-M": Terms(RAIL, use="OpenRAIL++-M"),
    "BigScience-OpenRAIL-M": Terms(RAIL, use="BigScience-OpenRAIL-M"),
    **{
        name: Terms((COPY, NOTICES, USE, *more), use=name, agreement=True, words=words)
        for name, more, words in [
            ("Llama-2", (), "Its agreement has a limit of users and forbids improving other language models with it."),
            ("Gemma", (), "Its terms and prohibited uses have to be passed on by agreement."),
            ("Stability-AI-Community", (), "Its agreement ends at a yearly revenue, and asks to register."),
            ("Stability-AI-NC", (NON_COMMERCIAL,), "Its agreement is for research only."),
            ("FLUX-1-dev-NC", (NON_COMMERCIAL,), "Its agreement is for no commercial purpose."),
        ]
    },
    "NONE": Terms(derivatives=False, words="Its makers gave no licence: all rights are reserved."),
}
"""SPDX identifier, or where SPDX has none the licence's own name -> what it asks."""

ALIASES = {
    "cc0": "CC0-1.0",
    "pddl": "PDDL-1.0",
    "public-domain": "CC-PDM-1.0",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-2.0+": "GPL-2.0-or-later",
    "gpl-3.0": "GPL-3.0-only",
    "gpl-3.0+": "GPL-3.0-or-later",
    "agpl-3.0": "AGPL-3.0-only",
    "agpl-3.0+": "AGPL-3.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-2.1+": "LGPL-2.1-or-later",
    "lgpl-3.0": "LGPL-3.0-only",
    "lgpl-3.0+": "LGPL-3.0-or-later",
    "ofl-1.1-rfn": "OFL-1.1",
    "ofl-1.1-no-rfn": "OFL-1.1",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "licenseref-scancode-stable-diffusion-2022-08-22": "CreativeML-OpenRAIL-M",
    "openrail++": "OpenRAIL++-M",
    "bigscience-openrail-m": "BigScience-OpenRAIL-M",
    "llama2": "Llama-2",
    "gemma": "Gemma",
    "stabilityai-ai-community": "Stability-AI-Community",
    "stabilityai-nc-research-community": "Stability-AI-NC",
    "flux-1-dev-non-commercial-license": "FLUX-1-dev-NC",
    "all-rights-reserved": "NONE",
}
"""Other names, in lower case: of the Hugging Face hub, ScanCode and older SPDX lists -> name in `TERMS`."""

_NAMES = {**{name.lower(): name for name in TERMS}, **ALIASES}
FONTS = "OFL-1.1"  # its clause 5 binds versions of the font software, and lets documents made with it be
MOST = 4096  # alternatives that an expression may have before it is called too long


@dataclass(frozen=True)
class Part:
    """Something that a model was made from.

    Attributes:
        name: what people call it.
        role: what it gave.
        licence: SPDX expression, or a name that the hub has for it; empty where it is not known.
    """

    name: str
    role: Role
    licence: str


@dataclass(frozen=True)
class Judgement:
    """What the licences say of giving something on.

    Attributes:
        verdict: `ok` when they allow it, `ask` when a person has to judge, `no` when one of them forbids it.
        reasons: why it is not `ok`, sentences.
        obligations: keys of `OBLIGATIONS`, for `ok` and `ask`.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()


def alternatives(licence: str) -> list[frozenset[str]]:
    """Return the choices that an expression gives, each the set of licences that hold at once, in names of `TERMS`.

    A name that is not in the table stays as it is; an exception (`WITH`), which only allows more, is left out.

    Raises:
        InvalidInput: not an expression, or one with too many alternatives.
    """
    if not licence.strip() or licence.strip().lower() in ("unknown", "other", "noassertion", "see source"):
        return [frozenset({"NOASSERTION"})]
    if known := _NAMES.get(licence.strip().lower()):  # such as `openrail++`
        return [frozenset({known})]
    try:
        parsed = Licensing().parse(licence)
    except (ExpressionError, ValueError) as error:
        raise InvalidInput(f"{licence!r:.200} is not a licence expression (SPDX): {error}") from error
    return list(dict.fromkeys(_spread(parsed)))


def _spread(parsed: Parsed) -> list[frozenset[str]]:
    if isinstance(parsed, OR):
        return [choice for one in parsed.args for choice in _spread(one)]
    if isinstance(parsed, AND):
        sides = [_spread(one) for one in parsed.args]
        number = 1
        for side in sides:
            number *= len(side)
        if number > MOST:
            raise InvalidInput(f"This licence expression has {number:,} alternatives; {MOST:,} are the most.")
        return [frozenset().union(*combination) for combination in product(*sides)]
    symbol = parsed.license_symbol if isinstance(parsed, LicenseWithExceptionSymbol) else parsed
    return [frozenset({_NAMES.get(symbol.key.lower(), symbol.key)})]


def judge(parts: Iterable[Part], outbound: str) -> Judgement:
    """Return whether something made from `parts` may be given on under `outbound`, and what that obliges to.

    Of several alternatives of a part, the most favourable one is taken; of several that `outbound` offers, all have to
    be allowed, as whoever gets it chooses.

    Raises:
        InvalidInput: not a licence expression.
    """
    parts = list(parts)
    offers = [_offer(parts, offered) for offered in alternatives(outbound)]
    return _together(offers)


def suggestions(parts: Sequence[Part]) -> list[str]:
    """Return the licences of the table under which something made from `parts` may be given on, the freest first."""
    return [name for name in TERMS if judge(parts, name).verdict == "ok"]


def _offer(parts: Sequence[Part], offered: frozenset[str]) -> Judgement:
    return _together([_consistent(offered), *(_part(part, offered) for part in parts)])


def _together(judgements: Iterable[Judgement]) -> Judgement:
    """Return the strictest verdict, with every reason and obligation."""
    judgements = list(judgements)
    verdicts: list[Verdict] = [one.verdict for one in judgements]
    worst: Verdict = max(verdicts, key=_STRICTNESS.index, default="ok")
    reasons = dict.fromkeys(reason for one in judgements for reason in one.reasons)
    obligations = {name for one in judgements for name in one.obligations}
    return Judgement(worst, tuple(reasons), tuple(name for name in OBLIGATIONS if name in obligations))


_STRICTNESS: list[Verdict] = ["ok", "ask", "no"]


def _consistent(offered: frozenset[str]) -> Judgement:
    """Judge what is offered by itself: whether it is known, and does not contradict itself."""
    found = [
        *(Judgement("ask", (f"What {name} asks is not known here.",)) for name in sorted(offered - TERMS.keys())),
        *(
            Judgement("no", (f"{name} admits no further terms, and {', '.join(sorted(beside))} would add some.",))
            for name in sorted(offered & TERMS.keys())
            if TERMS[name].into is not None and (beside := offered - {name} - FREE_NAMES)
        ),
    ]
    found += [
        Judgement("ask", (f"{name} is its makers' own agreement. {TERMS[name].words}",))
        for name in sorted(offered & TERMS.keys())
        if TERMS[name].agreement
    ]
    if "NONE" in offered:
        found.append(Judgement("no", ("Without a licence nobody may use it.",)))
    return _together(found)


def _part(part: Part, offered: frozenset[str]) -> Judgement:
    """Judge one part, by the alternative of its licence that allows most."""
    try:
        choices = alternatives(part.licence)
    except InvalidInput as error:
        return Judgement("ask", (f"{part.name} ({part.role}): {error}",))
    judged = [_together(_one(part, name, offered) for name in sorted(choice)) for choice in choices]
    return min(judged, key=lambda one: _STRICTNESS.index(one.verdict))


def _one(part: Part, name: str, offered: frozenset[str]) -> Judgement:
    label = f"{part.name} ({part.role}, {name})"
    terms = TERMS.get(name)
    if terms is None:
        why = "no licence is said" if name == "NOASSERTION" else "what its licence asks is not known here"
        return Judgement("ask", (f"{label}: {why}.",))
    if part.role == "corpus" and name == FONTS and name not in offered:
        return Judgement("ask", (f"{label}: whether a model is a version of the fonts it learned from is contested.",))
    reasons = list(_forbidden(label, name, terms, offered))
    if reasons:
        return Judgement("no", tuple(reasons))
    if terms.agreement:
        return Judgement("ask", (f"{label}: {terms.words}",), terms.obliges)
    return Judgement("ok", (), terms.obliges)


def _forbidden(label: str, name: str, terms: Terms, offered: frozenset[str]) -> Iterator[str]:
    """Yield why a work under `name` cannot go into one that is given on under all of `offered`."""
    under = " AND ".join(sorted(offered))
    known = {one: TERMS[one] for one in sorted(offered & TERMS.keys())}
    if not terms.derivatives:
        yield f"{label}: {terms.words}"
    if terms.into is not None and (others := sorted(offered - terms.into - FREE_NAMES)):
        yield f"{label} is share-alike: it may be given on under {_list(terms.into)}, not under {_list(others)}."
    if terms.into is not None and not offered & terms.into:
        yield f"{label} is share-alike: it may be given on under {_list(terms.into)}, not under {under}."
    if terms.use and not any(one.use == terms.use for one in known.values()):
        yield f"{label}: its use restrictions have to be carried, and {under} does not (paragraph 4)."
    if NON_COMMERCIAL in terms.obliges and not any(NON_COMMERCIAL in one.obliges for one in known.values()):
        yield f"{label} is for no commercial purpose, and {under} would allow one."
    if terms.attribution and known and not any(one.attribution for one in known.values()):
        yield f"{label}: its makers have to be named by whoever gets it, and {under} does not ask that."
    for outer, wanted in known.items():
        if wanted.accepts is None or name == outer or outer in (terms.into or ()):
            continue
        if name not in wanted.accepts:
            yield f"{label}: {outer} admits no further terms, and {name} is not known to go into it."


def _list(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


FREE_NAMES = frozenset(name for name, terms in TERMS.items() if terms is FREE)

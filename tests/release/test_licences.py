"""What licences allow together, from a table written by hand from their texts, and what must never be allowed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import InvalidInput
from impasto.release.licences import OBLIGATIONS, TERMS, Part, alternatives, judge, suggestions

RAIL = "creativeml-openrail-m"

# what it was made from, under which licence it is given on, what holds
PAIRS = [
    # Nothing asked, or notices only.
    ("CC0-1.0", "CC0-1.0", "ok"),
    ("CC0-1.0", "Apache-2.0", "ok"),
    ("CC0-1.0", "GPL-2.0-only", "ok"),
    ("CC0-1.0", RAIL, "ok"),
    ("public-domain", "CC-BY-NC-SA-4.0", "ok"),
    ("MIT", "Apache-2.0", "ok"),
    ("MIT", "MIT", "ok"),
    ("MIT", "GPL-3.0-only", "ok"),
    ("MIT", "CC-BY-SA-4.0", "ok"),
    ("MIT", RAIL, "ok"),
    ("MIT", "CC0-1.0", "no"),
    ("ISC", "Unlicense", "no"),
    ("BSD-3-Clause", "Apache-2.0", "ok"),
    ("Apache-2.0", "MIT", "ok"),
    ("Apache-2.0", "GPL-3.0-only", "ok"),
    ("Apache-2.0", "GPL-2.0-only", "no"),
    ("Apache-2.0", "GPL-2.0-or-later", "no"),  # whoever gets it may choose version 2
    ("Apache-2.0", RAIL, "ok"),
    ("Apache-2.0", "CC0-1.0", "no"),
    # Attribution.
    ("CC-BY-4.0", "Apache-2.0", "ok"),
    ("CC-BY-4.0", "CC-BY-4.0", "ok"),
    ("CC-BY-4.0", "CC-BY-SA-4.0", "ok"),
    ("CC-BY-4.0", "CC-BY-NC-4.0", "ok"),
    ("CC-BY-4.0", "GPL-3.0-only", "ok"),
    ("CC-BY-4.0", RAIL, "ok"),
    ("CC-BY-4.0", "CC0-1.0", "no"),
    ("CC-BY-3.0", "CC-BY-4.0", "ok"),
    ("CC-BY-3.0", "GPL-3.0-only", "no"),
    ("odc-by", "MIT", "ok"),
    # Share-alike.
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0", "ok"),
    ("CC-BY-SA-4.0", "GPL-3.0-only", "ok"),
    ("CC-BY-SA-4.0", "GPL-3.0-or-later", "no"),
    ("CC-BY-SA-4.0", "LAL-1.3", "ok"),
    ("LAL-1.3", "CC-BY-SA-4.0", "ok"),
    ("CC-BY-SA-4.0", "CC-BY-4.0", "no"),
    ("CC-BY-SA-4.0", "Apache-2.0", "no"),
    ("CC-BY-SA-4.0", "CC-BY-SA-3.0", "no"),
    ("CC-BY-SA-3.0", "CC-BY-SA-4.0", "ok"),
    ("CC-BY-SA-1.0", "CC-BY-SA-4.0", "no"),
    ("CC-BY-SA-4.0", RAIL, "no"),
    ("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "no"),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0 AND creativeml-openrail-m", "no"),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0 OR MIT", "no"),
    ("ODbL-1.0", "ODbL-1.0", "ok"),
    ("ODbL-1.0", "MIT", "no"),
    # Non-commercial and no derivatives.
    ("CC-BY-NC-4.0", "CC-BY-NC-4.0", "ok"),
    ("CC-BY-NC-4.0", "CC-BY-4.0", "no"),
    ("CC-BY-NC-4.0", "Apache-2.0", "no"),
    ("CC-BY-NC-4.0", RAIL, "no"),
    ("CC-BY-NC-4.0", "GPL-3.0-only", "no"),
    ("CC-BY-NC-4.0", "creativeml-openrail-m AND CC-BY-NC-4.0", "ok"),
    ("CC-BY-NC-SA-4.0", "CC-BY-NC-SA-4.0", "ok"),
    ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "no"),
    ("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "ok"),
    ("CC-BY-ND-4.0", "CC-BY-ND-4.0", "no"),
    ("CC-BY-NC-ND-4.0", "CC-BY-NC-ND-4.0", "no"),
    ("all-rights-reserved", "Apache-2.0", "no"),
    ("NONE", "CC-BY-NC-4.0", "no"),
    # GPL and its family.
    ("GPL-2.0-only", "GPL-2.0-only", "ok"),
    ("GPL-2.0-only", "GPL-3.0-only", "no"),
    ("gpl-2.0+", "GPL-3.0-only", "ok"),
    ("GPL-3.0", "GPL-3.0-only", "ok"),
    ("GPL-3.0-only", "Apache-2.0", "no"),
    ("GPL-3.0-only", RAIL, "no"),
    ("LGPL-2.1-only", "GPL-2.0-only", "ok"),
    ("LGPL-3.0-only", "MIT", "no"),
    ("AGPL-3.0-only", "GPL-3.0-only", "no"),
    ("AGPL-3.0-or-later", "AGPL-3.0-only", "ok"),
    ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only", "ok"),
    ("MPL-2.0", "Apache-2.0", "no"),
    # Use restrictions.
    (RAIL, RAIL, "ok"),
    ("LicenseRef-scancode-stable-diffusion-2022-08-22", RAIL, "ok"),
    (RAIL, "creativeml-openrail-m AND CC-BY-NC-4.0", "ok"),
    (RAIL, "creativeml-openrail-m AND Apache-2.0", "ok"),
    (RAIL, "creativeml-openrail-m OR Apache-2.0", "no"),
    (RAIL, "Apache-2.0", "no"),
    (RAIL, "MIT", "no"),
    (RAIL, "openrail++", "no"),
    ("openrail++", "openrail++", "ok"),
    ("openrail++", "CC-BY-SA-4.0", "no"),
    # Choices, and what is asked about.
    ("MIT OR GPL-3.0-only", "Apache-2.0", "ok"),
    ("MIT AND GPL-3.0-only", "Apache-2.0", "no"),
    ("MIT AND CC-BY-4.0", "Apache-2.0", "ok"),
    ("unknown", "Apache-2.0", "ask"),
    ("", "CC-BY-NC-SA-4.0", "ask"),
    ("other", RAIL, "ask"),
    ("openrail", RAIL, "ask"),  # the hub's name for any of them
    ("LicenseRef-mine", "Apache-2.0", "ask"),
    ("MIT AND LicenseRef-mine", "MIT", "ask"),
    ("MIT AND", "MIT", "ask"),
    ("MIT", "LicenseRef-mine", "ask"),
    ("MIT", "NONE", "no"),
    ("llama2", "llama2", "ask"),
    ("llama2", "Apache-2.0", "no"),
    ("flux-1-dev-non-commercial-license", "CC-BY-NC-4.0", "no"),
    ("stabilityai-ai-community", "MIT", "no"),
    ("OFL-1.1", "Apache-2.0", "no"),
    ("OFL-1.1", "OFL-1.1", "ok"),
]


def test_there_are_enough_pairs() -> None:
    verdicts = Counter(verdict for _, _, verdict in PAIRS)
    assert len(set(PAIRS)) == len(PAIRS) >= 60
    assert min(verdicts[verdict] for verdict in ("ok", "no", "ask")) >= 5


@pytest.mark.parametrize(("inbound", "outbound", "verdict"), PAIRS)
def test_pairs(inbound: str, outbound: str, verdict: str) -> None:
    judged = judge([Part("it", "base", inbound)], outbound)
    assert judged.verdict == verdict, judged.reasons
    assert bool(judged.reasons) == (verdict != "ok")


def test_what_is_obliged() -> None:
    parts = [Part("sd", "base", RAIL), Part("pictures", "corpus", "CC-BY-4.0"), Part("ink", "adapter", "MIT")]
    judged = judge(parts, RAIL)
    assert judged.verdict == "ok"
    assert set(judged.obligations) == {"attribution", "licence copy", "notices", "changes", "use restrictions"}
    assert set(judge([Part("sd", "base", "GPL-3.0-only")], "GPL-3.0-only").obligations) >= {"source", "same licence"}
    assert "non-commercial" in judge([Part("sd", "base", "CC-BY-NC-4.0")], "CC-BY-NC-4.0").obligations


def test_parts_that_cannot_go_together() -> None:
    parts = [Part("sd", "base", RAIL), Part("wiki", "corpus", "CC-BY-SA-4.0")]
    assert suggestions(parts) == []
    judged = judge(parts, RAIL)
    assert judged.verdict == "no"
    assert [reason for reason in judged.reasons if "wiki (corpus, CC-BY-SA-4.0) is share-alike" in reason]
    assert suggestions([Part("sd", "base", RAIL), Part("cc", "corpus", "CC-BY-4.0")]) == ["CreativeML-OpenRAIL-M"]


def test_fonts_as_something_learned_from_are_asked_about() -> None:
    assert judge([Part("icons", "corpus", "OFL-1.1")], "Apache-2.0").verdict == "ask"


def test_what_is_no_expression() -> None:
    with pytest.raises(InvalidInput, match="'MIT AND' is not a licence expression"):
        judge([], "MIT AND")
    with pytest.raises(InvalidInput, match="alternatives"):
        alternatives(" AND ".join(f"(MIT OR LicenseRef-{n})" for n in range(13)))


# An independent reading of the table's licences, by name alone: what an `ok` must never be.
FREE = {"CC0-1.0", "CC-PDM-1.0", "Unlicense", "0BSD", "MIT-0", "PDDL-1.0"}
COPYLEFT = ("GPL-", "LGPL-", "AGPL-", "MPL-", "EUPL-", "OFL-", "ODbL-", "LAL-")


def _unsound(inbound: str, outbound: set[str]) -> bool:
    shared = "-SA-" in inbound or inbound.startswith(COPYLEFT)
    kin = {"CC-BY-SA-4.0": {"GPL-3.0-only", "LAL-1.3"}, "LAL-1.3": {"CC-BY-SA-4.0"}}.get(inbound, set())
    stem = inbound.split("-only")[0].split("-or-")[0].rsplit("-", 1)[0].lstrip("AL")
    return (
        inbound not in TERMS
        or "-ND-" in inbound
        or inbound == "NONE"
        or ("-NC" in inbound and not any("-NC" in name for name in outbound))
        or ("RAIL" in inbound and inbound not in outbound)
        or (shared and not all(stem in name or name in kin | FREE for name in outbound))
        or (inbound not in FREE and outbound <= FREE)
        or (inbound not in FREE and "-" in inbound and "GPL-2.0-only" in outbound and inbound.startswith("Apache"))
        or inbound in ("Llama-2", "Gemma", "Stability-AI-Community")
    )


NAMES = [*TERMS, "LicenseRef-mine", "NOASSERTION"]


def test_no_ok_of_two_licences_is_unsound() -> None:
    allowed = [
        (inbound, outbound)
        for inbound in NAMES
        for outbound in TERMS
        if judge([Part("it", "base", inbound)], outbound).verdict == "ok"
    ]
    assert len(allowed) > 200
    assert [pair for pair in allowed if _unsound(pair[0], {pair[1]})] == []


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)
)
def test_more_parts_never_make_it_freer(inbound: list[str], outbound: list[str]) -> None:
    offered = " AND ".join(outbound)
    parts = [Part(name, "corpus", name) for name in inbound]
    each = [judge([part], offered) for part in parts]
    whole = judge(parts, offered)
    strict = ["ok", "ask", "no"]
    assert strict.index(whole.verdict) == max(strict.index(one.verdict) for one in each)
    assert set(whole.obligations) == {name for one in each for name in one.obligations} <= set(OBLIGATIONS)
    if whole.verdict == "ok":
        assert not any(_unsound(name, set(outbound)) for name in inbound)

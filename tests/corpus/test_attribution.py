from __future__ import annotations

from impasto.corpus.attribution import attribution, by_maker
from impasto.corpus.record import Licence, Maker, Source
from tests.corpus.icons import row


def of(maker: Maker, collection: str, spdx: str = "MIT") -> object:
    source = Source(collection=collection, version="1", key="k", file="f")
    return row(maker=maker, source=source, licence=Licence(spdx=spdx, url=f"https://{spdx}.example"))


def test_one_line_a_maker_most_works_first() -> None:
    ada, bo = Maker(name="Ada", uri="https://ada.example"), Maker(name="Bo")
    rows = [of(bo, "b"), of(ada, "a"), of(ada, "c"), of(ada, "c")]
    text = attribution("tiny", "sha256:00", rows)
    assert text.splitlines() == [
        "The works in the corpus tiny: 4 by 2 makers.",
        "Merkle root sha256:00",
        "",
        "Ada (https://ada.example): 3 works from c, a; licence MIT (https://MIT.example)",
        "Bo: 1 works from b; licence MIT (https://MIT.example)",
    ]


def test_a_maker_with_two_licences_has_two_lines() -> None:
    ada = Maker(name="Ada")
    assert [(c.licence.spdx, c.works) for c in by_maker([of(ada, "a"), of(ada, "a", "CC0-1.0")])] == [
        ("CC0-1.0", 1),
        ("MIT", 1),
    ]

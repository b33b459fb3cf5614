from __future__ import annotations

from collections import Counter

import torch

from impasto.training.captions import caption, worded
from impasto.training.plans import CaptionPlan
from tests.corpus.icons import row

PLAN = CaptionPlan(templates=("{caption}", "{caption}, {style} style"), styles={"noto": "Noto"}, dropout=0.25)


def test_captions_are_drawn_from_the_templates_and_sometimes_dropped() -> None:
    draw = torch.Generator().manual_seed(0)
    counts = Counter(caption(PLAN, row(), None, draw) for _ in range(2000))
    assert set(counts) == {"", "fox", "fox, Noto style"}
    assert abs(counts[""] / 2000 - 0.25) < 0.03
    assert abs(counts["fox"] - counts["fox, Noto style"]) < 150


def test_a_named_colour_is_said_and_white_is_not() -> None:
    assert worded(PLAN, "{caption}", row(), "red", " on a {colour} background") == "fox on a red background"
    assert worded(PLAN, "{caption}", row(), None, " on a {colour} background") == "fox"


def test_a_collection_without_a_style_is_named_by_its_own_name() -> None:
    assert worded(CaptionPlan(), "{style}", row(), None, "") == "noto"

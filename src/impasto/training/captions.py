"""From a row to the words it is learned with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impasto.corpus.record import Row
from impasto.training.plans import CaptionPlan


def caption(plan: CaptionPlan, row: Row, colour: str | None, draw: torch.Generator) -> str:
    """Draw a caption for `row`, laid on the named `colour`, or on white for None; sometimes the empty one.

    Always three draws, so that what one picture gets never depends on what another got.
    """
    chances = torch.rand(3, generator=draw).tolist()
    if chances[0] < plan.dropout:
        return ""
    return worded(plan, _one(plan.templates, chances[1]), row, colour, _one(plan.backgrounds, chances[2]))


def worded(plan: CaptionPlan, template: str, row: Row, colour: str | None, background: str) -> str:
    """Fill in `template` for `row`, with `background` behind it when there is a `colour`."""
    collection = row.source.collection
    text = template.format(caption=row.caption.text, style=plan.styles.get(collection, collection))
    return text + (background.format(colour=colour) if colour else "")


def _one(choices: Sequence[str], chance: float) -> str:
    return choices[int(chance * len(choices))]

"""Several adapters made into one, and one made smaller.

Sources: kohya-ss/sd-scripts `networks/merge_lora.py` (concatenation), `svd_merge_lora.py` and `resize_lora.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impasto import __version__
from impasto.adapters.layouts import PARTS, Part
from impasto.adapters.lora import Adapter
from impasto.adapters.lowrank import LowRank
from impasto.adapters.metadata import receipt_of
from impasto.adapters.progress import Progress
from impasto.adapters.svd import Size, factored_product
from impasto.errors import InvalidInput, KeyMismatch, printable
from impasto.receipt import Parent, PlanUse, Receipt


@dataclass(frozen=True, eq=False)
class Share:
    """An adapter that goes into a merge, and how strongly in each part."""

    adapter: Adapter
    unet: float = 1.0
    text_encoder: float = 1.0


def merged(shares: Sequence[Share], name: str, size: Size | None = None) -> Iterator[Progress[Adapter]]:
    """Make one adapter that changes what all `shares` together change; yields after each layer.

    Without a `size` this is exact: the factors are put side by side, and the ranks add up. A LoKr becomes the LoRA that
    it is, of many ranks.

    Args:
        shares: adapters with their weights.
        name: of the result.
        size: how large each layer's change may stay; what is left out is the least by singular values.

    Raises:
        InvalidInput: no shares; a DoRA, whose change depends on the weights it is used with.
        KeyMismatch: changes of one layer that have different shapes.
    """
    _check(shares)
    homes: dict[Part, dict[str, list[tuple[LowRank, float]]]] = {}
    for share in shares:
        for part, layers in share.adapter.parts.items():
            for path, change in layers.items():
                weighted = (change.plain(), getattr(share, part))
                homes.setdefault(part, {}).setdefault(path, []).append(weighted)
    parts: dict[Part, dict[str, LowRank]] = {part: {} for part in PARTS if part in homes}
    places = [(part, path) for part in parts for path in homes[part]]
    for done, (part, path) in enumerate(places, start=1):
        change = _side_by_side(homes[part][path], f"{part}.{path}")
        parts[part][path] = change if size is None else _smaller(change, size)
        result = Adapter(name, parts) if done == len(places) else None
        yield Progress(done, len(places), f"{part}.{path}", result)


def _check(shares: Sequence[Share]) -> None:
    if not shares:
        raise InvalidInput("There is nothing to merge: give at least one adapter.")
    for share in shares:
        if any(change.dora is not None for layers in share.adapter.parts.values() for change in layers.values()):
            name = printable(share.adapter.name)
            raise InvalidInput(
                f"{name} is a DoRA, whose change depends on the weights it is used with, and cannot be added to "
                "others. Merge it into a model instead."
            )


def _side_by_side(changes: Sequence[tuple[LowRank, float]], where: str) -> LowRank:
    """Return the sum of `changes`, each times its weight: of a rank that is the sum of theirs, and of scale 1."""
    sides = max(change.down.ndim for change, _ in changes)
    downs = [_with_sides(change.down.float(), sides) for change, _ in changes]
    ups = [_with_sides(change.up.float(), sides) * (weight * change.scale) for change, weight in changes]
    if len({(up.shape[0], down.shape[1:]) for up, down in zip(ups, downs, strict=True)}) > 1:
        shapes = ", ".join(f"{tuple(up.shape)} x {tuple(down.shape)}" for up, down in zip(ups, downs, strict=True))
        raise KeyMismatch(where, (), (), [f"{shapes}: of different layers"])
    down = torch.cat(downs)
    dtypes = {change.down.dtype for change, _ in changes}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return LowRank(down.to(dtype), torch.cat(ups, dim=1).to(dtype), float(down.shape[0]))


def _with_sides(tensor: Tensor, sides: int) -> Tensor:
    return tensor[(...,) + (None,) * (sides - tensor.ndim)]


def resized(adapter: Adapter, size: Size) -> Iterator[Progress[Adapter]]:
    """Make `adapter` smaller, each layer by its singular values; yields after each layer.

    Each layer keeps its scale. The lengths of a DoRA stay as they are.
    """
    parts: dict[Part, dict[str, LowRank]] = {part: {} for part in adapter.parts}
    places = [(part, path, change) for part, layers in adapter.parts.items() for path, change in layers.items()]
    for done, (part, path, change) in enumerate(places, start=1):
        parts[part][path] = _smaller(change, size)
        result = Adapter(adapter.name, parts, adapter.metadata) if done == len(places) else None
        yield Progress(done, len(places), f"{part}.{path}", result)


def _smaller(change: LowRank, size: Size) -> LowRank:
    apart = factored_product(change)
    small = apart.first(size.of(apart.s), change.scale)
    dtype = change.down.dtype
    return LowRank(small.down.to(dtype), small.up.to(dtype), small.alpha, None, change.dora)


def merge_receipt(shares: Sequence[Share], name: str, plan: Mapping[str, object]) -> Receipt:
    """Return the receipt of what `shares` were merged into by `plan`, with all of them as parents."""
    weights = [{part: getattr(share, part) for part in PARTS} for share in shares]
    return Receipt.parse(
        {
            "kind": "merge",
            "name": name,
            "parents": [parent(share.adapter, "merged") for share in shares],
            "plans": {"merge": PlanUse.of({**plan, "weights": weights})},  # type: ignore[dict-item]  # JSON types
            "code": f"impasto {__version__}",
            **inherited([receipt_of(share.adapter) for share in shares]),
        },
        "The receipt",
    )


def changed_receipt(adapter: Adapter, role: str, plan: Mapping[str, object]) -> Receipt:
    """Return the receipt of what `adapter` was made into by `plan`; `role` says what it is of the result."""
    return Receipt.parse(
        {
            "kind": "conversion",
            "name": adapter.name,
            "parents": [parent(adapter, role)],
            "plans": {role: PlanUse.of(dict(plan))},  # type: ignore[arg-type]  # JSON types
            "code": f"impasto {__version__}",
            **inherited([receipt_of(adapter)]),
        },
        "The receipt",
    )


def parent(adapter: Adapter, role: str) -> Parent:
    """Return `adapter` as a parent in a receipt."""
    return Parent(name=adapter.name, identity=adapter.digest, role=role)


def inherited(receipts: Sequence[Receipt | None]) -> dict[str, Any]:
    """Return what a receipt takes over from those of all parents, some of which may have none.

    That is every corpus that any of them learned from, and the SPDX expression of all licences together; none, where
    one is not known.
    """
    corpora = [use for receipt in receipts if receipt for use in receipt.corpora]
    licences = {receipt.licence if receipt else None for receipt in receipts}
    known = sorted(licence for licence in licences if licence)
    joined = " AND ".join(known) if known and len(known) == len(licences) else None
    return {"corpora": [use for index, use in enumerate(corpora) if use not in corpora[:index]], "licence": joined}

"""A layer's tensors in a file, made into the change that they stand for, and back.

Sources: Hu et al. 2021, "LoRA"; Hyeon-Woo et al. 2022, "FedPara: Low-Rank Hadamard Product for Communication-Efficient
Federated Learning" (LoHa); Yeh et al. 2023, "Navigating Text-To-Image Customization" (LoKr), and LyCORIS, whose names
(`lycoris/modules/loha.py`, `lokr.py`) these are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from impasto.adapters.layouts import Role
from impasto.adapters.lowrank import LowRank, halves
from impasto.errors import KeyMismatch, UnsupportedConfig

Tensors = Mapping[Role, Tensor]

HADAMARD: tuple[Role, ...] = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
MOST_NUMBERS = 2**27  # of a whole matrix that a product of products may make necessary


@dataclass(frozen=True)
class Told:
    """What a configuration beside the file says of a layer.

    Attributes:
        alpha: by which the product is multiplied, over the rank.
        rank: of the layer, which not every tensor shows.
        rank_stabilised: over its root instead (rsLoRA).
    """

    alpha: float
    rank: float
    rank_stabilised: bool = False


@dataclass(frozen=True)
class Kind:
    """A way to make a change of tensors.

    Attributes:
        needed: groups of roles; of each group one alternative has to be there whole.
        more: roles that it may have besides.
    """

    needed: tuple[tuple[tuple[Role, ...], ...], ...]
    more: tuple[Role, ...]

    @property
    def roles(self) -> set[Role]:
        """Every role that goes with it."""
        return {role for group in self.needed for choice in group for role in choice} | {*self.more}


_ANY: tuple[Role, ...] = ("alpha", "dora", "magnitude")

KINDS = {
    "hada": Kind(((HADAMARD,),), ("hada_t1", "hada_t2", *_ANY)),
    "lokr": Kind(
        ((("lokr_w1",), ("lokr_w1_a", "lokr_w1_b")), (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))), ("lokr_t2", *_ANY)
    ),
    "lora": Kind(((("down", "up"),),), ("mid", *_ANY)),
}
"""Kinds by how their roles begin; `lora` is what does not begin like another."""


def _kind(roles: Iterable[Role]) -> str:
    beginnings = {role.split("_")[0] for role in roles}
    return next((name for name in KINDS if name in beginnings), "lora")


def missing_of(roles: Iterable[Role]) -> list[Role]:
    """Return the roles that a layer with tensors of these `roles` still lacks."""
    given = set(roles)
    lacking = []
    for group in KINDS[_kind(given)].needed:
        nearest = min(group, key=lambda choice: (len({*choice} - given), -len({*choice} & given)))
        lacking += [role for role in nearest if role not in given]
    return lacking


def change_of(tensors: Tensors, where: str, told: Told | None = None) -> LowRank:
    """Return the change that a layer's `tensors` stand for, of which none is missing (`missing_of`).

    Args:
        tensors: by role.
        where: the layer, for errors.
        told: by a configuration beside the file, where there is one.

    Raises:
        KeyMismatch: tensors that do not go together.
        UnsupportedConfig: a change that would make a matrix of more than `MOST_NUMBERS` necessary.
    """
    kind = _kind(tensors)
    if foreign := sorted({*tensors} - KINDS[kind].roles):
        raise KeyMismatch(where, [f"{role} (beside tensors of another kind)" for role in foreign], ())
    if not all(t.is_floating_point() and t.numel() for role, t in tensors.items() if role != "alpha"):
        raise _mismatch(where, tensors, KINDS[kind].roles, "floating-point numbers are needed, and some of each")
    return {"hada": _hadamard, "lokr": _kronecker, "lora": _low_rank}[kind](tensors, where, told)


def _mismatch(where: str, tensors: Tensors, roles: Iterable[Role], problem: str) -> KeyMismatch:
    wanted = {*roles} - {*_ANY}
    shapes = (f"{role} {tuple(tensor.shape)} {tensor.dtype}" for role, tensor in tensors.items() if role in wanted)
    return KeyMismatch(where, (), (), [f"{', '.join(shapes)}: {problem}"])


def _low_rank(tensors: Tensors, where: str, told: Told | None) -> LowRank:
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    rank = down.shape[0] if down.ndim else 0
    fits = down.ndim in (2, 4) and up.ndim in (2, 4) and up.shape[1] == rank and math.prod(up.shape[2:]) == 1
    if mid is not None:
        fits = fits and mid.ndim == 4 and mid.shape[:2] == (rank, rank) and math.prod(down.shape[2:]) == 1
    if not fits:
        raise _mismatch(where, tensors, tensors, "not two halves of one product")
    return LowRank(down, up, _alpha(tensors, rank, where, told), mid, _dora(tensors, down, where))


def _hadamard(tensors: Tensors, where: str, told: Told | None) -> LowRank:
    """Return (w1_a @ w1_b) * (w2_a @ w2_b) as one product, exactly: of the product of both ranks, or the layer's own.

    With t1 and t2, both are convolutions in Tucker's form.
    """
    a, b, c, d = (tensors[role] for role in HADAMARD)
    if all(t.ndim == 2 for t in (a, b, c, d)) and ("hada_t1" in tensors or "hada_t2" in tensors):
        return _hadamard_of_tucker(tensors, where, told)
    if (
        not all(t.ndim == 2 for t in (a, b, c, d))
        or a.shape[1] != b.shape[0]
        or c.shape[1] != d.shape[0]
        or (a.shape[0], b.shape[1]) != (c.shape[0], d.shape[1])
    ):
        raise _mismatch(where, tensors, HADAMARD, "not two products of one shape")
    a, b, c, d = (t.float() for t in (a, b, c, d))
    scale = _alpha(tensors, b.shape[0], where, told) / b.shape[0]
    if (rank := a.shape[1] * c.shape[1]) < min(a.shape[0], b.shape[1]):
        up = (a[:, :, None] * c[:, None, :]).flatten(1)
        down = (b[:, None, :] * d[None, :, :]).flatten(0, 1)
    else:
        _check_size(where, a.shape[0] * b.shape[1])
        up, down = halves((a @ b) * (c @ d))
        rank = down.shape[0]
    return LowRank(down, up, scale * rank, None, _dora(tensors, down, where))


def _hadamard_of_tucker(tensors: Tensors, where: str, told: Told | None) -> LowRank:
    a, b, c, d = (tensors[role] for role in HADAMARD)
    sides = [(tensors.get("hada_t1"), a, b), (tensors.get("hada_t2"), c, d)]
    cores = [
        (t, a, b) for t, a, b in sides if t is not None and t.ndim == 4 and t.shape[:2] == (a.shape[0], b.shape[0])
    ]
    shapes = {(a.shape[1], b.shape[1], *t.shape[2:]) for t, a, b in cores}
    if len(cores) < 2 or len(shapes) > 1:
        raise _mismatch(where, tensors, tensors, "not two convolutions of one shape, in Tucker's form")
    _check_size(where, math.prod(shapes.pop()))
    first, second = (torch.einsum("ijhw,jr,ip->prhw", t.float(), b.float(), a.float()) for t, a, b in cores)
    rank = cores[0][0].shape[0]
    scale = _alpha(tensors, rank, where, told) / rank
    up, down = halves(first * second)
    return LowRank(down, up, scale * down.shape[0], None, _dora(tensors, down, where))


def _kronecker(tensors: Tensors, where: str, told: Told | None) -> LowRank:
    """Return w1 (x) w2, of which each may be a product and w2 a convolution, also one in Tucker's form."""
    kron, size = _small(tensors, where)
    up, down, mid = _large(tensors, where)
    window = (down if mid is None else mid).shape[2:]
    _check_size(where, kron.numel() * up.shape[0] * down.shape[1] * math.prod(window))
    if "lokr_w2" not in tensors:
        alpha = _alpha(tensors, down.shape[0], where, told)
    else:  # nothing tells a rank then but w1's two factors, or the configuration; without either, the scale is 1
        over = size or (told.rank if told else None)
        scale = _alpha(tensors, over, where, told) / over if over else 1.0
        kron, alpha = (kron if scale == 1 else kron.float() * scale), float(down.shape[0])
    inputs = down.new_empty((1, kron.shape[1] * down.shape[1], *down.shape[2:]), device="meta")
    return LowRank(down, up, alpha, mid, _dora(tensors, inputs, where), kron)


def _small(tensors: Tensors, where: str) -> tuple[Tensor, int | None]:
    """Return w1 (a, b), and its rank where it is a product."""
    if "lokr_w1" in tensors:
        whole, rank = tensors["lokr_w1"], None
        fits = whole.ndim == 2
    else:
        one, other = tensors["lokr_w1_a"], tensors["lokr_w1_b"]
        fits = one.ndim == other.ndim == 2 and one.shape[1] == other.shape[0]
        whole, rank = (one.float() @ other.float(), one.shape[1]) if fits else (one, None)
    if not fits:
        raise _mismatch(where, tensors, tensors, "w1 is no matrix")
    return whole, rank


def _large(tensors: Tensors, where: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return w2 as up (c, R), down (R, d, ...), and mid (R, R, h, w) or None."""
    if "lokr_w2" in tensors:
        whole = tensors["lokr_w2"]
        if whole.ndim not in (2, 4) or "lokr_t2" in tensors:
            raise _mismatch(where, tensors, tensors, "w2 is neither a matrix nor a convolution")
        return torch.eye(whole.shape[0], dtype=whole.dtype), whole, None
    up, down, mid = tensors["lokr_w2_a"], tensors["lokr_w2_b"], tensors.get("lokr_t2")
    fits = up.ndim == down.ndim == 2
    if mid is None:
        if fits and up.shape[1] == down.shape[0]:
            return up, down, None
    elif fits and mid.ndim == 4 and mid.shape[:2] == (up.shape[0], down.shape[0]) and up.shape[0] == down.shape[0]:
        return up.T.contiguous(), down[:, :, None, None], mid
    raise _mismatch(where, tensors, tensors, "w2's factors do not go together")


def _check_size(where: str, numbers: int) -> None:
    if numbers > MOST_NUMBERS:
        raise UnsupportedConfig(where, [f"a product of {numbers:,} numbers; {MOST_NUMBERS:,} are the most of a layer"])


def _alpha(tensors: Tensors, rank: float, where: str, told: Told | None) -> float:
    """Return what the product is multiplied by, times the rank: the file's own, or what is told, or the rank."""
    if (given := tensors.get("alpha")) is not None:
        if given.numel() != 1 or given.is_complex() or not math.isfinite(value := given.item()):
            raise KeyMismatch(where, (), (), [f"alpha {tuple(given.shape)}: one finite number is needed"])
        return float(value)
    if told is None:
        return float(rank)
    return told.alpha * math.sqrt(rank) if told.rank_stabilised else told.alpha


def _dora(tensors: Tensors, down: Tensor, where: str) -> Tensor | None:
    """Return the lengths in the shape of a weight that is 1 along all sides but one; `down` shows the others."""
    given, sides = tensors.get("dora", tensors.get("magnitude")), down.ndim
    if given is None:
        return None
    long = [side for side, length in enumerate(given.shape) if length > 1]
    if len(long) > 1 or given.ndim > 4:
        raise KeyMismatch(where, (), (), [f"dora {tuple(given.shape)}: one length a row or a column is needed"])
    # A convolution whose window is not told has it in the sides of `down`.
    inputs = down.shape[1] if sides > 2 or down.shape[1] % given.numel() else given.numel()
    columns = "dora" in tensors and long == [1] and given.shape[1] == inputs
    return given.reshape((1, -1) + (1,) * (sides - 2) if columns else (-1,) + (1,) * (sides - 1))


def windowed(change: LowRank, side: int | None) -> LowRank:
    """Return the change of a convolution whose file flattened its window (LoHa, LoKr), with one of that `side`."""
    if side is None or change.down.ndim != 2 or change.down.shape[1] % side**2:
        return change
    down = change.down.reshape(change.rank, -1, side, side)
    up, dora = (t if t is None or t.ndim > 2 else t[..., None, None] for t in (change.up, change.dora))
    assert up is not None
    return replace(change, down=down, up=up, dora=dora)


def tensors_of(change: LowRank) -> dict[Role, Tensor]:
    """Return a change's tensors by role, as files hold them; alpha among them."""
    named: dict[Role, Tensor | None] = {"down": change.down, "up": change.up, "mid": change.mid}
    if change.kron is not None:
        named = {"lokr_w1": change.kron, **_large_of(change)}
    named |= {"dora": change.dora, "alpha": torch.tensor(change.alpha, dtype=torch.float32)}
    return {role: tensor for role, tensor in named.items() if tensor is not None}


def _large_of(change: LowRank) -> dict[Role, Tensor | None]:
    """Return w2 of a LoKr: whole where that is what it was, or its factors."""
    up, down = change.up.flatten(1), change.down.flatten(1)
    if change.mid is not None:
        return {"lokr_w2_a": up.T.contiguous(), "lokr_w2_b": down, "lokr_t2": change.mid}
    if change.scale == 1 and up.shape[0] == up.shape[1] and torch.equal(up, torch.eye(len(up), dtype=up.dtype)):
        return {"lokr_w2": change.down}
    return {"lokr_w2_a": up, "lokr_w2_b": down}

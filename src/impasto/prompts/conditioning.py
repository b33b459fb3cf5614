"""Contexts for the UNet: a prompt's chunks through the text encoder, weighted, for every step of a run.

The text encoder is a function that the caller gives, so that nothing here knows which network it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.errors import InvalidInput, InvalidRecipe, NotFound
from impasto.prompts.chunks import Chunk, Chunker
from impasto.prompts.emphasis import Segment, literal, parse
from impasto.prompts.grammar import Clause, Prompt, Run

Encode = Callable[[Tensor, int, "Tensor | None"], Tensor]
"""`(ids (B, T) int64, skip, vectors (N, D)) -> (B, T, D)`: a text encoder without its last `skip` layers. An id k below
0 stands for `vectors[-1 - k]` instead of a token of the vocabulary. Ids are on the CPU."""

Encoded = dict[tuple[int, ...], Tensor]


@dataclass(frozen=True)
class Rows:
    """One chunk of all the texts that a clause has in a run.

    Attributes:
        z: (S, T, D) float32, the encoded chunk of each text.
        weights: (S, T).
        shares: (S) of the stretches that have this text; they sum to 1.
        empty: gives (1, T, D), the encoded chunk of no words.
    """

    z: Tensor
    weights: Tensor
    shares: Tensor
    empty: Callable[[], Tensor]

    @property
    def multiplied(self) -> Tensor:
        """(S, T, D), each token times its weight."""
        return self.z * self.weights[..., None]

    def mean(self, z: Tensor) -> Tensor:
        """Return the mean over all numbers of all stretches."""
        return (z.mean((1, 2)) * self.shares).sum()


def original(rows: Rows) -> Tensor:
    """Multiply, then scale so that the mean over everything is what it was: the web UI's `Original`.

    As there, everything is a clause's chunk at all its stretches together: a weight changes the other steps' scale too.
    """
    weighted = rows.multiplied
    return weighted * (rows.mean(rows.z) / rows.mean(weighted))


def no_norm(rows: Rows) -> Tensor:
    """Multiply: the web UI's `No norm`."""
    return rows.multiplied


def ignore(rows: Rows) -> Tensor:
    """Leave the tokens alone: the web UI's `Ignore`."""
    return rows.z


def comfy(rows: Rows) -> Tensor:
    """Move each token away from what stands in its place in the empty text, as ComfyUI does."""
    empty = rows.empty()
    return (rows.z - empty) * rows.weights[..., None] + empty


@dataclass(frozen=True)
class Emphasis:
    """What brackets do.

    Attributes:
        weigh: applies the weights; (S, T, D).
        read: text to weighted parts.
    """

    weigh: Callable[[Rows], Tensor]
    read: Callable[[str], tuple[Segment, ...]] = parse


EMPHASES: dict[str, Emphasis] = {
    "original": Emphasis(original),
    "no_norm": Emphasis(no_norm),
    "ignore": Emphasis(ignore),
    "none": Emphasis(ignore, literal),
    "comfy": Emphasis(comfy),
}
"""By name. With `none` brackets are text."""


@dataclass(frozen=True, eq=False)
class Timed:
    """What one clause asks for, step by step.

    Attributes:
        weight: by which its direction counts among the clauses.
        ends: after how many steps each stretch is over, rising.
        contexts: (1, T, D) of each stretch, with the same T.
    """

    weight: float
    ends: tuple[int, ...]
    contexts: tuple[Tensor, ...]

    def at(self, step: int) -> Tensor:
        """Return the context (1, T, D) at `step`, counted from 0."""
        return self.contexts[min(bisect_right(self.ends, step), len(self.ends) - 1)]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a prompt asks for.

    Attributes:
        clauses: one or more, as `AND` joins them.
        late: whether schedules take effect a step later than documented; see `grammar.Rules`.
    """

    clauses: tuple[Timed, ...]
    late: bool = False

    @property
    def constant(self) -> bool:
        """Whether it is the same at every step."""
        return all(context is clause.contexts[0] for clause in self.clauses for context in clause.contexts)

    def at(self, step: int) -> list[tuple[float, Tensor]]:
        """Return weight and context (1, T, D) of each clause at `step`, counted from 0; T differs among them."""
        moment = max(step - 1, 0) if self.late else step
        return [(clause.weight, clause.at(moment)) for clause in self.clauses]


@dataclass(frozen=True, eq=False)
class Conditioner:
    """Prompts to what they ask for.

    Attributes:
        encode: the text encoder.
        chunker: with the numbers of the `vectors` that each embedding has.
        vectors: (N, D) of all embeddings, one after the other; see `stack`.
        emphasis: a name in `EMPHASES`.
        skip: how many of the text encoder's last layers to leave out; "clip skip 2" of other programs is 1.

    Raises:
        NotFound: there is no such emphasis.
    """

    encode: Encode
    chunker: Chunker
    vectors: Tensor | None = None
    emphasis: str = "original"
    skip: int = 0

    def __post_init__(self) -> None:
        if self.emphasis not in EMPHASES:
            raise NotFound.among("emphasis", self.emphasis, EMPHASES)

    def __call__(self, prompt: Prompt, run: Run, *, late: bool = False) -> Conditioning:
        """Return what `prompt` asks for at each step of `run`.

        A chunk is encoded by itself, and once, so that no text depends on its neighbours.

        Raises:
            NotFound: the prompt names an embedding that is not known; lists those that are.
            InvalidRecipe: the weights in it lead to no finite numbers.
        """
        encoded: Encoded = {}
        return Conditioning(tuple(self._timed(clause, run, encoded) for clause in prompt.clauses), late)

    def _timed(self, clause: Clause, run: Run, encoded: Encoded) -> Timed:
        stretches = clause.stretches(run)
        counts = Counter(stretch.text for stretch in stretches)
        columns = self._columns([self.chunker(EMPHASES[self.emphasis].read(text)) for text in counts])
        shares = torch.tensor([count / len(stretches) for count in counts.values()])
        whole = torch.cat([self._weighed(column, shares, encoded) for column in columns], 1)  # (S, chunks * T, D)
        if not whole.isfinite().all():
            raise InvalidRecipe(f"The weights in {' '.join(counts)!r:.80} lead to no finite numbers. Use smaller ones.")
        contexts = dict(zip(counts, whole.split(1), strict=True))
        ends = tuple(stretch.until for stretch in stretches)
        return Timed(clause.weight, ends, tuple(contexts[stretch.text] for stretch in stretches))

    def _columns(self, texts: Sequence[Sequence[Chunk]]) -> list[list[Chunk]]:
        """Return the first chunk of all texts, the second and so on; shorter texts end in empty ones."""
        most = max(map(len, texts))
        filled = [[*chunks, *[self.chunker.empty] * (most - len(chunks))] for chunks in texts]
        return [list(column) for column in zip(*filled, strict=True)]

    def _weighed(self, chunks: Sequence[Chunk], shares: Tensor, encoded: Encoded) -> Tensor:
        """Return (S, T, D), the encoded `chunks` with their weights, in the text encoder's number format."""
        z = torch.cat([self._encoded(chunk, encoded) for chunk in chunks])
        weights = torch.tensor([chunk.weights for chunk in chunks], device=z.device)
        if (weights == 1).all():
            return z
        rows = Rows(z.float(), weights, shares.to(z.device), lambda: self._encoded(self.chunker.empty, encoded).float())
        return EMPHASES[self.emphasis].weigh(rows).to(z.dtype)

    def _encoded(self, chunk: Chunk, encoded: Encoded) -> Tensor:
        if chunk.ids not in encoded:
            encoded[chunk.ids] = self.encode(torch.tensor([chunk.ids]), self.skip, self.vectors)
        return encoded[chunk.ids]


def stack(embeddings: Mapping[str, Tensor], width: int) -> Tensor:
    """Return the vectors (N, `width`) of all `embeddings`, each (n, `width`), in their order.

    Raises:
        InvalidInput: some are not of this width; lists them.
    """
    wrong = [f"{name} {tuple(rows.shape)}" for name, rows in embeddings.items() if rows.shape[1:] != (width,)]
    if wrong:
        raise InvalidInput(
            f"Embeddings made for another text encoder than this one of width {width}: {'; '.join(wrong)}."
        )
    return torch.cat([torch.empty(0, width), *(rows.float().cpu() for rows in embeddings.values())])

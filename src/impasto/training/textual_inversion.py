"""Vectors that stand for a new word, learned (textual inversion), and texts read with them.

Source: Gal et al. 2208.01618, "An Image is Worth One Word".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from impasto.adapters.embeddings import Embedding
from impasto.errors import InvalidPlan
from impasto.models.clip import CLIPTextEncoder
from impasto.models.tokenizer import CLIPTokenizer
from impasto.prompts.chunks import Chunker
from impasto.prompts.emphasis import literal
from impasto.training.draws import generator
from impasto.training.teaching import InversionPlan

SPREAD = 0.02  # deviation of CLIP's token vectors, for vectors that begin from no word


class Vectors(nn.Module):
    """The vectors of one new word.

    Attributes:
        vectors: (N, D), float32.
    """

    def __init__(self, begin: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(begin.clone().float())

    def embedding(self, name: str) -> Embedding:
        """Return them as what files hold."""
        return Embedding(name, self.vectors.detach().clone())


def begun(plan: InversionPlan, tokenizer: CLIPTokenizer, text_encoder: CLIPTextEncoder) -> Vectors:
    """Return vectors that begin as those of the tokens of `plan.begin`, over and over, or else at random.

    Raises:
        InvalidPlan: `begin` has no tokens.
    """
    table = text_encoder.embeddings.token_embedding.weight.detach().float().cpu()
    if plan.begin is None:
        draw = generator(plan.seed, "vectors")
        return Vectors(torch.randn(plan.vectors, table.shape[1], generator=draw) * SPREAD)
    ids = tokenizer.encode(plan.begin)
    if not ids:
        raise InvalidPlan(f"`begin` {plan.begin!r} has no tokens. Name a thing, such as 'fox'.")
    return Vectors(table[[ids[place % len(ids)] for place in range(plan.vectors)]])


@dataclass(frozen=True, eq=False)
class Reader:
    """Texts to ids.

    Attributes:
        tokenizer: text to ids.
        length: positions of the text encoder; what goes beyond is cut off.
        words: how many vectors each new word has; those stand below 0, as `CLIPTextEncoder` takes them.
    """

    tokenizer: CLIPTokenizer
    length: int
    words: dict[str, int]

    @property
    def plain(self) -> Reader:
        """The same without new words."""
        return Reader(self.tokenizer, self.length, {})

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (B, T) int64."""
        if not self.words:
            return torch.tensor(self.tokenizer(texts, self.length))
        chunker = Chunker(self.tokenizer, self.length, self.words)
        return torch.tensor([list(chunker(literal(text))[0].ids) for text in texts])

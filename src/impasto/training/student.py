"""What of a model learns: a low-rank adapter, whole networks, the vectors of a new word, or several of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from impasto.adapters.attach import Use, attached
from impasto.adapters.trainable import LoRAConfig, TrainableAdapter
from impasto.models.clip import CLIPTextEncoder
from impasto.training.base import Base
from impasto.training.draws import generator
from impasto.training.teaching import DreamboothPlan, InversionPlan, LoraPlan, TeachingPlan
from impasto.training.textual_inversion import Reader, Vectors, begun

REMEMBERED = 4096  # texts


@dataclass(eq=False)
class Pair:
    """The two networks that can learn.

    Attributes:
        unet: that predicts.
        text_encoder: that reads; a stand-in without layers where texts were read before.
        vectors: (N, D) of a new word, where there is one.
    """

    unet: nn.Module
    text_encoder: nn.Module
    vectors: Tensor | None = None


class Student:
    """A model with what learns of it.

    Attributes:
        modules: what learns: `adapter`, `embedding`, or `unet` and `text_encoder` themselves.
        reader: texts to ids.
    """

    def __init__(self, plan: TeachingPlan, base: Base) -> None:
        """Load the networks of `base` that are needed and add to them what `plan` says."""
        self.base = base
        self._given = _given(plan)
        whole = isinstance(plan, DreamboothPlan) and plan.adapter is None
        reads = whole and cast("DreamboothPlan", plan).text_encoder
        self._unet = base.unet(torch.float32 if whole else None)
        self._text_encoder = base.text_encoder(torch.float32 if reads else None) if plan.texts_change else None
        modules: dict[str, nn.Module] = {}
        words: dict[str, int] = {}
        if whole:
            modules["unet"] = self._unet.requires_grad_()
        if reads and self._text_encoder:
            modules["text_encoder"] = self._text_encoder.requires_grad_()
        if self._given:
            draw = generator(plan.seed, "adapter")
            modules["adapter"] = TrainableAdapter(self.frozen, self._given, generator=draw)
        if isinstance(plan, InversionPlan) and self._text_encoder:
            modules["embedding"] = begun(plan, base.checkpoint.tokenizer, self._text_encoder).to(base.device)
            words[plan.word] = plan.vectors
        self.modules = nn.ModuleDict(modules)
        self.reader = Reader(base.checkpoint.tokenizer, base.spec.text.max_position_embeddings, words)

    @property
    def frozen(self) -> Pair:
        """The networks without what learns."""
        return Pair(self._unet, self._text_encoder if self._text_encoder is not None else nn.Identity())

    @contextmanager
    def using(self, modules: nn.ModuleDict, step: int | None = None) -> Iterator[Pair]:
        """For the time of a `with` block, give the networks with `modules`: those that learn, or their mean.

        Args:
            modules: of the shape of this one's own.
            step: that is being learned, by which dropout is drawn; None for use, without dropout.
        """
        pair = self.frozen
        if "unet" in modules:
            pair.unet = modules["unet"]
        if "text_encoder" in modules:
            pair.text_encoder = modules["text_encoder"]
        if "embedding" in modules:
            pair.vectors = cast("Vectors", modules["embedding"]).vectors
        if "adapter" not in modules:
            yield pair
            return
        adapter = cast("TrainableAdapter", modules["adapter"]).train(step is not None)
        adapter.reseed(step or 0)
        with attached(pair, [Use(adapter)]):
            yield pair

    def context(self, pair: Pair, texts: Sequence[str]) -> Tensor:
        """Return the contexts (B, T, D) of `texts`, as the text encoder of `pair` reads them now."""
        ids = self.reader(texts).to(self.base.device)
        out: Tensor = pair.text_encoder(ids, 0, pair.vectors)
        return out


class Texts:
    """Contexts of texts by a text encoder that does not learn: each is read once, and kept.

    The encoder is in memory only while there is something to read.
    """

    def __init__(self, base: Base, reader: Reader) -> None:
        self._base, self._reader = base, reader
        self._encoder: CLIPTextEncoder | None = None
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the contexts (B, T, D) of `texts`."""
        return torch.cat([self._context(text) for text in texts])

    def read(self, texts: Sequence[str]) -> None:
        """Read all `texts`, and let go of the encoder."""
        self(texts)
        self._encoder = None

    @torch.no_grad()
    def _context(self, text: str) -> Tensor:
        if text not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._encoder = self._encoder or self._base.text_encoder()
            self._known[text] = self._encoder(self._reader([text]).to(self._base.device))
        return self._known[text]


def _given(plan: TeachingPlan) -> LoRAConfig | None:
    """Return what kind of adapter `plan` asks for, if any."""
    if isinstance(plan, (LoraPlan, DreamboothPlan, InversionPlan)):
        return plan.adapter
    return None

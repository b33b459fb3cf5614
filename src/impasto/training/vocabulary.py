"""Words that no caption has, from a text model that is open: distillation into the text encoder alone.

A teacher of word vectors says which of the captions a word is nearest to. The text encoder then learns to say, at
that word, what it says at that caption, and goes on saying what it said at the captions themselves; UNet and
autoencoder stay as they are. So `chimp` is drawn as what the teacher finds most like it among the things that the model
can draw.

Sources: Hinton et al. 1503.02531 (distillation, here of hidden states); Pennington et al. 2014 (GloVe).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.base import denoiser_of
from impasto.training.drawings import COLOURS
from impasto.training.draws import generator
from impasto.training.loop import Loss
from impasto.training.plans import CaptionPlan, WordsPlan
from impasto.training.sampling import drawn
from impasto.training.vectors import WordVectors
from impasto.weights.load import LoadedModel

COMMON = 3  # a word in more names than this tells nothing of what is named: face, with, heart
FUNCTION_WORDS = 300  # so many of the most frequent words name nothing
SHORTEST = 3  # letters


@dataclass(frozen=True)
class Pair:
    """A word and what it may stand for.

    Attributes:
        word: that no caption has.
        caption: what the model knows that is nearest to it.
        closeness: their cosine.
    """

    word: str
    caption: str
    closeness: float


def told(names: Sequence[str], frequent: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return for each of `names` the words that tell what it names: none of the `frequent`, none of many names."""
    counts = Counter(word for name in names for word in set(name.split()))
    chosen = {}
    for name in names:
        words = name.split()
        telling = [word for word in words if counts[word] <= COMMON and word not in frequent]
        chosen[name] = tuple(telling or words)
    return chosen


def pairs(vectors: WordVectors, names: Sequence[str], plan: WordsPlan, taken: Collection[str] = ()) -> tuple[Pair, ...]:
    """Return the frequent words that are near enough to one of `names`, each with the nearest.

    Args:
        vectors: the teacher's.
        names: captions of single things, as the model learned them.
        plan: how many words are looked at, and what is near enough.
        taken: words that mean something to the model already: styles, colours.
    """
    frequent = vectors.words[: plan.frequent]
    meanings = {name: vectors.of(words) for name, words in told(names, set(frequent[:FUNCTION_WORDS])).items()}
    known = [name for name, meaning in meanings.items() if meaning is not None]
    used = {word for name in names for word in name.split()} | set(taken)
    candidates = [
        row
        for row, word in enumerate(frequent)
        if row >= FUNCTION_WORDS and word.isalpha() and word.islower() and len(word) >= SHORTEST and word not in used
    ]
    if not known or not candidates:
        return ()
    centres = torch.stack([meanings[name] for name in known])  # type: ignore[misc]  # none of these is None
    closeness, nearest = (vectors.values[candidates] @ centres.T).max(dim=1)
    return tuple(
        Pair(frequent[row], known[place], value)
        for row, place, value in zip(candidates, nearest.tolist(), closeness.tolist(), strict=True)
        if value >= plan.closeness
    )


class WordsTask:
    """The text encoder of a finished model learning words (see `loop.Task`).

    Attributes:
        plan: what is learned.
        modules: `{"text_encoder": CLIPTextEncoder}`.
        identity: digest of plan, model and pairs.
    """

    def __init__(self, plan: WordsPlan, model: LoadedModel, learned: Sequence[Pair], names: Sequence[str]) -> None:
        self.plan, self.model, self.pairs, self.names = plan, model, tuple(learned), tuple(names)
        self.teacher = copy.deepcopy(model.text_encoder).requires_grad_(requires_grad=False).eval()
        self.modules = nn.ModuleDict({"text_encoder": model.text_encoder.requires_grad_().train()})
        self.length = model.spec.text.max_position_embeddings
        words = [[pair.word, pair.caption] for pair in self.pairs]
        self.identity = digest({"plan": plan.plain(), "model": model.digest, "words": words})
        with torch.no_grad():
            states = self._states(self.teacher, [*self.names, ""])
        self.spread = float((states - states.mean(0)).square().mean())

    def loss(self, step: int) -> Loss:
        """Return how far the states of the words and captions of `step` are from what they should be."""
        batch = self.plan.stages[0].batch
        draw = generator(self.plan.seed, "batch", step)
        words = int(batch * self.plan.share)
        chosen = [self.pairs[index] for index in torch.randint(len(self.pairs), (words,), generator=draw).tolist()]
        kept = [
            self.names[index] for index in torch.randint(len(self.names), (batch - words,), generator=draw).tolist()
        ]
        learned = self._missed(self.modules, chosen, [self._frame(draw) for _ in chosen])
        remembered = self._drifted(self.modules, [self._frame(draw, empty=True).format(name) for name in kept])
        value = self.plan.share * learned + (1 - self.plan.share) * remembered
        parts = {"words": float(learned.detach()), "captions": float(remembered.detach())}
        return Loss(value, batch, parts)

    def _frame(self, draw: torch.Generator, *, empty: bool = False) -> str:
        """Draw what stands around a name, as in the captions: `{}, noto style`; now and then nothing, not even that."""
        plan, chances = self.plan.captions, torch.rand(5, generator=draw).tolist()
        if empty and chances[0] < plan.dropout:
            return ""
        template, style = _one(plan.templates, chances[1]), _one([*plan.styles.values(), ""], chances[2])
        background = _one(plan.backgrounds, chances[3]) if chances[4] < self.plan.grounds else ""
        colour = _one(list(COLOURS), chances[4] / max(self.plan.grounds, 1e-6)) if background else ""
        return template.format(caption="{}", style=style) + background.format(colour=colour)

    def _missed(self, modules: nn.ModuleDict, chosen: Sequence[Pair], frames: Sequence[str]) -> Tensor:
        """Return the error of words against captions, from the last token of each on: what is before is half a word."""
        said = [frame.format(pair.word) for pair, frame in zip(chosen, frames, strict=True)]
        meant = [frame.format(pair.caption) for pair, frame in zip(chosen, frames, strict=True)]
        ends = [self._end(frame, pair.word) for pair, frame in zip(chosen, frames, strict=True)]
        aims = [self._end(frame, pair.caption) for pair, frame in zip(chosen, frames, strict=True)]
        with torch.no_grad():
            target = self._states(self.teacher, meant)
        return self._error(self._states(modules["text_encoder"], said), target, torch.tensor(ends), torch.tensor(aims))

    def _drifted(self, modules: nn.ModuleDict, captions: Sequence[str]) -> Tensor:
        """Return how far the states of `captions` have moved."""
        with torch.no_grad():
            target = self._states(self.teacher, captions)
        whole = torch.zeros(len(captions), dtype=torch.long)
        return self._error(self._states(modules["text_encoder"], captions), target, whole, whole)

    def _error(self, states: Tensor, target: Tensor, ends: Tensor, aims: Tensor) -> Tensor:
        """Return the mean square of `states` from `ends` on less `target` from `aims` on, as a share of the spread."""
        offset = torch.arange(self.length)
        counted = offset < self.length - torch.maximum(ends, aims)[:, None]  # (B, T)
        apart = (_from(states, ends[:, None] + offset) - _from(target, aims[:, None] + offset)).square().mean(-1)
        return (apart * counted).sum() / counted.sum() / self.spread

    def _end(self, frame: str, name: str) -> int:
        """Return the place of the last token of `name` in `frame`."""
        before = frame.partition("{}")[0]
        return self.model.tokenizer([before + name], self.length)[0].index(self.model.tokenizer.eos) - 1

    def _states(self, encoder: nn.Module, prompts: Sequence[str]) -> Tensor:
        """Return the (B, T, D) states at `prompts`."""
        states: Tensor = encoder(torch.tensor(self.model.tokenizer(list(prompts), self.length)))
        return states

    @torch.no_grad()
    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return how far all captions moved, and how far all words are from theirs, as shares of the states' spread."""
        captions = self._drifted(modules, [*self.names, ""])
        words = self._missed(modules, self.pairs, ["{}"] * len(self.pairs))
        return {"captions": float(captions), "words": float(words)}

    @torch.no_grad()
    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return a picture of each of the plan's sample prompts."""
        prompts, model, encoder = list(self.plan.sample_prompts), self.model, modules["text_encoder"]
        context, empty = (self._states(encoder, words) for words in (prompts, [""]))
        images = drawn(model.spec, denoiser_of(model.spec, model.unet), model.vae, context, empty, self.plan.guidance)
        return contact_sheet(images, prompts, title=title, columns=8)


def _from(states: Tensor, places: Tensor) -> Tensor:
    """Return (B, T, D) `states` at (B, T) `places`, the last one for those that lie beyond it."""
    return states.gather(1, places.clamp(max=states.shape[1] - 1)[..., None].expand_as(states))


def _one(choices: Sequence[str], chance: float) -> str:
    return choices[min(int(chance * len(choices)), len(choices) - 1)]


def styles_and_colours(plan: CaptionPlan) -> set[str]:
    """Return the words that captions have beside names."""
    phrases = [*plan.templates, *plan.backgrounds, *plan.styles.values(), *COLOURS]
    return {word.strip(",.") for phrase in phrases for word in phrase.split()}

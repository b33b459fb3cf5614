"""The measurements of Glyph, one function each: pictures are made, looked at, and become figures.

What needs a judge is measured of real held-out drawings too: more than the judge finds in those, no model can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import asked, colours, nearness
from benchmarks.asked import Question
from benchmarks.figures import Bound, Figure, bound, mean, share
from benchmarks.judge import Judge
from benchmarks.opinions import Opinion
from impasto.corpus.dataset import Drawings
from impasto.pipeline import Model, batches
from impasto.training.autoencoder import psnr
from impasto.training.drawings import COLOURS, laid_on, white
from impasto.training.latents import PALETTE

BATCH = 16
SYNONYMS = Path(__file__).with_name("synonyms.txt")
FIVE = 5

Item = TypeVar("Item")


class Track(Protocol):
    """Shows the progress of a loop to whoever waits."""

    def __call__(self, items: Sequence[Item], what: str, /) -> Iterable[Item]:
        """Yield the `items`; `what` says in words what is done with them."""
        ...


def silently(items: Sequence[Item], _what: str, /) -> Iterable[Item]:
    """Yield the `items`, and show nothing."""
    return items


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        trained: pairs that were trained on.
        held_out: pairs that were not; None for all.
        a_colour: concepts on each colour of ground.
        counted: kinds of things asked for in twos.
        stacked: things on things.
        recoloured: things in colours they were never seen in.
        words: synonyms; None for all.
        concepts: that diversity is measured on.
        seeds: pictures of each of those.
        decoded: held-out drawings through the autoencoder; None for all.
        latents: whether nearness is also measured in latents.
    """

    trained: int = 600
    held_out: int | None = None
    a_colour: int = 20
    counted: int = 48
    stacked: int = 60
    recoloured: int = 100
    words: int | None = None
    concepts: int = 30
    seeds: int = 6
    decoded: int | None = None
    latents: bool = True


FULL = Size()
QUICK = Size(48, 48, 2, 8, 8, 16, 16, 4, 3, 32, latents=False)


@dataclass(frozen=True, eq=False)
class Answers:
    """Pictures that were asked for, and what the judge says of them.

    Attributes:
        questions: N of them.
        pictures: (N, 3, H, W) within [-1, 1].
        opinion: of the judge.
    """

    questions: list[Question]
    pictures: Tensor
    opinion: Opinion


@dataclass(eq=False)
class Exam:
    """Everything that a measurement needs; what several of them need is made once.

    Attributes:
        model: that is measured.
        judge: that judges.
        train: rows that the model learned from.
        held_out: rows of the same concepts and collections that it did not learn from.
        unseen: all held-out rows of the corpus, for the autoencoder.
        styles: collection -> its name in prompts.
        size: how much is measured.
        seed: of all choices and pictures.
        track: shows progress.
        made: pictures made so far.
    """

    model: Model
    judge: Judge
    train: Drawings
    held_out: Drawings
    unseen: Drawings
    styles: Mapping[str, str]
    size: Size = FULL
    seed: int = 0
    track: Track = silently
    made: int = 0

    @cached_property
    def concepts(self) -> list[str]:
        """Those that are told apart."""
        rows = (*self.train.rows, *self.held_out.rows)
        return asked.judged(rows, self.judge.concepts, self.judge.styles)

    @cached_property
    def words(self) -> dict[str, str]:
        """Concept -> the caption that most of its training drawings have, for the concepts that are told apart."""
        return {concept: text for concept, text in self.all_words.items() if concept in set(self.concepts)}

    @cached_property
    def all_words(self) -> dict[str, str]:
        """Concept -> the caption that most of its training drawings have."""
        found: dict[str, Counter[str]] = {}
        for row in self.train.rows:
            found.setdefault(row.concept or "", Counter())[row.caption.text] += 1
        return {concept: texts.most_common(1)[0][0] for concept, texts in found.items()}

    @cached_property
    def trained_pairs(self) -> Answers:
        """Pictures of pairs that were trained on."""
        pairs = asked.captions(self.train.rows, self.concepts, self.judge.styles)
        return self.answers("trained pairs", asked.in_style(pairs, self.styles, self.size.trained, self.seed))

    @cached_property
    def held_out_pairs(self) -> Answers:
        """Pictures of pairs that were never trained on."""
        trained = asked.captions(self.train.rows, self.concepts, self.judge.styles)
        pairs = asked.captions(self.held_out.rows, self.concepts, self.judge.styles)
        pairs = {pair: text for pair, text in pairs.items() if pair not in trained}
        return self.answers("held-out pairs", asked.in_style(pairs, self.styles, self.size.held_out, self.seed))

    @cached_property
    def real(self) -> Answers:
        """Held-out drawings of the concepts that are told apart, on white, as if they had been asked for."""
        known = set(self.concepts)
        chosen = [number for number, row in enumerate(self.held_out.rows) if row.concept in known]
        rows = [self.held_out.rows[number] for number in chosen]
        questions = [Question(row.caption.text, 0, (row.concept or "",), row.source.collection) for row in rows]
        pictures = on_white(self.held_out.images[chosen])
        return Answers(questions, pictures, self.judge(pictures))

    @cached_property
    def training_pictures(self) -> Tensor:
        """All training drawings on white and their mirror images."""
        return nearness.both_ways(on_white(self.train.images))

    def answers(self, what: str, questions: list[Question]) -> Answers:
        """Make the pictures that `questions` ask for and have them judged."""
        pictures = self.drawn(what, questions)
        return Answers(questions, pictures, self.judge(pictures))

    def drawn(self, what: str, questions: Sequence[Question]) -> Tensor:
        """Make the pictures (N, 3, H, W) that `questions` ask for."""
        parts = list(batches([self.model.recipe(q.prompt, seed=q.seed) for q in questions], BATCH))
        images: list[Image.Image] = []
        for part in self.track(parts, what):
            *_, last = self.model.steps(part)
            images += self.model.decode(last.latents)
        self.made += len(images)
        return torch.stack([as_picture(image) for image in images])


def as_picture(image: Image.Image) -> Tensor:
    """Return the RGB `image` as (3, H, W) within [-1, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1) / 127.5 - 1


def on_white(drawings: Tensor) -> Tensor:
    """Return RGBA `drawings` (N, 4, H, W) uint8 on white, (N, 3, H, W) within [-1, 1]."""
    return laid_on(drawings, white(len(drawings)))


def found(judge: Judge, answers: Answers, among: Sequence[str], places: int = FIVE) -> list[bool]:
    """Return whether what was asked for is within the first `places` of the concepts `among`, for each answer."""
    numbers = {name: number for number, name in enumerate(among)}
    scores = answers.opinion.concepts[:, [judge.concepts.index(name) for name in among]]
    hits = []
    for question, row in zip(answers.questions, scores, strict=True):
        best = row[[numbers[name] for name in question.concepts if name in numbers]].max()
        hits.append(bool((row > best).sum() < places))
    return hits


def styled(judge: Judge, answers: Answers) -> list[bool]:
    """Return whether the style asked for is the first of the judge's, for each answer."""
    said = answers.opinion.styles.argmax(1).tolist()
    return [judge.styles[style] == q.collection for style, q in zip(said, answers.questions, strict=True)]


def _collections(answers: Answers) -> list[str]:
    return [question.collection for question in answers.questions]


def measure_judge(exam: Exam) -> Iterator[Figure]:
    """How far the judge can be believed: real held-out drawings, as they are and through Glyph's autoencoder."""
    decoded = _decoded(exam, exam.real.pictures, "real drawings, decoded")
    soft = Answers(exam.real.questions, decoded, exam.judge(decoded))
    for name, places in (("r1", 1), ("r5", FIVE)):
        hits = found(exam.judge, exam.real, exam.concepts, places)
        after = bound("decoded", found(exam.judge, soft, exam.concepts, places))
        what = f"real held-out drawings recognised, R@{places} among {len(exam.concepts)}"
        yield share(f"judge.{name}", what, hits, real=after, by=_collections(exam.real))
    after = bound("decoded", styled(exam.judge, soft))
    what = f"style of real held-out drawings recognised among {len(exam.judge.styles)}"
    yield share("judge.style", what, styled(exam.judge, exam.real), real=after, by=_collections(exam.real))


def _recognised(exam: Exam, letter: str, answers: Answers, what: str, aim: float) -> Iterator[Figure]:
    for name, places in (("r1", 1), ("r5", FIVE)):
        yield share(
            f"{letter}.{name}",
            f"{what} recognised, R@{places} among {len(exam.concepts)}",
            found(exam.judge, answers, exam.concepts, places),
            real=_real_found(exam, places),
            aim=aim if places == FIVE else None,
            by=_collections(answers),
        )


def _real_found(exam: Exam, places: int = FIVE) -> Bound:
    return bound("held out", found(exam.judge, exam.real, exam.concepts, places))


def measure_a(exam: Exam) -> Iterator[Figure]:
    """Recognition of pairs that were trained on."""
    yield from _recognised(exam, "a", exam.trained_pairs, "trained pairs", aim=0.85)


def measure_b(exam: Exam) -> Iterator[Figure]:
    """Recognition of pairs that were never trained on."""
    yield from _recognised(exam, "b", exam.held_out_pairs, "held-out pairs", aim=0.6)


def measure_c(exam: Exam) -> Iterator[Figure]:
    """Whether the style asked for is drawn in."""
    real = bound("held out", styled(exam.judge, exam.real))
    for name, answers in (("trained", exam.trained_pairs), ("held-out", exam.held_out_pairs)):
        what = f"style asked for recognised among {len(exam.judge.styles)}, {name} pairs"
        by = _collections(answers)
        yield share(f"c.{name}", what, styled(exam.judge, answers), real=real, aim=0.9, by=by)


def measure_d(exam: Exam) -> Iterator[Figure]:
    """Whether pictures stand on the colour that was asked for, and on white when none was."""
    answers = exam.answers("on a colour", asked.on_colours(exam.words, exam.size.a_colour, exam.seed))
    wanted = [question.colour for question in answers.questions]
    hits = [said == colour for said, colour in zip(colours.grounds(answers.pictures), wanted, strict=True)]
    behind = torch.arange(len(exam.held_out.rows)) % len(PALETTE)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    said = colours.grounds(laid_on(exam.held_out.images, palette[behind]))
    real = bound("laid on it", [name == PALETTE[index] for name, index in zip(said, behind.tolist(), strict=True)])
    yield share("d.colour", "ground of the colour asked for", hits, real=real, aim=0.95, by=wanted)
    hits = found(exam.judge, answers, exam.concepts)
    yield share("d.r5", "recognised on such a ground, R@5", hits, real=_real_found(exam), by=wanted)
    hits = [said == "white" for said in colours.grounds(exam.trained_pairs.pictures)]
    real = bound("held out", [said == "white" for said in colours.grounds(exam.real.pictures)])
    yield share("d.white", "white ground where no colour was asked for, trained pairs", hits, real=real)


def measure_f(exam: Exam) -> Iterator[Figure]:
    """Near copies of training images, and how unlike pictures of the same words are."""
    vae = exam.model.networks.vae if exam.size.latents else None
    groups = (("trained", exam.trained_pairs), ("held-out", exam.held_out_pairs))
    for name, space in nearness.spaces(exam.judge, vae):
        bank = space(exam.training_pictures)
        limit = nearness.threshold(space(exam.real.pictures), bank)
        for group, answers in groups:
            hits = (nearness.nearest(space(answers.pictures), bank) < limit).tolist()
            real = Bound(what="held out, by definition", value=nearness.NEAREST, n=len(exam.real.questions))
            yield share(
                f"f.{group}.{name}", f"near copies of training images, {group} pairs, by {name}", hits, real=real
            )
    yield from _diversity(exam)


def _diversity(exam: Exam) -> Iterator[Figure]:
    rows = [row.concept for row in exam.train.rows]
    several = {concept: text for concept, text in exam.words.items() if rows.count(concept) > 1}
    size = exam.size
    answers = exam.answers("seeds", asked.again(several, size.concepts, size.seeds, exam.seed))
    chosen = list(dict.fromkeys(question.concept for question in answers.questions))
    made = answers.pictures.split(size.seeds)
    drawn = [on_white(exam.train.images[[i for i, name in enumerate(rows) if name == concept]]) for concept in chosen]
    for name, space in nearness.spaces(exam.judge, None):
        ratios = [nearness.spread(space(a)) / nearness.spread(space(b)) for a, b in zip(made, drawn, strict=True)]
        what = f"difference over seeds, as a share of that over the real drawings of a concept, by {name}"
        yield mean(f"f.diversity.{name}", what, ratios, "ratio")


def measure_g(exam: Exam) -> Iterator[Figure]:
    """How well the autoencoder gives back drawings it never saw."""
    pictures = on_white(exam.unseen.images[: exam.size.decoded])
    decibels = psnr(pictures, _decoded(exam, pictures, "autoencoder")).tolist()
    yield mean("g.psnr", "autoencoder, PSNR of held-out drawings on white", decibels, "dB", aim=28.0)


@torch.inference_mode()
def _decoded(exam: Exam, pictures: Tensor, what: str) -> Tensor:
    """Return `pictures` through the model's autoencoder and back."""
    vae, parts = exam.model.networks.vae, list(pictures.split(8))
    decoded = [vae.decode(vae.encode(part).mode()) for part in exam.track(parts, what)]
    return torch.cat(decoded).clamp(-1, 1)


def measure_words(exam: Exam) -> Iterator[Figure]:
    """Everyday words that no caption has."""
    questions = asked.synonyms(SYNONYMS, exam.all_words, exam.seed)
    seen = set(asked.taught(questions, exam.train.rows))
    questions = [question for question in questions if question.prompt not in seen][: exam.size.words]
    answers = exam.answers("synonyms", questions)
    known = exam.judge.concepts
    usual = exam.answers("the same by caption", asked.plainly(questions, exam.all_words))
    by_caption = bound("not real: Glyph, by caption", found(exam.judge, usual, known))
    what = f"everyday words that no caption has, R@5 among {len(known)}"
    yield share("words.r5", what, found(exam.judge, answers, known), real=by_caption)

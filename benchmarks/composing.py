"""Measurement e: counting, putting things on things, and colours that things were never seen in.

Real drawings put together by the same rules show how far the rules can be believed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import asked, colours
from benchmarks.figures import Figure, bound, share
from benchmarks.measures import FIVE, Answers, Exam, found, on_white
from impasto.training.autoencoder import resized


def measure_e(exam: Exam) -> Iterator[Figure]:
    """Counting and composing, as far as it goes."""
    yield from _two(exam)
    yield from _stacked(exam)
    yield from _recoloured(exam)


def _two(exam: Exam) -> Iterator[Figure]:
    questions = asked.two(exam.all_words, exam.size.counted, exam.seed)
    if not questions:
        return
    answers = exam.answers("two of a kind", questions)
    single = exam.drawn("one of a kind", asked.plainly(questions, exam.all_words))
    real = on_white(torch.stack([side_by_side(_drawing(exam, question.concept)) for question in questions]))
    hits = counted(answers.pictures, 2)
    figure = share("e.two", "'two X': two parts that do not touch", hits, real=bound("composed", counted(real, 2)))
    yield figure.model_copy(update={"parts": {"asked for one": bound("", counted(single, 2)).value}})
    hits = found(exam.judge, answers, exam.judge.concepts)
    real_hits = found(exam.judge, Answers(questions, real, exam.judge(real)), exam.judge.concepts)
    yield share("e.two.r5", "'two X': X recognised, R@5 of all concepts", hits, real=bound("composed", real_hits))


def _stacked(exam: Exam) -> Iterator[Figure]:
    questions = asked.stacked(exam.all_words, exam.size.stacked, exam.seed)
    if not questions:
        return
    answers = exam.answers("things on things", questions)
    parts = [(_drawing(exam, q.concept), _drawing(exam, q.base)) for q in questions]
    pictures = on_white(torch.stack([one_on_another(top, base) for top, base in parts]))
    real = bound("composed", both(exam, Answers(questions, pictures, exam.judge(pictures))))
    what = "'X on a Y': X and Y both among the first five of all concepts"
    yield share("e.on", what, both(exam, answers), real=real)


def _recoloured(exam: Exam) -> Iterator[Figure]:
    questions = asked.recoloured(exam.words, seen_colours(exam), exam.size.recoloured, exam.seed)
    if not questions:
        return
    answers = exam.answers("colours never seen", questions)
    plain = exam.drawn("the same without a colour", asked.plainly(questions, exam.words))
    wanted = [question.colour for question in questions]
    figure = share(
        "e.colour", "'COLOUR X', never seen so: mostly of that colour", mostly(answers.pictures, wanted), by=wanted
    )
    without = bound("", mostly(plain, wanted)).value
    yield figure.model_copy(update={"parts": {**figure.parts, "not asked for": without}})
    what = "'COLOUR X', never seen so: X recognised, R@5"
    real = bound("held out", found(exam.judge, exam.real, exam.concepts))
    yield share("e.colour.r5", what, found(exam.judge, answers, exam.concepts), real=real)


def counted(pictures: Tensor, number: int) -> list[bool]:
    """Return whether each of `pictures` on white shows `number` parts that do not touch."""
    return [colours.things(mask) == number for mask in colours.foreground(pictures)]


def mostly(pictures: Tensor, wanted: list[str]) -> list[bool]:
    """Return whether the `wanted` colour is the commonest of what is drawn, for each of `pictures` on white."""
    found_shares = colours.shares(pictures)
    return [max(shares, key=lambda c: shares[c]) == colour for shares, colour in zip(found_shares, wanted, strict=True)]


def both(exam: Exam, answers: Answers) -> list[bool]:
    """Return whether the thing and what it is to stand on are both among the judge's first five of all concepts."""
    known = exam.judge.concepts
    best = answers.opinion.concepts.topk(min(FIVE, len(known)), dim=1).indices.tolist()
    names = [{known[number] for number in row} for row in best]
    return [{q.concept, q.base} <= row for q, row in zip(answers.questions, names, strict=True)]


def seen_colours(exam: Exam) -> dict[str, dict[str, float]]:
    """Return concept -> colour -> the largest share of what is drawn that a training drawing has in it."""
    seen: dict[str, dict[str, float]] = {}
    chosen = [number for number, row in enumerate(exam.train.rows) if row.concept in exam.words]
    for part in torch.tensor(chosen).split(256):
        found_shares = colours.shares(on_white(exam.train.images[part]))
        for number, shares in zip(part.tolist(), found_shares, strict=True):
            known = seen.setdefault(exam.train.rows[number].concept or "", {})
            known.update({name: max(value, known.get(name, 0.0)) for name, value in shares.items()})
    return seen


def _drawing(exam: Exam, concept: str) -> Tensor:
    """Return the first training drawing (4, H, W) of `concept`."""
    return exam.train.images[next(number for number, row in enumerate(exam.train.rows) if row.concept == concept)]


def side_by_side(drawing: Tensor) -> Tensor:
    """Return the `drawing` (4, H, W) twice, at half size, on the left and on the right."""
    half = _half(drawing)
    high, wide = half.shape[1:]
    whole = torch.zeros_like(drawing)
    whole[:, high // 2 : high // 2 + high, :wide] = half
    whole[:, high // 2 : high // 2 + high, -wide:] = half
    return whole


def one_on_another(top: Tensor, base: Tensor) -> Tensor:
    """Return the drawing `top` (4, H, W) above the drawing `base`, both at half size, in the middle."""
    whole = torch.zeros_like(base)
    for place, drawing in enumerate((top, base)):
        half = _half(drawing)
        high, wide = half.shape[1:]
        whole[:, place * high : place * high + high, wide // 2 : wide // 2 + wide] = half
    return whole


def _half(drawing: Tensor) -> Tensor:
    values = drawing.float()
    values[:3] *= values[3:] / 255
    small = resized(values[None], drawing.shape[-1] // 2)[0]
    small[:3] *= 255 / small[3:].clamp(min=1)
    return small.round().clamp(0, 255).to(torch.uint8)

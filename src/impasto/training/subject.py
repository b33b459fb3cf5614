"""Teach a model a subject or a style: the one task of LoRA, DreamBooth and textual inversion.

Sources: Hu et al. 2106.09685 (LoRA), Ruiz et al. 2208.12242 (DreamBooth, and its prior preservation), Gal et al.
2208.01618 (textual inversion), Hang et al. 2303.09556 (min-SNR weighting); offset noise as Guttenberg (2023) describes
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.corpus.record import Row
from impasto.diffusion.denoisers import Denoiser
from impasto.diffusion.guidance import Guided
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.diffusion.weightings import min_snr
from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.autoencoder import as_image
from impasto.training.base import Base
from impasto.training.draws import generator
from impasto.training.examples import Batch, Bucket, Examples
from impasto.training.lean import Lean
from impasto.training.loop import Loss, autocast
from impasto.training.recomputing import recomputed
from impasto.training.student import Pair, Student, Texts
from impasto.training.teaching import TeachingPlan, Wording
from impasto.training.wording import drawn, everything, said

VALIDATION_PICTURES = 16
VALIDATION_LEVELS = 8
SEEDS = 1000  # of the first sample; each has the next one


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learned from and measured on.

    Attributes:
        train: pictures to learn from.
        held_out: pictures that are never learned from; None when there are none.
        prior: pictures of the class to keep; None when there are none.
        identity: digest of their rows and of what encoded them.
    """

    train: Examples
    held_out: Examples | None
    prior: Examples | None
    identity: str


class SubjectTask:
    """A model learning from pictures and their words (see `loop.Task`).

    Attributes:
        plan: what is learned.
        modules: what learns.
        identity: digest of plan, pictures and base.
        prompts: what sheets show.
    """

    def __init__(self, plan: TeachingPlan, student: Student, lessons: Lessons) -> None:
        """Prepare teaching; texts that are known beforehand are read now, where the text encoder does not learn."""
        self.plan, self.student, self.lessons = plan, student, lessons
        self.base: Base = student.base
        self.modules = student.modules
        self.identity = digest(
            {"plan": plan.plain(), "pictures": lessons.identity, "base": self.base.checkpoint.digest}
        )
        self.prompts = plan.samples.prompts or prompts(plan.wording)
        self._texts = None if plan.texts_change else Texts(self.base, student.reader)
        if self._texts:
            self._texts.read(self._foreseen())
        self._worn = ExitStack()

    def _foreseen(self) -> list[str]:
        captions = [row.caption.text for row in self.lessons.train.rows]
        held_out = self.lessons.held_out.rows if self.lessons.held_out else self.lessons.train.rows
        prior = self.plan.prior
        return [
            *(everything(self.plan.wording, captions) or []),
            *(self._measured_with(row) for row in held_out),
            *([prior.prompt] if prior else []),
            *("", *self.prompts),
        ]

    def loss(self, step: int) -> Loss:
        """Return the denoising loss on the batch that belongs to `step`, and on one of the class where it is kept."""
        draw, size = generator(self.plan.seed, "batch", step), self.plan.stages[0].batch
        batch = self.lessons.train.batch(self.plan.seed, step, size, draw)
        words = [drawn(self.plan.wording, row.caption.text, draw) for row in batch.rows]
        pair = self._learning(step)
        value, error = self._weighted(pair, batch, words, draw)
        parts = {"error": error}
        if self.plan.prior and self.lessons.prior:
            batch = self.lessons.prior.batch(self.plan.seed, step, size, draw)
            said_of_all = [self.plan.prior.prompt] * len(batch.rows)
            prior, parts["prior_error"] = self._weighted(pair, batch, said_of_all, draw)
            value = value + self.plan.prior.weight * prior
        return Loss(value, len(words), parts)

    def _learning(self, step: int) -> Pair:
        """Return the networks as they learn in `step`; what is on them stays there for the way back."""
        self._worn.close()
        pair = self._worn.enter_context(self.student.using(self.modules, step))
        if self.plan.checkpointing:
            self._worn.enter_context(recomputed(pair.unet))
        return pair

    def _weighted(self, pair: Pair, batch: Batch, words: Sequence[str], draw: torch.Generator) -> tuple[Tensor, float]:
        """Return the loss of `batch`, and its plain error."""
        x0 = batch.x0
        noise = torch.randn(x0.shape, generator=draw)
        noise += self.plan.offset_noise * torch.randn((*x0.shape[:2], 1, 1), generator=draw)
        t = torch.randint(self.base.spec.train_timesteps, (len(x0),), generator=draw)
        errors = self._errors(pair, words, x0, noise, t)
        if batch.masks is not None:
            errors = errors * batch.masks.to(errors)
        each = errors.flatten(1).mean(1)
        if self.plan.min_snr is None:
            return each.mean(), float(each.detach().mean())
        weights = min_snr(self._denoiser(pair), t.to(self.base.device), self.plan.min_snr)
        return (each * weights).mean(), float(each.detach().mean())

    def _errors(self, pair: Pair, words: Sequence[str], x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the squared errors, (B, C, h, w)."""
        device = self.base.device
        with autocast(self.plan.precision, device):
            context = self._context(pair, words)
            missed = self._denoiser(pair).errors(x0.to(device), noise.to(device), t.to(device), context)
        return missed.float().square()

    def _context(self, pair: Pair, words: Sequence[str]) -> Tensor:
        return self._texts(words) if self._texts else self.student.context(pair, words)

    def _denoiser(self, pair: Pair) -> Denoiser:
        dtype = next(pair.unet.parameters()).dtype

        # Blocks that are recomputed keep nothing by themselves, and must do the same both times.
        lean = torch.is_grad_enabled() and "unet" not in self.modules and not self.plan.checkpointing

        def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            with Lean() if lean else nullcontext():
                out: Tensor = pair.unet(x.to(dtype), t, context.to(dtype))
            return out.float()

        return self.base.denoiser(network)

    @torch.no_grad()
    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return the mean error on held-out pictures over noise levels spread evenly, with the same noise each time.

        Where nothing is held out, it is measured on what is learned from, which says less, and is named so.
        """
        held_out = self.lessons.held_out
        source, name = (held_out, "error") if held_out else (self.lessons.train, "error_on_what_is_learned")
        levels = (torch.arange(VALIDATION_LEVELS) + 0.5) / VALIDATION_LEVELS * self.base.spec.train_timesteps
        errors: list[float] = []
        size = self.plan.stages[0].batch  # no more at once than are learned from at once
        self._worn.close()
        with self.student.using(modules) as pair:
            for number, (bucket, place) in enumerate(_first(source, VALIDATION_PICTURES)):
                x0 = bucket.mean[place, 0].float()
                noise = torch.randn((VALIDATION_LEVELS, *x0.shape), generator=generator(0, "validation", number))
                words = [self._measured_with(bucket.rows[place])]
                for part, t in zip(noise.split(size), levels.long().split(size), strict=True):
                    found = self._errors(pair, words * len(t), x0.expand_as(part), part, t)
                    errors += found.flatten(1).mean(1).tolist()
        return {name: sum(errors) / len(errors)}

    def _measured_with(self, row: Row) -> str:
        return self.plan.wording.templates[0].format(words=said(self.plan.wording, row.caption.text))

    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return a picture of each of the prompts."""
        return contact_sheet(self.pictures(modules), list(self.prompts), title=title)

    def before_and_after(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return pictures of the prompts without what was taught, and below them with it, of the same seeds."""
        before, after = self.pictures(None), self.pictures(modules)
        captions = [f"before: {prompt}" for prompt in self.prompts] + [f"after: {prompt}" for prompt in self.prompts]
        return contact_sheet([*before, *after], captions, title=title, columns=len(self.prompts))

    @torch.no_grad()
    def pictures(self, modules: nn.ModuleDict | None) -> list[Image.Image]:
        """Return a picture of each prompt with `modules`, or by the base alone."""
        self._worn.close()
        if modules is not None:
            with self.student.using(modules) as pair:
                return self._sampled(pair, lambda texts: self._context(pair, texts))
        whole = "adapter" not in self.modules and "embedding" not in self.modules
        pair = Pair(self.base.unet(), nn.Identity()) if whole else self.student.frozen
        return self._sampled(pair, Texts(self.base, self.student.reader.plain))

    def _sampled(self, pair: Pair, read: Callable[[Sequence[str]], Tensor]) -> list[Image.Image]:
        own, asked = self.base.checkpoint.about.settings, self.plan.samples
        sigmas = SIGMAS["karras"](self.base.schedule, asked.steps or own.steps).to(self.base.device)
        vae, found = self.base.vae(), []
        for number, prompt in enumerate(self.prompts):
            noise = ImageNoise([SEEDS + number], self.base.spec.latent_shape)
            guidance = own.guidance if asked.guidance is None else asked.guidance
            guided = Guided(self._denoiser(pair), read([prompt]), read([""]), guidance)
            start = noise.initial().to(self.base.device) * sigmas[0]
            *_, last = SAMPLERS["dpmpp_2m"](guided, start, sigmas, noise)
            found.append(as_image(vae.decode(last.x / vae.config.scaling_factor).cpu().clamp(-1, 1)[0]))
        return found


def prompts(wording: Wording) -> tuple[str, ...]:
    """Return prompts that show what was learned: the subject in some places, or some subjects in the style."""
    if wording.subject:
        subject = said(Wording(style=wording.style), wording.subject)
        return (subject, f"{subject} on a blue background", f"{subject} in the snow", f"two of {subject}")
    things = ("fox", "house", "red apple", "sailboat")
    return tuple(said(wording, thing) for thing in things)


def _first(examples: Examples, count: int) -> Iterator[tuple[Bucket, int]]:
    """Yield the first `count` pictures, each as its bucket and its place there."""
    places = ((bucket, place) for bucket in examples.buckets for place in range(len(bucket.rows)))
    return islice(places, count)

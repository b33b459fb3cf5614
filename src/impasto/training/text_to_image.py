"""Train text encoder and UNet together on cached latents: noise a latent, predict, compare.

Sources: Rombach et al. 2022 (latent diffusion), Salimans & Ho 2202.00512 (v-prediction), Hang et al. 2303.09556
(min-SNR weighting), Esser et al. 2403.03206 (logit-normal noise levels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.corpus.record import Row
from impasto.diffusion.denoisers import Denoiser
from impasto.diffusion.weightings import WEIGHTINGS
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.base import denoiser_of
from impasto.training.captions import caption, worded
from impasto.training.draws import generator, shuffled
from impasto.training.initial import LAST_LAYERS, fresh
from impasto.training.latents import PALETTE, Variants
from impasto.training.loop import Loss, autocast
from impasto.training.plans import ModelPlan
from impasto.training.sampling import drawn

VALIDATION_ROWS = 128


@dataclass(frozen=True, eq=False)
class Latents:
    """Rows and the latents of their variants.

    Attributes:
        rows: N rows.
        values: (N, V, C, h, w).
        variants: what lies behind each.
    """

    rows: tuple[Row, ...]
    values: Tensor
    variants: Variants

    def colour(self, row: int, variant: int) -> str | None:
        """Return the name of the colour behind a drawing, None for white."""
        index = int(self.variants.colours[row, variant])
        return None if index < 0 else PALETTE[index]


@dataclass(frozen=True, eq=False)
class LatentData:
    """What a model learns from and is measured on, as latents.

    Attributes:
        train: rows to learn from.
        held_out: rows that are never learned from; None when there are none.
        identity: digest of the rows and of the autoencoder that made their latents.
    """

    train: Latents
    held_out: Latents | None
    identity: str


def fresh_modules(spec: ModelSpec, seed: int) -> nn.ModuleDict:
    """Return text encoder and UNet of `spec` with random weights."""
    text_encoder = fresh(lambda: CLIPTextEncoder(spec.text), seed, "text encoder", zeros=())
    for module in text_encoder.modules():
        if isinstance(module, nn.Embedding):
            with torch.no_grad():
                module.weight *= 0.02  # as CLIP begins; torch's own embeddings have a deviation of 1
    return nn.ModuleDict(
        {
            "text_encoder": text_encoder,
            "unet": fresh(lambda: UNet(spec.unet), seed, "unet", zeros=(*LAST_LAYERS, "conv_out")),
        }
    )


class ModelTask:
    """Text encoder and UNet learning from latents and captions (see `loop.Task`).

    Attributes:
        plan: what is learned.
        modules: `{"text_encoder": CLIPTextEncoder, "unet": UNet}`.
        identity: digest of plan and data.
    """

    def __init__(
        self,
        plan: ModelPlan,
        tokenizer: CLIPTokenizer,
        vae: AutoencoderKL,
        data: LatentData,
        modules: nn.ModuleDict | None = None,
    ) -> None:
        """Prepare training of `modules` (random ones by default) on the device of `vae`."""
        self.plan, self.spec, self.tokenizer, self.vae = plan, plan.spec, tokenizer, vae
        self.train, self.held_out = data.train, data.held_out
        self.device = next(vae.parameters()).device
        modules = modules if modules is not None else fresh_modules(self.spec, plan.seed)
        memory_format = torch.channels_last if plan.channels_last else torch.contiguous_format
        self.modules = modules.to(self.device).to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's own overloads lack it
        self.identity = digest({"plan": plan.plain(), "data": data.identity})
        self.weighting = WEIGHTINGS[plan.weighting]

    def loss(self, step: int) -> Loss:
        """Return the denoising loss on the batch that belongs to `step`."""
        stage, seen = self.plan.place(step)
        draw = generator(self.plan.seed, "batch", step)
        rows = shuffled(self.plan.seed, seen, stage.batch, len(self.train.rows))
        variants = torch.randint(self.train.values.shape[1], (stage.batch,), generator=draw)
        pairs = zip(rows.tolist(), variants.tolist(), strict=True)
        words = [
            caption(self.plan.captions, self.train.rows[row], self.train.colour(row, variant), draw)
            for row, variant in pairs
        ]
        x0 = self.train.values[rows, variants].float()
        noise, t = torch.randn(x0.shape, generator=draw), self._times(stage.batch, draw)
        errors, weights = self._errors(self.modules, words, x0, noise, t)
        parts = {"error": float(errors.detach().mean())}
        return Loss((errors * weights).mean(), stage.batch, parts)

    def _errors(
        self, modules: nn.ModuleDict, words: list[str], x0: Tensor, noise: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the (B,) unweighted errors and their weights."""
        denoiser, t = self._denoiser(modules), t.to(self.device)
        with autocast(self.plan.precision, self.device):
            context = self._context(modules, words)
            errors = denoiser.loss(x0.to(self.device), noise.to(self.device), t, context)
        return errors, self.weighting(denoiser, t)

    def _times(self, count: int, draw: torch.Generator) -> Tensor:
        steps = self.spec.train_timesteps
        if self.plan.times == "uniform":
            return torch.randint(steps, (count,), generator=draw)
        share = (torch.randn(count, generator=draw) + self.plan.times_mean).sigmoid()
        return (share * steps).long().clamp(max=steps - 1)

    def _context(self, modules: nn.ModuleDict, words: list[str]) -> Tensor:
        ids = self.tokenizer(words, self.spec.text.max_position_embeddings)
        context: Tensor = modules["text_encoder"](torch.tensor(ids, device=self.device))
        return context

    def _denoiser(self, modules: nn.ModuleDict) -> Denoiser:
        unet: UNet = modules["unet"]  # type: ignore[assignment]  # ModuleDict forgets
        return denoiser_of(self.spec, unet)

    @torch.no_grad()
    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return the mean unweighted error on held-out drawings on white, over noise levels spread evenly."""
        if self.held_out is None:
            return {}
        count = min(VALIDATION_ROWS, len(self.held_out.rows))
        chosen = shuffled(0, 0, count, len(self.held_out.rows))
        template, background = self.plan.captions.templates[-1], self.plan.captions.backgrounds[0]
        rows = [self.held_out.rows[index] for index in chosen.tolist()]
        words = [worded(self.plan.captions, template, row, None, background) for row in rows]
        x0 = self.held_out.values[chosen, 0].float()
        noise = torch.randn(x0.shape, generator=generator(0, "validation"))
        t = (torch.arange(count) + 0.5) / count * self.spec.train_timesteps
        errors, _ = self._errors(modules, words, x0, noise, t.long())
        return {"error": float(errors.mean())}

    @torch.no_grad()
    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return a picture of each of the plan's sample prompts."""
        prompts = list(self.plan.sample_prompts)
        context, empty = self._context(modules, prompts), self._context(modules, [""])
        images = drawn(self.spec, self._denoiser(modules), self.vae, context, empty, self.plan.guidance)
        return contact_sheet(images, prompts, title=title, columns=min(8, math.ceil(len(prompts) ** 0.5) + 1))

"""Pictures for the sheets of a run: whole batches from seeds 0, 1, 2 ..., with the networks as they are."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from impasto.diffusion.denoisers import Denoiser
from impasto.diffusion.guidance import Guided
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.models.specs import ModelSpec
from impasto.models.vae import AutoencoderKL
from impasto.training.autoencoder import as_image

STEPS = 20
BATCH = 32
DECODED = 8  # at once


@torch.no_grad()
def drawn(
    spec: ModelSpec, denoiser: Denoiser, vae: AutoencoderKL, context: Tensor, empty: Tensor, guidance: float
) -> list[Image.Image]:
    """Return a picture for each of the (B, T, D) states `context`, guided away from the (1, T, D) `empty`."""
    images = []
    for first in range(0, len(context), BATCH):
        part = context[first : first + BATCH]
        noise = ImageNoise(range(first, first + len(part)), spec.latent_shape)
        sigmas = SIGMAS["karras"](denoiser.schedule, STEPS).to(context.device)
        start = noise.initial().to(context.device) * sigmas[0]
        *_, last = SAMPLERS["dpmpp_2m"](Guided(denoiser, part, empty, guidance), start, sigmas, noise)
        decoded = torch.cat([vae.decode(few).cpu() for few in (last.x / vae.config.scaling_factor).split(DECODED)])
        images += [as_image(picture) for picture in decoded.clamp(-1, 1)]
    return images

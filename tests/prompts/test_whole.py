"""From the words of a prompt to a picture's latents, with networks of Stable Diffusion's shape."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor

from impasto.diffusion.denoisers import EpsDenoiser
from impasto.diffusion.guidance import Guided
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.prompts.chunks import Chunker
from impasto.prompts.composition import Composed
from impasto.prompts.conditioning import Conditioner
from impasto.prompts.grammar import Run, parse, parse_negative
from tests.weights import tiny

STEPS, SCALE = 4, 5.0


@functools.cache
def denoiser() -> EpsDenoiser:
    return EpsDenoiser(tiny.networks().unet, NoiseSchedule.scaled_linear(0.00085, 0.012, 1000))


def conditioner() -> Conditioner:
    networks = tiny.networks()
    return Conditioner(networks.text_encoder, Chunker(networks.tokenizer), emphasis="no_norm")


def sigmas() -> Tensor:
    return SIGMAS["karras"](denoiser().schedule, STEPS)


@torch.inference_mode()
def latents(prompt: str, negative: str = "dark") -> Tensor:
    run = Run(STEPS)
    prompts, negatives = conditioner()(parse(prompt), run), conditioner()(parse_negative(negative), run)
    return sample(Composed(denoiser(), [prompts], [negatives], SCALE, sigmas()))


def sample(guided: object) -> Tensor:
    noise = ImageNoise([7], (4, 8, 8))
    *_, last = SAMPLERS["euler"](guided, noise.initial() * sigmas()[0], sigmas(), noise)
    return last.x


@torch.inference_mode()
def test_a_plain_prompt_gives_the_picture_of_plain_guidance() -> None:
    networks = tiny.networks()
    context, negative = (networks.text_encoder(torch.tensor(networks.tokenizer([text]))) for text in ("a fox", "dark"))
    assert torch.equal(latents("a fox"), sample(Guided(denoiser(), context, negative, SCALE)))


@torch.inference_mode()
def test_a_prompt_with_everything_gives_the_picture_of_a_loop_written_out() -> None:
    """Each prediction is asked for by itself, with its own length: nothing is batched, padded or looked up."""
    run = Run(STEPS)

    def context(text: str, step: int) -> Tensor:
        ((_, tensor),) = conditioner()(parse_negative(text), run).at(step)
        return tensor

    x, levels = ImageNoise([7], (4, 8, 8)).initial() * sigmas()[0], sigmas().tolist()
    for step, (sigma, below) in enumerate(itertools.pairwise(levels)):
        at = torch.tensor([sigma])
        u = denoiser()(x, at, context("dark BREAK blurred", step))
        moving = "a (fox:1.3) BREAK in snow" if step < 2 else "an (owl:1.3) BREAK in snow"
        first = denoiser()(x, at, context(moving, step)) - u
        second = denoiser()(x, at, context("an owl" if step % 2 == 0 else "a cat", step)) - u
        x0 = u + SCALE * (0.8 * first - 0.3 * second)
        x = x + (below - sigma) * (x - x0) / sigma
    got = latents("[a (fox:1.3):an (owl:1.3):0.5] BREAK in snow :0.8 AND [an owl|a cat] :-0.3", "dark BREAK blurred")
    torch.testing.assert_close(got, x, rtol=0, atol=2e-5 * float(x.abs().max()))

"""A text that A1111 wrote, a model and no network: the same picture as a calculation written out with its peers' parts.

What A1111 does with such a text is in this file in plain steps: transformers reads the words, diffusers' UNet predicts,
k-diffusion's sampler with torchsde's noise takes the steps. Only the pictures meet.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.adapters.lora import Adapter, write_adapter
from impasto.cli import main
from impasto.weights.checkpoint import About
from impasto.weights.load import Networks, save_folder
from tests.adapters.random import adapter
from tests.weights import tiny

SEED, STEPS, SCALE = 965400086, 4, 5.0
TEXT = f"""a (red:1.3) [fox:owl:0.5], hill <lora:ink:0.8>
Negative prompt: dark
Steps: {STEPS}, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: {SCALE:g}, Seed: {SEED}, Size: 16x16, \
Model hash: fe4efff1e1, Model: sd-v1-4, Denoising strength: 0.6, Clip skip: 2, RNG: CPU, Hires upscale: 1.5, \
Hires steps: 3, Hires upscaler: Latent, Version: v1.10.1"""
Words = list[tuple[str, float]]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shelf")
    save_folder(path / "tiny", model(), About(name="tiny"))
    write_adapter(ink(), path / "ink.safetensors")
    (path / "castle.txt").write_text(TEXT, encoding="utf-8")
    return path


def model() -> Networks:
    """The tiny model with a text encoder whose vectors have a mean, as trained ones do: a weight keeps it."""
    networks = tiny.networks()
    text_encoder = copy.deepcopy(networks.text_encoder)
    text_encoder.final_layer_norm.bias.fill_(0.3)
    return replace(networks, text_encoder=text_encoder)


def ink() -> Adapter:
    return adapter(tiny.networks(), name="ink", modules=("attention",))


class Theirs:
    """The networks of transformers and diffusers, with the adapter added to their weights."""

    def __init__(self, folder: Path, k_diffusion: SimpleNamespace) -> None:
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
        self.words, self.encoder, self.unet, self.vae = pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.vae
        self.sampling, outer = k_diffusion.sampling, self
        for part, layers in ink().parts.items():
            weights = dict((self.unet if part == "unet" else self.encoder).named_parameters())
            for place, change in layers.items():
                (name,) = (key for key in weights if key.endswith(f"{place}.weight"))
                weights[name].data += 0.8 * change.alpha / len(change.down) * change.up @ change.down

        class Eps(k_diffusion.external.DiscreteEpsDDPMDenoiser):  # type: ignore[misc, name-defined]
            def get_eps(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
                return outer.unet(x, t, encoder_hidden_states=cond).sample

        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.denoise = Eps(None, (1 - betas).cumprod(0).float(), quantize=False)

    def contexts(self, *texts: Words) -> list[torch.Tensor]:
        """Encode texts that a prompt has one after the other, their weights evened out over all of them."""
        rows, weights = [], torch.ones(len(texts), 77, 1)
        for number, text in enumerate(texts):
            ids = [self.words.bos_token_id]
            for part, weight in text:
                new = self.words(part, add_special_tokens=False)["input_ids"]
                weights[number, len(ids) : len(ids) + len(new)] = weight
                ids += new
            ids.append(self.words.eos_token_id)
            rows.append(ids + [self.words.pad_token_id] * (77 - len(ids)))
        hidden = self.encoder(torch.tensor(rows), output_hidden_states=True).hidden_states[-2]
        z = self.encoder.final_layer_norm(hidden)
        weighted = z * weights
        return list((weighted * (z.mean() / weighted.mean())).split(1))

    def run(self, x: torch.Tensor, sigmas: torch.Tensor, whole: torch.Tensor, asked: list[torch.Tensor]) -> Any:
        """Take the steps of `sigmas`, which ask for one context each."""
        (negative,) = self.contexts([("dark", 1.0)])
        calls = iter(asked)

        def guided(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            cond = next(calls)
            uncond = self.denoise(x, sigma, cond=negative)
            return uncond + SCALE * (self.denoise(x, sigma, cond=cond) - uncond)

        noise = self.sampling.BrownianTreeNoiseSampler(x, whole[whole > 0].min(), whole.max(), seed=[SEED])
        return self.sampling.sample_dpmpp_2m_sde(guided, x, sigmas, noise_sampler=noise, disable=True)

    def sigmas(self, steps: int) -> torch.Tensor:
        low, high = self.denoise.sigmas[0].item(), self.denoise.sigmas[-1].item()
        return self.sampling.get_sigmas_karras(steps, low, high)


def noise(side: int) -> torch.Tensor:
    return torch.randn((4, side, side), generator=torch.Generator().manual_seed(SEED))[None]


@pytest.mark.filterwarnings("ignore:Should have t", "ignore:__array:DeprecationWarning")
@torch.inference_mode()
def test_the_picture_of_an_infotext(
    shelf: Path, tmp_path: Path, k_diffusion: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = Theirs(shelf / "tiny", k_diffusion)
    before, after = ([("a", 1.0), ("red", 1.3), (f"{animal}, hill", 1.0)] for animal in ("fox", "owl"))
    fox, owl = theirs.contexts(before, after)
    first = theirs.sigmas(STEPS)
    x = theirs.run(noise(8) * first[0], first, first, [fox, fox, fox, owl])  # half of 4 steps and, as there, one more
    second = theirs.sigmas(5)  # 3 steps of 0.6 of a schedule
    x = F.interpolate(x, (12, 12), mode="bilinear") + noise(12) * second[2]
    x = theirs.run(x, second[2:], second, theirs.contexts(after) * 3)
    pixels = theirs.vae.decode(x / theirs.vae.config.scaling_factor).sample[0].permute(1, 2, 0)
    expected = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().int().numpy()

    options = ["--model", str(shelf / "tiny"), "--adapter", str(shelf), "--from-infotext", str(shelf / "castle.txt")]
    assert main(["generate", *options, "-o", str(tmp_path / "castle.png"), "--device", "cpu"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "Warning" in line]
    assert [line.partition(":")[2].strip()[:13] for line in warnings] == [
        "another model"
    ]  # the text names the large one
    with Image.open(tmp_path / "castle.png") as image:
        ours = np.asarray(image).astype(int)
    assert ours.shape == expected.shape == (24, 24, 3)
    assert expected.std() > 5
    assert abs(ours - expected).max() <= 1

"""Training Glyph's network from nothing, beside diffusers' own loop: pictures a second with the same network and batch.

    python benchmarks/pretraining.py                a few minutes; the sides take turns, step by step
    python benchmarks/pretraining.py --small        a small network, to see that this works

The other side is the loop of `examples/text_to_image/train_text_to_image.py` of diffusers: each step sends its
pictures through the autoencoder, noises them, asks text encoder and UNet, and takes the mean squared error; AdamW,
clipped to 1, and its mean of the weights (`EMAModel`). Its text encoder learns along, as ours has to. Reading and
cropping the files is left out: its pictures are in memory. Ours is `impasto train model` with the plan of Glyph, whose
latents are cached, whose optimiser is Muon, and which keeps the memory that it frees.

The ratio is pictures a second of Impasto over those of diffusers: above 1 means that Impasto learns from more of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `benchmarks` is, when this file is what runs

from benchmarks.training import write_model
from impasto.allocator import keep_freed
from impasto.corpus.statement import Statement
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.vae import AutoencoderKL
from impasto.training import plans
from impasto.training.latents import Variants
from impasto.training.loop import Run
from impasto.training.plans import ModelPlan, Selection
from impasto.training.runs import BASE_TOKENS
from impasto.training.taught import open_taught
from impasto.training.text_to_image import LatentData, Latents, ModelTask

PLAN = Path(__file__).resolve().parent.parent / "recipes" / "glyph" / "model.toml"
SMALL = {"block_out_channels": (48, 96)}
PICTURES = 64
ENDLESS = 1_000_000


def read_plan(batch: int, small: bool) -> ModelPlan:
    """Return Glyph's plan with `batch` pictures a step, without an end and without sheets."""
    plan = plans.read(ModelPlan, PLAN)
    stage = plan.stages[0].plain() | {"batch": batch, "steps": ENDLESS}
    changes: dict[str, Any] = {"stages": [stage], "sheet_every": ENDLESS, "checkpoint_every": ENDLESS}
    if small:
        shape = plan.spec.plain()
        changes["model"] = shape | {"unet": shape["unet"] | SMALL}
    return ModelPlan.parse(plan.plain() | changes, "the plan")


def ours(plan: ModelPlan, pictures: Path, folder: Path) -> Run:
    """Return our side, prepared as `impasto train model` does it; its latents are noise."""
    rows = open_taught(pictures, Statement(), Selection(), plan.spec.resolution).rows
    variants = Variants.draw(torch.ones(len(rows), dtype=torch.bool), plan.variants, plan.seed)
    values = torch.randn(len(rows), plan.variants, *plan.spec.latent_shape).half()
    tokenizer = CLIPTokenizer.packaged(plan.spec.text.vocab_size - BASE_TOKENS)
    data = LatentData(Latents(tuple(rows), values, variants), None, "random")
    return Run(ModelTask(plan, tokenizer, AutoencoderKL(plan.spec.vae), data), folder)


class Theirs:
    """diffusers' example: what it has in memory, and its step."""

    def __init__(self, folder: Path, plan: ModelPlan) -> None:
        from diffusers import AutoencoderKL as TheirVAE
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from diffusers.training_utils import EMAModel
        from transformers import CLIPTextModel

        self.scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32)
        self.vae = TheirVAE.from_pretrained(folder, subfolder="vae").requires_grad_(False)
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        self.modules = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder}).train()
        self.mean = EMAModel(self.modules.parameters(), decay=plan.ema)
        self.optimiser = torch.optim.AdamW(self.modules.parameters(), lr=1e-4)
        size, text = plan.spec.resolution, plan.spec.text
        self.pixels = torch.rand(plan.stages[0].batch, 3, size, size) * 2 - 1
        self.ids = torch.randint(text.vocab_size, (plan.stages[0].batch, text.max_position_embeddings))

    def step(self) -> None:
        """Make a step."""
        latents = self.vae.encode(self.pixels).latent_dist.sample() * self.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        t = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(latents),))
        noisy = self.scheduler.add_noise(latents, noise, t)
        states = self.text_encoder(self.ids, return_dict=False)[0]
        predicted = self.unet(noisy, t, states, return_dict=False)[0]
        target = self.scheduler.get_velocity(latents, noise, t)
        F.mse_loss(predicted.float(), target.float(), reduction="mean").backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.mean.step(self.modules.parameters())


def write_pictures(folder: Path, size: int) -> Path:
    """Write pictures with names into `folder`."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(draw.integers(0, 256, (size, size, 3), np.uint8)).save(folder / f"picture-{number}.png")
    return folder


def measure(plan: ModelPlan, rounds: int, work: Path) -> dict[str, Any]:
    """Return pictures a second of both sides, which take turns, and the median of their ratios."""
    steps = ours(plan, write_pictures(work / "pictures", plan.spec.resolution), work / "run").steps()
    theirs = Theirs(write_model(work / "model", plan.spec), plan)
    sides: dict[str, Callable[[], object]] = {"ours": lambda: next(steps), "theirs": theirs.step}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in track(range(rounds + 1), "taking turns"):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            if number:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    batch = plan.stages[0].batch
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    rates = {name: batch / statistics.median(times) for name, times in seconds.items()}
    return {"batch": batch, "pictures a second": rates, "ratio": statistics.median(ratios)}


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a small network, to see that this works")
    parser.add_argument(
        "--give-back", action="store_true", help="leave the allocator as it is: freed memory is given back"
    )
    chosen = parser.parse_args()
    if not chosen.give_back:
        keep_freed()
    with tempfile.TemporaryDirectory(prefix="pretraining-") as work:
        print(json.dumps(measure(read_plan(chosen.batch, chosen.small), chosen.rounds, Path(work)), indent=2))


if __name__ == "__main__":
    main()

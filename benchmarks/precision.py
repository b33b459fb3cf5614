"""Training step in float32 against bfloat16 on this machine, taking turns: which `precision` a plan should have here.

python benchmarks/precision.py [--batch 8] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from impasto.models.specs import SPECS
from impasto.models.unet import UNet
from impasto.training.loop import autocast


def main() -> None:
    """Print the median seconds of a step in each precision, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glyph", choices=sorted(SPECS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    spec = SPECS[options.model]
    unet = UNet(spec.unet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own overloads lack it
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for round_ in range(options.rounds + 1):
        for precision, taken in seconds.items():
            start = time.perf_counter()
            step(unet, spec.latent_shape, spec.text.max_position_embeddings, options.batch, precision)
            if round_:  # the first one warms up
                taken.append(time.perf_counter() - start)
    medians = {precision: statistics.median(taken) for precision, taken in seconds.items()}
    for precision, median in medians.items():
        print(f"{precision:9} {median:8.3f} s a step of {options.batch}  {options.batch / median:8.1f} pictures/s")
    print(f"bfloat16 takes {medians['bfloat16'] / medians['float32']:.2f} times as long as float32 here")


def step(unet: UNet, shape: tuple[int, ...], tokens: int, batch: int, precision: str) -> None:
    """Run forward and backward once."""
    x, t = torch.randn(batch, *shape), torch.rand(batch) * 999
    context = torch.randn(batch, tokens, unet.config.cross_attention_dim)
    with autocast(precision, torch.device("cpu")):
        loss = unet(x, t, context).float().square().mean()
    loss.backward()
    unet.zero_grad()


if __name__ == "__main__":
    main()

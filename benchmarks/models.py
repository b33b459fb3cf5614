"""Forward passes of Impasto's networks beside diffusers' and transformers', same weights, taking turns.

    python benchmarks/models.py            the small rows, about a minute
    python benchmarks/models.py --large    Stable Diffusion 1.4 as well: 4 GB of memory, some minutes

A ratio below 1 means that Impasto is faster. Times are medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL as DiffusersVAE
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS, ModelSpec
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL


@dataclass(frozen=True)
class Case:
    """One measurement: two callables that compute the same."""

    name: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]


def sharing(build: Callable[[], nn.Module], owner: nn.Module) -> Any:
    """Return the module that `build` builds, with the very tensors of `owner`."""
    with torch.device("meta"):
        module = build()
    module.load_state_dict(owner.state_dict(), assign=True)
    return module.eval()


def unet(spec: ModelSpec, batch: int, memory_format: torch.memory_format) -> Case:
    """Return the UNet of `spec` on latents of its own resolution."""
    config = spec.unet
    kinds = ["CrossAttn" if attends else "" for attends in config.attention]
    theirs = UNet2DConditionModel(
        **config.model_dump(exclude={"attention", "heads"}),
        attention_head_dim=config.heads,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
    )
    theirs = theirs.to(memory_format=memory_format).eval()
    ours = sharing(lambda: UNet(config), theirs)
    x = torch.randn(batch, config.in_channels, *spec.latent_shape[1:]).to(memory_format=memory_format)
    t, context = torch.full((batch,), 500.0), torch.randn(batch, 77, config.cross_attention_dim)
    layout = "channels last" if memory_format is torch.channels_last else "contiguous"
    return Case(
        f"{spec.name} unet, batch {batch}, {layout}",
        lambda: ours(x, t, context),
        lambda: theirs(x, t, context).sample,
    )


def decoder(spec: ModelSpec, side: int) -> Case:
    """Return the decoder of `spec` on square latents of `side`."""
    levels = len(spec.vae.block_out_channels)
    theirs = DiffusersVAE(
        **spec.vae.model_dump(),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).eval()
    ours = sharing(lambda: AutoencoderKL(spec.vae), theirs)
    z = torch.randn(1, spec.vae.latent_channels, side, side)
    return Case(f"{spec.name} decoder, {side}x{side}", lambda: ours.decode(z), lambda: theirs.decode(z).sample)


def text(spec: ModelSpec, batch: int) -> Case:
    """Return the text encoder of `spec` on full sequences."""
    vocabulary = spec.text.vocab_size
    theirs = CLIPTextModel(
        CLIPTextConfig(**spec.text.plain(), bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1)
    ).eval()
    ours = sharing(lambda: CLIPTextEncoder(spec.text), theirs)
    ids = torch.randint(0, vocabulary, (batch, spec.text.max_position_embeddings))
    return Case(f"{spec.name} text, batch {batch}", lambda: ours(ids), lambda: theirs(ids).last_hidden_state)


def cases(large: bool) -> Iterator[Case]:
    """Yield the measurements one at a time, so that one model is in memory at a time."""
    glyph, sd = SPECS["glyph"], SPECS["sd-1.4"]
    for memory_format in (torch.contiguous_format, torch.channels_last):
        yield unet(glyph, 2, memory_format)
    yield decoder(glyph, 8)
    yield text(glyph, 2)
    if large:
        yield text(sd, 2)
        yield decoder(sd, 16)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            yield unet(sd, 1, memory_format)


def median_times(case: Case, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of ours and theirs, which take turns so that both see the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 1):
        for run, taken in zip((case.ours, case.theirs), times, strict=True):
            start = time.perf_counter()
            run()
            if index:  # the first round warms up
                taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


@torch.inference_mode()
def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="Stable Diffusion 1.4 as well")
    parser.add_argument("--rounds", type=int, default=20, help="turns per case; a quarter of them for the large ones")
    arguments = parser.parse_args()
    print(f"{'case':<44}{'impasto':>10}{'peer':>10}{'ratio':>8}{'difference':>12}")
    for case in cases(arguments.large):
        difference = float((case.ours() - case.theirs()).abs().max() / case.theirs().abs().max())
        rounds = arguments.rounds if case.name.startswith("glyph") else max(arguments.rounds // 4, 3)
        ours, theirs = median_times(case, rounds)
        print(f"{case.name:<44}{ours:>10.1f}{theirs:>10.1f}{ours / theirs:>8.2f}{difference:>12.1e}", flush=True)


if __name__ == "__main__":
    main()

"""What putting a LoRA on Stable Diffusion 1.4 costs, here and in diffusers with peft, taking turns.

The networks have the shape of 1.4 and no weights: memory that is never touched, so that this runs anywhere. The file is
a random LoRA of every attention and feed-forward layer of the UNet and the text encoder, in kohya's layout.

python benchmarks/adapters.py [--rank 16] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from impasto.adapters.attach import Use, attach
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.adapters.trainable import LoRAConfig, TrainableAdapter
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.weights.layouts.diffusers import COMPONENTS
from impasto.weights.load import Networks

SPEC = SPECS["sd-1.4"]


def main() -> None:
    """Print medians of milliseconds for each step, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    networks, pipe = ours(), theirs()
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        layers = write(networks, options.rank, path)
        for _ in range(options.rounds):
            time_ours(networks, path, taken)
            time_theirs(pipe, path, taken)
        size = path.stat().st_size
    medians = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    print(f"rank {options.rank}, {layers} layers, {size / 1e6:.1f} MB; medians of {options.rounds} rounds")
    for name, median in medians.items():
        print(f"{name:34} {median:9.1f} ms")
    load = (medians["impasto read"] + medians["impasto attach"]) / medians["diffusers load_lora_weights"]
    weigh = medians["impasto weigh"] / medians["diffusers set_adapters"]
    print(f"from the file onto the model: {load:.3f} of diffusers' time; another weight: {weigh:.6f}")
    print(f"attach takes {medians['impasto attach']:.0f} ms; 100 is the aim for rank 16")


def without_weights(make: Callable[[], Any]) -> Any:
    """Make a network of memory that is never touched."""
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu").eval().requires_grad_(False)


def ours() -> Networks:
    """Return networks of 1.4's shape."""
    return Networks(
        SPEC,
        CLIPTokenizer.packaged(),
        without_weights(lambda: CLIPTextEncoder(SPEC.text)),
        without_weights(lambda: UNet(SPEC.unet)),
        without_weights(lambda: AutoencoderKL(SPEC.vae)),
    )


def theirs() -> diffusers.StableDiffusionPipeline:
    """Return diffusers' pipeline of 1.4's shape."""
    unet = COMPONENTS["unet"].table.write(SPEC.unet.plain())
    text = transformers.CLIPTextConfig(**SPEC.text.plain())
    return diffusers.StableDiffusionPipeline(
        vae=None,
        text_encoder=without_weights(lambda: transformers.CLIPTextModel(text)),
        tokenizer=None,
        unet=without_weights(lambda: diffusers.UNet2DConditionModel.from_config(unet)),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def write(networks: Networks, rank: int, path: Path) -> int:
    """Write a random adapter to `path` and return how many layers it has."""
    config = LoRAConfig(rank=rank, parts=("unet", "text_encoder"), modules=("attention", "feed_forward", "projections"))
    adapter = TrainableAdapter(networks, config, generator=torch.Generator().manual_seed(0)).adapter("random")
    write_adapter(adapter, path)
    return sum(map(len, adapter.parts.values()))


def time_ours(networks: Networks, path: Path, taken: dict[str, list[float]]) -> None:
    """Read, attach, weigh and detach once."""
    adapter = timed("impasto read", taken, lambda: read_adapter(path))
    attachment = timed("impasto attach", taken, lambda: attach(networks, [Use(adapter)]))
    timed("impasto weigh", taken, lambda: attachment.weigh(0, unet=0.5, text_encoder=0.5))
    timed("impasto detach", taken, attachment.detach)


def time_theirs(pipe: diffusers.StableDiffusionPipeline, path: Path, taken: dict[str, list[float]]) -> None:
    """Load, weigh and unload once."""
    timed("diffusers load_lora_weights", taken, lambda: pipe.load_lora_weights(path, adapter_name="random"))
    timed("diffusers set_adapters", taken, lambda: pipe.set_adapters(["random"], [0.5]))
    timed("diffusers unload_lora_weights", taken, pipe.unload_lora_weights)


def timed(name: str, taken: dict[str, list[float]], do: Callable[[], Any]) -> Any:
    """Do it, and put the seconds that it took into `taken`."""
    start = time.perf_counter()
    result = do()
    taken.setdefault(name, []).append(time.perf_counter() - start)
    return result


if __name__ == "__main__":
    main()

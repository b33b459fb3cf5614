"""Stable Diffusion 1.4 here and in diffusers, taking turns: time and memory, as ratios at equal number format.

python benchmarks/sd14.py [--steps 4] [--size 512] [--dtype float32] [--rounds 1] [--part pixels] [--source file]

One checkpoint of SD 1.4's shape with random weights is made once, as a single file and as a folder; it takes 8.6 GB of
disk in float32 and half of that in bfloat16. Each measurement is a process of its own, ours and theirs in turns. A
ratio is the smallest of ours over the smallest of theirs; below 1 is better than diffusers. Where cores are shared,
processor time (the column `cpu`) says more than time on the wall. Impasto reads its files once more when it first sees
them, to know the model's digest: the first of all rounds includes that, later ones do not.

    load    from files to a pipeline that is ready, imports not counted
    first   from nothing to the end of the first step: imports, loading, text, the step
    step    seconds of a step after the first
    decode  latents to pixels
    peak    most memory that the process ever had, in GB (VmHWM)
    pixels  largest difference of a pixel from the same latents, of 255; at most 2 in float32
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPT, NEGATIVE, GUIDANCE, SEED = "a red fox on a hill at dawn", "dark", 7.5, 11
PARTS = ("load", "first", "step", "decode", "peak", "pixels")
SIDES = ("impasto", "diffusers")
KEPT = Path(tempfile.gettempdir()) / "impasto-sd14"


def main() -> None:
    """Measure both sides in turns, and print the ratios; fail where one is above 1 and was asked for alone."""
    options = arguments()
    if options.side:
        print(json.dumps(measured(options)))
        return
    make(options.folder, options.dtype)
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            print(f"round {number + 1} of {options.rounds}: {side} ...", file=sys.stderr, flush=True)
            rounds[side].append(apart(side))
    report(rounds, options.part)


def arguments() -> argparse.Namespace:
    """Return the words on the command line, understood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given several times")
    parser.add_argument("--source", default="folder", choices=("folder", "file"), help="what to load")
    parser.add_argument("--folder", type=Path, default=KEPT, help="where the checkpoint is kept")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def make(folder: Path, dtype: str) -> None:
    """Make the checkpoint in `folder`, if it is not there, in both layouts."""
    import torch

    from impasto.models.clip import CLIPTextEncoder
    from impasto.models.specs import SPECS
    from impasto.models.tokenizer import CLIPTokenizer
    from impasto.models.unet import UNet
    from impasto.models.vae import AutoencoderKL
    from impasto.weights.checkpoint import About
    from impasto.weights.load import Networks, save_file, save_folder

    if (folder / f"{dtype}.safetensors").exists():
        return
    print(f"making the checkpoint in {folder} ...", file=sys.stderr, flush=True)
    spec = SPECS["sd-1.4"]
    torch.manual_seed(0)
    parts = (CLIPTextEncoder(spec.text), UNet(spec.unet), AutoencoderKL(spec.vae))
    text_encoder, unet, vae = (part.eval().requires_grad_(False).to(getattr(torch, dtype)) for part in parts)
    networks = Networks(spec, CLIPTokenizer.packaged(), text_encoder, unet, vae)
    save_folder(folder / dtype, networks, About(name="sd14"))
    save_file(folder / f"{dtype}.safetensors", networks, About(name="sd14"))


def apart(side: str) -> dict[str, Any]:
    """Measure one side in a process of its own."""
    words = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "IMPASTO_HOME": str(KEPT / "home")}
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


class Clock:
    """Seconds on the wall and of the processor since the one before."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def __call__(self) -> tuple[float, float]:
        """Return them, and begin again."""
        now = (time.perf_counter(), time.process_time())
        passed = (now[0] - self._last[0], now[1] - self._last[1])
        self._last = now
        return passed


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return what one side takes for each part, and the pixels that it made."""
    clock = Clock()
    result = (ours if options.side == "impasto" else theirs)(options, clock)
    result["peak"] = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e9
    return result


def source(options: argparse.Namespace) -> Path:
    """Return the folder or the file to load."""
    folder: Path = options.folder
    return folder / (options.dtype if options.source == "folder" else f"{options.dtype}.safetensors")


def ours(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Make the picture with Impasto."""
    import numpy as np
    import torch

    import impasto
    import impasto.pipeline

    imports = clock()
    model = impasto.load(source(options), dtype=getattr(torch, options.dtype))
    load = clock()
    recipe = model.recipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        steps=options.steps,
        guidance=GUIDANCE,
        seed=SEED,
        sampler="euler",
        schedule="karras",
        width=options.size,
        height=options.size,
    )
    made = [(progress, clock()) for progress in model.steps(recipe)]
    (picture,) = model.pictures(made[-1][0])
    decode = clock()
    steps = [passed for _, passed in made]
    return {**times(imports, load, steps, decode), "pixels": kept(np.asarray(picture.image), options)}


def theirs(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Make the picture with diffusers, from the same latents."""
    import diffusers
    import numpy as np
    import torch

    cls, euler = diffusers.StableDiffusionPipeline, diffusers.EulerDiscreteScheduler  # imported when they are named
    imports = clock()
    settings = {"dtype": getattr(torch, options.dtype), "safety_checker": None, "local_files_only": True}
    if options.source == "folder":
        pipe = cls.from_pretrained(source(options), **settings)
    else:
        pipe = cls.from_single_file(str(source(options)), config=str(options.folder / options.dtype), **settings)
    pipe.scheduler = euler.from_config(pipe.scheduler.config, timestep_spacing="linspace", use_karras_sigmas=True)
    pipe.set_progress_bar_config(disable=True)
    load = clock()
    steps: list[tuple[float, float]] = []

    def told(_: Any, __: int, ___: Any, values: dict[str, Any]) -> dict[str, Any]:
        steps.append(clock())
        return values

    image = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=options.steps,
        guidance_scale=GUIDANCE,
        height=options.size,
        width=options.size,
        latents=noise(options.size).to(getattr(torch, options.dtype)),
        callback_on_step_end=told,
    ).images[0]
    decode = clock()
    return {**times(imports, load, steps, decode), "pixels": kept(np.asarray(image), options)}


def noise(size: int) -> Any:
    """Return the latents that Impasto begins with, before they are scaled."""
    from impasto.diffusion.noise import ImageNoise

    return ImageNoise([SEED], (4, size // 8, size // 8)).initial()


Passed = tuple[float, float]


def times(imports: Passed, load: Passed, steps: list[Passed], decode: Passed) -> dict[str, Any]:
    """Return the parts' times, each on the wall and of the processor."""
    later = steps[1:] or steps
    return {
        "load": load,
        "first": tuple(imports[k] + load[k] + steps[0][k] for k in (0, 1)),
        "step": tuple(min(step[k] for step in later) for k in (0, 1)),
        "decode": decode,
    }


def kept(pixels: Any, options: argparse.Namespace) -> str:
    """Keep the pixels for the comparison, and return where."""
    import numpy as np

    path = options.folder / f"{options.side}.npy"
    np.save(path, pixels)
    return str(path)


def report(rounds: dict[str, list[dict[str, Any]]], parts: list[str] | None) -> None:
    """Print a table of the ratios."""
    print(f"{'':8} {'impasto':>10} {'diffusers':>10} {'ratio':>7} {'cpu':>7}")
    for part in parts or PARTS:
        if part == "pixels":
            print(f"{part:8} {difference(rounds)} of 255 at most")
            continue
        if part == "peak":
            mine, other = (min(each[part] for each in rounds[side]) for side in SIDES)
            print(f"{part:8} {mine:8.2f}GB {other:8.2f}GB {mine / other:7.2f}")
            continue
        wall, cpu = ([min(each[part][k] for each in rounds[side]) for side in SIDES] for k in (0, 1))
        print(f"{part:8} {wall[0]:9.2f}s {wall[1]:9.2f}s {wall[0] / wall[1]:7.2f} {cpu[0] / cpu[1]:7.2f}")


def difference(rounds: dict[str, list[dict[str, Any]]]) -> int:
    """Return the largest difference of a pixel."""
    import numpy as np

    mine, other = (np.load(rounds[side][-1]["pixels"]).astype(int) for side in SIDES)
    return int(abs(mine - other).max())


if __name__ == "__main__":
    main()

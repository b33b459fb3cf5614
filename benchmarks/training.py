"""LoRA training beside diffusers' own example with PEFT: seconds a step, peak memory, and whether the losses agree.

    python benchmarks/training.py time --size 256         taking turns in one process, with the very same weights
    python benchmarks/training.py memory --size 512       one process each, peak resident memory of a whole run
    python benchmarks/training.py kept --size 128         what a step keeps for the way back; it grows with the pixels
    python benchmarks/training.py loss                    the same noise and timesteps: the curves on a small network

The other side is the loop of `examples/text_to_image/train_text_to_image_lora.py` and
`examples/dreambooth/train_dreambooth_lora.py` of diffusers: rank 4 on to_q, to_k, to_v, to_out.0, AdamW, clipped to 1,
pictures through the autoencoder and captions through the text encoder at each step. Ours is `impasto train lora`.

The model has Stable Diffusion 1.4's shape and random weights. A ratio below 1 means less time or memory for Impasto.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.corpus.statement import Statement
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS, ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.training.base import Base
from impasto.training.buckets import Fit
from impasto.training.draws import generator
from impasto.training.examples import Encoder, gathered
from impasto.training.loop import Run, Tick
from impasto.training.specialise import Request, specialise
from impasto.training.student import Student
from impasto.training.subject import Lessons, SubjectTask
from impasto.training.taught import open_taught
from impasto.training.teaching import LoraPlan
from impasto.weights.checkpoint import About
from impasto.weights.load import Networks, save_folder

TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
RANK, RATE, CAPTION = 4, 1e-4, "zwx fox"
SMALL = {
    "unet": {"block_out_channels": (64, 128), "layers_per_block": 1, "attention": (True, False), "heads": (2, 4)},
    "vae": {"block_out_channels": (32, 64), "layers_per_block": 1},
}
"""Of the network whose losses are compared."""


def spec(small: bool) -> ModelSpec:
    """Return Stable Diffusion 1.4's shape, or a small one like it."""
    whole = SPECS["sd-1.4"]
    if not small:
        return whole
    data = whole.plain()
    data["unet"] |= {**SMALL["unet"], "cross_attention_dim": 64}
    data["vae"] |= SMALL["vae"]
    data["text"] |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    return ModelSpec.parse({**data, "resolution": 64}, "the small network")


def write_model(folder: Path, shape: ModelSpec) -> Path:
    """Write a model of random weights into `folder`, if there is none yet."""
    if folder.is_dir():
        return folder
    torch.manual_seed(0)
    parts = [module.requires_grad_(False).eval() for module in (CLIPTextEncoder(shape.text), UNet(shape.unet))]
    vae = AutoencoderKL(shape.vae).requires_grad_(False).eval()
    tokenizer = CLIPTokenizer.packaged()
    save_folder(folder, Networks(shape, tokenizer, parts[0], parts[1], vae), About(name="random"))  # type: ignore[arg-type]  # a list forgets
    return folder


def write_picture(folder: Path, size: int) -> Path:
    """Write a picture to learn from into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder


def plan(size: int, steps: int, precision: str) -> LoraPlan:
    """Return what the peer's example does, as a plan."""
    data = {
        "name": "result",
        "stages": [{"size": size, "batch": 1, "steps": steps}],
        "adapter": {"rank": RANK, "modules": ["attention"], "start": "gaussian"},
        "optimiser": {"learning_rate": RATE, "warmup": 0, "decay": "constant", "clip": 1.0},
        "wording": {"subject": CAPTION},
        "samples": {"prompts": [CAPTION], "steps": 1},
        "checkpoint_every": 100_000,
        "sheet_every": 100_000,
        "log_every": 1,
        "precision": precision,
    }
    return LoraPlan.parse(data, "the plan")


class Theirs:
    """diffusers' example: what it has in memory, and its step."""

    def __init__(self, folder: Path, size: int, precision: str) -> None:
        from diffusers import AutoencoderKL as TheirVAE
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from peft import LoraConfig
        from transformers import CLIPTextModel
        from transformers import CLIPTokenizer as Tokenizer

        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self.scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        tokenizer = Tokenizer.from_pretrained(folder, subfolder="tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=self.dtype)
        self.vae = TheirVAE.from_pretrained(folder, subfolder="vae", torch_dtype=self.dtype)
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=self.dtype)
        for frozen in (self.text_encoder, self.vae, self.unet):
            frozen.requires_grad_(False)
        self.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=TARGETS))
        self.parameters = [p for p in self.unet.parameters() if p.requires_grad]
        for parameter in self.parameters:
            parameter.data = parameter.data.float()
        self.optimiser = torch.optim.AdamW(self.parameters, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
        pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
        self.pixels = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
        self.ids = tokenizer([CAPTION], padding="max_length", max_length=77, return_tensors="pt").input_ids

    def loss(self, posterior_noise: Tensor | None, noise: Tensor | None, t: Tensor | None) -> Tensor:
        """Return the loss of a step; what is None is drawn."""
        posterior = self.vae.encode(self.pixels.to(self.dtype)).latent_dist
        sample = posterior.sample() if posterior_noise is None else posterior.mean + posterior.std * posterior_noise
        latents = sample * self.vae.config.scaling_factor
        noise = torch.randn_like(latents) if noise is None else noise
        t = torch.randint(0, self.scheduler.config.num_train_timesteps, (1,)) if t is None else t
        noisy = self.scheduler.add_noise(latents, noise.to(self.dtype), t)
        states = self.text_encoder(self.ids, return_dict=False)[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            predicted = self.unet(noisy, t, states, return_dict=False)[0]
        return F.mse_loss(predicted.float(), noise.float(), reduction="mean")

    def step(self, *drawn: Tensor) -> float:
        """Make a step, and return its loss."""
        loss = self.loss(*(drawn or (None, None, None)))  # type: ignore[arg-type]  # three of them
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())


def ours(folder: Path, pictures: Path, asked: LoraPlan) -> tuple[SubjectTask, Run]:
    """Return our side, prepared as `specialise` does it."""
    base = Base.open(folder, "cpu", asked.precision)
    taught = open_taught(pictures, Statement(), asked.select, asked.stages[0].size)
    row, side = taught.rows[0], (asked.stages[0].size,) * 2
    latents = list(Encoder(base.vae(), {row.key: Fit(side, side)})(taught, taught.rows))
    task = SubjectTask(asked, Student(asked, base), Lessons(gathered(taught.rows, latents, 1), None, None, "one"))
    return task, Run(task, folder.parent / "run")


def share(task: SubjectTask, theirs: Theirs) -> None:
    """Let both sides have the very same frozen weights, so that they are in memory once."""
    own = dict(theirs.unet.named_parameters())
    for name, parameter in task.student.frozen.unet.named_parameters():
        stem, _, last = name.rpartition(".")
        place = name if name in own else f"{stem}.base_layer.{last}"
        parameter.data = own[place].data


def measure_time(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return the seconds a step of both, taking turns."""
    folder, pictures = write_model(work / "model", spec(chosen.small)), write_picture(work / "pictures", chosen.size)
    theirs = Theirs(folder, chosen.size, chosen.precision)
    task, run = ours(folder, pictures, plan(chosen.size, 10_000, chosen.precision))
    share(task, theirs)
    sides: dict[str, Callable[[], object]] = {"ours": lambda: next(steps), "theirs": theirs.step}
    steps = run.steps()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(chosen.rounds + 1):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            if number:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
                print(f"{name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {**medians, "ratio": statistics.median(ratios)}


def measure_memory(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return the peak resident memory in MB of both, a process each."""
    write_model(work / "model", spec(chosen.small))
    write_picture(work / "pictures", chosen.size)
    found: dict[str, Any] = {}
    for side in ("ours", "theirs"):
        words = [sys.executable, __file__, "side", side, "--work", str(work), "--size", str(chosen.size)]
        run = subprocess.run(
            [*words, "--precision", chosen.precision, "--rounds", str(chosen.rounds)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found[side] = json.loads(run.stdout.splitlines()[-1])
        print(f"{side}: {found[side]:.0f} MB", file=sys.stderr)
    return {**found, "ratio": found["ours"] / found["theirs"]}


@dataclass(eq=False)
class Held:
    """A tensor for as long as the way back needs it."""

    tensor: Tensor


class Kept:
    """Counts the bytes that are kept for the way back, without those of `own` tensors."""

    def __init__(self, own: Iterable[Tensor]) -> None:
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._held: weakref.WeakSet[Held] = weakref.WeakSet()
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda held: held.tensor)

    def _keep(self, tensor: Tensor) -> Held:
        held = Held(tensor)
        self._held.add(held)
        return held

    @property
    def bytes(self) -> int:
        """How many there are now."""
        storages = [held.tensor.untyped_storage() for held in self._held]
        found = {storage.data_ptr(): storage.nbytes() for storage in storages}
        return sum(size for place, size in found.items() if place not in self._own)


def measure_kept(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return the MB that both sides keep for the way back in one step, besides weights."""
    folder, pictures = write_model(work / "model", spec(chosen.small)), write_picture(work / "pictures", chosen.size)
    theirs = Theirs(folder, chosen.size, chosen.precision)
    task, _ = ours(folder, pictures, plan(chosen.size, 1, chosen.precision))
    share(task, theirs)
    own = [*theirs.unet.parameters(), *theirs.vae.parameters(), *theirs.text_encoder.parameters()]
    own += [*task.modules.parameters(), *task.student.frozen.unet.parameters()]
    found: dict[str, Any] = {}
    losses: dict[str, Callable[[], object]] = {
        "ours": lambda: task.loss(0).value,
        "theirs": lambda: theirs.loss(*[None] * 3),
    }
    for side, loss in losses.items():
        kept = Kept(own)
        with kept.hooks:
            value = loss()
        found[side] = kept.bytes / 2**20
        del value
    return {**found, "ratio": found["ours"] / found["theirs"]}


def one_side(chosen: argparse.Namespace) -> None:
    """Train on one side alone, and print its peak resident memory in MB."""
    if chosen.side == "theirs":
        theirs = Theirs(chosen.work / "model", chosen.size, chosen.precision)
        for _ in range(chosen.rounds):
            theirs.step()
    else:
        asked = plan(chosen.size, chosen.rounds + 1, chosen.precision)
        for tick in _steps(asked, chosen.work):
            if tick.progress.step == chosen.rounds:
                break  # before the sheet, which the other side does not make
    print(json.dumps(_peak()))


def _steps(asked: LoraPlan, work: Path) -> Iterator[Tick]:
    request = Request(asked, work / "pictures", work / "model", work / "run", Statement())
    return (event for event in specialise(request) if isinstance(event, Tick))


def _peak() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def compare_losses(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return how far the losses of both are apart when noise, timesteps and first weights are the same."""
    folder, pictures = write_model(work / "model", spec(small=True)), write_picture(work / "pictures", 64)
    theirs = Theirs(folder, 64, "float32")
    task, run = ours(folder, pictures, plan(64, chosen.rounds, "float32"))
    _same_start(task, theirs)
    apart, first, last = 0.0, 0.0, 0.0
    for step, tick in enumerate(run.steps()):
        loss = theirs.step(*_draws(task, step))
        apart = max(apart, abs(loss - tick.loss) / loss)
        first, last = first or loss, loss
    return {"steps": chosen.rounds, "largest relative difference": apart, "first loss": first, "last loss": last}


def _draws(task: SubjectTask, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what our loss of `step` draws: for the posterior, the noise and the timestep."""
    draw, shape = generator(task.plan.seed, "batch", step), (1, *task.base.spec.latent_shape)
    torch.randint(1, (1,), generator=draw)  # the variant
    posterior = torch.randn(shape, generator=draw)
    torch.rand(2, generator=draw), torch.randperm(64, generator=draw)  # the words
    noise = torch.randn(shape, generator=draw)
    noise += 0 * torch.randn((*shape[:2], 1, 1), generator=draw)
    return posterior, noise, torch.randint(task.base.spec.train_timesteps, (1,), generator=draw)


def _same_start(task: SubjectTask, theirs: Theirs) -> None:
    own = dict(theirs.unet.named_parameters())
    for name, parameter in task.modules["adapter"].named_parameters():
        path, _, role = name.removeprefix("unet.").rpartition(".")
        letter = {"down": "A", "up": "B"}[role]
        parameter.data = own[f"{path}.lora_{letter}.default.weight"].data.clone()


MEASUREMENTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "time": measure_time,
    "memory": measure_memory,
    "kept": measure_kept,
    "loss": compare_losses,
}


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory", "kept", "loss", "side"])
    parser.add_argument("side", nargs="?", choices=["ours", "theirs"])
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a small network, to see that this works")
    parser.add_argument("--work", type=Path, help="folder for the model; by itself a temporary one")
    chosen = parser.parse_args()
    if chosen.what == "side":
        one_side(chosen)
        return
    work = chosen.work or Path(tempfile.mkdtemp(prefix="training-"))
    try:
        found = MEASUREMENTS[chosen.what](chosen, work)
        print(json.dumps({"what": chosen.what, "size": chosen.size, "precision": chosen.precision, **found}, indent=2))
    finally:
        if chosen.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()

"""What tensors are of, by their names, and how a model is opened, whatever holds it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import InvalidInput, NotFound, UnreadableWeights, UnsupportedConfig
from impasto.models.vae import VAEConfig
from impasto.weights import pictured
from impasto.weights.assembly import with_vae
from impasto.weights.checkpoint import Checkpoint, Component
from impasto.weights.containers import container, open_tensors
from impasto.weights.files import Entry
from impasto.weights.folders import ADAPTER_MARKS
from impasto.weights.layouts import diffusers, ldm
from impasto.weights.store import check


@dataclass(frozen=True)
class Content:
    """What tensors are of.

    Attributes:
        what: in words.
        pattern: of one of the names.
        kind: of the store's, for what can be used by itself.
    """

    what: str
    pattern: re.Pattern[str]
    kind: str | None = None


KINDS = {"lora": "adapter", "model": "model", "vae": "vae", "diffusers vae": "vae", "embedding": "embedding"}

CONTENTS = {
    name: Content(what, re.compile(pattern), KINDS.get(name))
    for name, (what, pattern) in {
        "lora": ("a LoRA", r".*(lora_(up|down|A|B)\.|_lora\.(up|down)\.|\.lora\.(up|down)\.|hada_w1_a|lokr_w1)"),
        "sdxl": ("a Stable Diffusion XL model", r"conditioner\.embedders\."),
        "sd3": ("a Stable Diffusion 3 or Flux model", r"(model\.diffusion_model\.)?(joint_blocks|double_blocks)\."),
        "controlnet": ("a ControlNet", r"(control_model\.|controlnet_cond_embedding\.|input_hint_block\.)"),
        "model": ("a Stable Diffusion model", r"model\.diffusion_model\.input_blocks\.0\.0\.weight"),
        "vae": ("an autoencoder", r"(first_stage_model\.)?encoder\.down\.0\.block\.0\.norm1\.weight"),
        "diffusers vae": (
            "an autoencoder in diffusers' names",
            r"encoder\.down_blocks\.0\.resnets\.0\.norm1\.weight",
        ),
        "diffusers unet": ("a UNet in diffusers' names", r"down_blocks\.0\.resnets\.0\.norm1\.weight"),
        "clip": ("a text encoder", r"(text_model\.)?embeddings\.token_embedding\.weight"),
        "embedding": ("a textual inversion", r"(string_to_param\.|emb_params$|clip_[lg]$|<)"),
    }.items()
}
"""What tensors can be of, by name; the first of which a tensor's name fits is taken."""


def content(names: Iterable[str]) -> str | None:
    """Return the name in `CONTENTS` of what tensors called `names` are of, None for nothing known."""
    names = list(names)
    return next((key for key, row in CONTENTS.items() if any(map(row.pattern.match, names))), None)


def kind_at(path: Path) -> tuple[str | None, str | None]:
    """Return the store's kind of what is at `path`, and what it is in words; twice None for no weights at all.

    Raises:
        WeightsError: it looks like weights, but cannot be read.
        NotFound: a file that should be there is not.
    """
    if path.is_dir():
        return _folder_kind(path)
    if pictured.is_picture(path):
        return ("embedding", "a textual inversion in a picture") if pictured.tells(path) else (None, None)
    try:
        container(path)
    except UnreadableWeights:
        return None, None
    file = open_tensors(path)
    row = CONTENTS.get(content(file) or "")
    if row is None and _vectors(list(file.entries.values())):
        row = CONTENTS["embedding"]  # under its trigger's own name, which may be any
    if row is None:
        raise UnsupportedConfig(str(path), [f"not known here; its {len(file)} tensors are called {_some(file)}"])
    if row.kind is None:
        raise UnsupportedConfig(str(path), [f"this is {row.what}"])
    return row.kind, row.what


def _folder_kind(path: Path) -> tuple[str, str]:
    """Return what the folder at `path` is: a model, or an adapter as PEFT writes it."""
    found = adapter_files(path)
    if diffusers.is_folder(path) or not found:
        diffusers.read(path)
        return "model", "a model in a diffusers folder"
    for file in found:
        if content(tensors := open_tensors(file)) != "lora":
            raise UnsupportedConfig(str(file), [f"no adapter; its {len(tensors)} tensors are called {_some(tensors)}"])
    return "adapter", "a LoRA in a folder of PEFT's"


def adapter_files(path: Path) -> list[Path]:
    """Return the files of weights of the adapter by PEFT in the folder at `path`; none where it is something else."""
    folders = [(path / mark).parent for mark in ADAPTER_MARKS if (path / mark).is_file()]
    return [file for folder in folders for file in sorted(folder.glob("adapter_model.*"))]


EMBEDDING_WIDTHS = (768, 1024)
"""Of the text encoders of Stable Diffusion 1 and 2."""


def _vectors(entries: list[Entry]) -> bool:
    return len(entries) == 1 and len(entries[0].shape) in (1, 2) and entries[0].shape[-1] in EMBEDDING_WIDTHS


@dataclass(frozen=True)
class Choices:
    """What to read of a model, where its files leave a choice.

    Attributes:
        ema: take the moving average of the UNet's weights, from a single file that has it.
        prediction: what the UNet predicts, where it is not what the files say.
        variant: of a diffusers folder's weights, such as fp16; by itself the plain ones, or what there is.
        vae: file or folder of an autoencoder to use instead of the model's own.
    """

    ema: bool = False
    prediction: ldm.Prediction | None = None
    variant: str | None = None
    vae: Path | None = None


def open_model(path: Path, choices: Choices | None = None) -> Checkpoint:
    """Open the model at `path`, a folder or a single file; no weights are read yet.

    Raises:
        NotFound: there is nothing, or a file that should be in the folder is not.
        InvalidInput: a file that should be JSON is not, or a choice that the files do not give.
        UnsupportedConfig: the files are not a model that is built here.
        UnreadableWeights: a file of weights is not well formed, or holds more than weights.
        WeightsChanged: it lies in the store, and is not what was put there.
    """
    choices = choices or Choices()
    check(path)
    checkpoint = _open_folder(path, choices) if path.is_dir() else _open_file(path, choices)
    return with_vae(checkpoint, choices.vae, *open_vae(choices.vae)) if choices.vae else checkpoint


def _open_folder(path: Path, choices: Choices) -> Checkpoint:
    if not diffusers.is_folder(path):
        raise NotFound(f"There is no model in {path}: a folder with {diffusers.INDEX} is needed, or a single file.")
    if choices.ema:
        raise InvalidInput(f"{path} is a diffusers folder, which holds one set of weights. Leave EMA out.")
    checkpoint = diffusers.read(path, choices.variant)
    if choices.prediction is None:
        return checkpoint
    spec = checkpoint.spec.model_copy(update={"prediction": choices.prediction})
    return dataclasses.replace(checkpoint, spec=spec)


def _open_file(path: Path, choices: Choices) -> Checkpoint:
    if choices.variant:
        raise InvalidInput(f"{path} is a single file, which has no variants. Leave variant {choices.variant!r} out.")
    file = open_tensors(path)
    if (kind := content(file)) != "model":
        what = CONTENTS[kind].what if kind else f"not known here; its {len(file)} tensors are called {_some(file)}"
        raise UnsupportedConfig(str(path), [f"a model is needed; this is {what}"])
    checkpoint = ldm.read(file, path.stem, ema=choices.ema, prediction=choices.prediction)
    return dataclasses.replace(checkpoint, file=path)


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def open_vae(path: Path) -> tuple[VAEConfig, Component]:
    """Open the autoencoder at `path`: a diffusers folder (a model's or its `vae`), or a single file of either layout.

    Raises:
        NotFound: there is none.
        UnsupportedConfig: something else is there.
        UnreadableWeights: a file of weights is not well formed, or holds more than weights.
        WeightsChanged: it lies in the store, and is not what was put there.
    """
    check(path)
    if path.is_dir():
        return diffusers.read_vae(path / "vae" if (path / "vae").is_dir() else path)
    file = open_tensors(path)
    kind = content(file)
    if kind in ("model", "vae"):
        return ldm.read_vae(file)
    if kind == "diffusers vae":
        return diffusers.read_vae_file(file)
    what = CONTENTS[kind].what if kind else f"not known here; its {len(file)} tensors are called {_some(file)}"
    raise UnsupportedConfig(str(path), [f"an autoencoder is needed; this is {what}"])

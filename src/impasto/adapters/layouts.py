"""What the tensors of adapters are called in the world's files: tables, and one engine that reads them all.

A name has three parts: what it is of (a prefix), the path of a module (spelled with dots or with underscores, in our
names or in those of Stable Diffusion's own files), and its role (a suffix). Each has its table. What a file mixes,
which those of diffusers do, is read all the same; a layout only decides what is written.

Sources: kohya-ss/sd-scripts (`networks/lora.py`), KohakuBlueleaf/LyCORIS (`lora_mid`, `dora_scale`, `hada_`, `lokr_`),
diffusers (`loaders/lora_conversion_utils.py`, `utils/state_dict_utils.py`) and peft (`utils/save_and_load.py`). Paths
are those of our networks, which are diffusers' and, without `text_model.`, transformers'.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from impasto.models.unet import UNetConfig
from impasto.weights.files import Entry
from impasto.weights.layouts.ldm_names import unet_table
from impasto.weights.layouts.names import NameTable

Part = Literal["unet", "text_encoder"]
LoRARole = Literal["down", "up", "mid", "alpha", "dora", "magnitude"]
LoHaRole = Literal["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"]
LoKrRole = Literal["lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"]
Role = Literal[LoRARole, LoHaRole, LoKrRole]

PARTS: tuple[Part, ...] = ("unet", "text_encoder")

ROLES: dict[str, Role] = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".alpha": "alpha",
    ".dora_scale": "dora",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    **{f".{role}": role for role in (*get_args(LoHaRole), *get_args(LoKrRole))},
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector.default.weight": "magnitude",
}
"""How a name ends, and what the tensor then is; a `magnitude` is PEFT's `dora` in another shape."""

OTHERS = {
    r"lora_te2_|text_encoder_2\.|.*add_embedding": "for Stable Diffusion XL",
    r"(lora_)?transformer[._]|(lora_unet_)?(double|single|joint)_blocks": "for Stable Diffusion 3, Flux or the like",
    r".*\.(oft_|boft_|vera_|ia3_|glora_|[ab][12]\.weight$)": "of another method than LoRA",
    r".*\.(diff|diff_b|w_norm|b_norm|set_weight)$": "one that holds whole weights besides LoRA",
    r".*\.lora_(B|up)\.(default\.)?bias$": "a LoRA that changes biases",
    r".*\.(modules_to_save|lora_embedding_[AB])": "a LoRA that replaces whole layers or token vectors",
    r"control_model\.|lora_controlnet": "for a ControlNet",
    r"bundle_emb\.": "one that holds embeddings besides, which are files of their own here",
}
"""(pattern of a name) -> what an adapter with such a tensor is, that is not read here."""

PREFIXES: dict[str, Part | None] = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",  # as diffusers' own conversion writes it, even where there is no second one
    "base_model.model.unet.": "unet",
    "base_model.model.text_encoder.": "text_encoder",
    "base_model.model.": None,
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "diffusion_model.": "unet",
    "": None,
}
"""How a name begins, and what it is then of; None where the path itself tells. The longest that fits is taken."""

UNDERSCORED = ("lora_unet_", "lora_te_", "lora_te1_")
"""Prefixes after which the path is spelled with underscores."""

WORDS = (
    *("down_blocks", "up_blocks", "mid_block", "attentions", "resnets", "downsamplers", "upsamplers"),
    *("transformer_blocks", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "ff", "net", "proj"),
    *("proj_in", "proj_out", "conv_in", "conv_out", "conv", "conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    *("time_embedding", "linear_1", "linear_2"),
    *("text_model", "encoder", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "mlp", "fc1", "fc2"),
    *("input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers", "skip_connection"),
    *("time_embed", "op", "out"),
)
"""Every word that the path of a layer can have, by which a path that is spelled with underscores is told apart."""

OLD_ATTENTION: dict[Part, dict[str, str]] = {
    "unet": {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"},
    "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}
"""The attention's layers as diffusers called them before 0.19, after `.processor.` and before `_lora`."""

WINDOWS = {"conv": 3, "conv1": 3, "conv2": 3, "conv_in": 3, "conv_out": 3, "conv_shortcut": 1}
"""Last word of the path of what is a convolution in every UNet -> side of its window, which some files leave out."""

FIRST_WORDS: dict[str, Part] = {
    "encoder": "text_encoder",
    "down_blocks": "unet",
    "mid_block": "unet",
    "up_blocks": "unet",
    "conv_in": "unet",
    "conv_out": "unet",
    "time_embedding": "unet",
}
"""What a path is of, where no prefix says it."""

LDM_WORDS = ("input_blocks", "middle_block", "output_blocks", "time_embed", "out")
"""How a path begins that is spelled in the names of Stable Diffusion's own files."""

_WORD = re.compile(rf"({'|'.join(sorted(WORDS, key=len, reverse=True))}|\d{{1,3}})(?:_|$)")
_ROLE = re.compile(rf"(.+?)({'|'.join(re.escape(end) for end in sorted(ROLES, key=len, reverse=True))})$", re.DOTALL)
_OLD = "_lora."
_NOWHERE = Entry(torch.float32, (), 0, 0)


@dataclass(frozen=True)
class Place:
    """What a tensor of an adapter is.

    Attributes:
        part: the network that the layer is in.
        path: of the layer, in our names.
        role: of the tensor there.
    """

    part: Part
    path: str
    role: Role


def place(name: str, unet: UNetConfig, part: Part | None = None) -> Place | None:
    """Return what the tensor called `name` is, None where no table knows it.

    Args:
        name: in a file of whichever layout.
        unet: shape of the UNet, by which names of Stable Diffusion's own files count their blocks.
        part: what all of the file is of, where that is known from elsewhere.
    """
    if (ends := _ROLE.fullmatch(name)) is None:
        return None
    stem, end = ends.groups()
    prefix = next(prefix for prefix in sorted(PREFIXES, key=len, reverse=True) if stem.startswith(prefix))
    part, rest = PREFIXES[prefix] or part, stem.removeprefix(prefix)
    path = _dotted(rest) if prefix in UNDERSCORED else rest.replace(".processor.", ".")
    path = path and path.removeprefix("text_model.")
    if path and path.split(".")[0] in LDM_WORDS:
        path = _from_ldm(path, unet)
    part = part or FIRST_WORDS.get((path or "").split(".")[0])
    if path and part and end.startswith(_OLD):
        path = _without_processor(path, part)
    return Place(part, path, ROLES[end]) if path and part else None


def _dotted(spelled: str) -> str | None:
    """Return a path that is spelled with underscores with dots; None if it has other words than a path has."""
    words, position = [], 0
    while position < len(spelled):
        if (word := _WORD.match(spelled, position)) is None:
            return None
        words.append(word[1])
        position = word.end()
    return ".".join(words)


def _without_processor(path: str, part: Part) -> str | None:
    before, _, last = path.rpartition(".")
    layer = OLD_ATTENTION[part].get(last)
    return f"{before}.{layer}" if layer and before else None


def other_kind(names: Iterable[str]) -> str | None:
    """Return what an adapter with tensors of these `names` is, if it is of a kind that is not read here."""
    names = list(names)
    return next((what for pattern, what in OTHERS.items() if any(re.match(pattern, name) for name in names)), None)


@functools.lru_cache(maxsize=8)
def _ldm_names(unet: UNetConfig) -> NameTable:
    return unet_table(unet)


def _from_ldm(path: str, unet: UNetConfig) -> str:
    return next(iter(_ldm_names(unet).place(path, "", _NOWHERE)[0]))


@dataclass(frozen=True)
class Layout:
    """How an adapter is written.

    Attributes:
        prefixes: before the path, by part.
        ends: after the path, by role, for each part or for both; a role that is not there cannot be written.
        underscores: spell the path with underscores.
        ldm: spell the UNet's paths in the names of Stable Diffusion's own files.
        folder: a folder with a file for each part, and a configuration beside each.
        configured: alpha is not a tensor but stands in a configuration.
    """

    prefixes: Mapping[Part, str]
    ends: Mapping[Role, str | Mapping[Part, str]]
    underscores: bool = False
    ldm: bool = False
    folder: bool = False
    configured: bool = False

    def name(self, place: Place, unet: UNetConfig) -> str | None:
        """Return what the tensor at `place` is called; None where this layout has no such tensors."""
        end = self.ends.get(place.role)
        if end is None:
            return None
        path = _ldm_names(unet).called(place.path) if self.ldm and place.part == "unet" else place.path
        path = path.replace(".", "_") if self.underscores else path
        return self.prefixes[place.part] + path + (end if isinstance(end, str) else end[place.part])


_KOHYA = Layout(
    prefixes={"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"},
    ends={
        "down": ".lora_down.weight",
        "up": ".lora_up.weight",
        "mid": ".lora_mid.weight",
        "alpha": ".alpha",
        "dora": ".dora_scale",
        **{role: f".{role}" for role in get_args(LoKrRole)},
    },
    underscores=True,
)

LAYOUTS: dict[str, Layout] = {
    "kohya": _KOHYA,
    "kohya-ldm": replace(_KOHYA, ldm=True),
    "diffusers": Layout(
        prefixes={"unet": "unet.", "text_encoder": "text_encoder.text_model."},
        ends={
            "down": {"unet": ".lora.down.weight", "text_encoder": ".lora_linear_layer.down.weight"},
            "up": {"unet": ".lora.up.weight", "text_encoder": ".lora_linear_layer.up.weight"},
            "magnitude": ".lora_magnitude_vector",
        },
        configured=True,
    ),
    "peft": Layout(
        prefixes={"unet": "base_model.model.", "text_encoder": "base_model.model."},
        ends={"down": ".lora_A.weight", "up": ".lora_B.weight", "magnitude": ".lora_magnitude_vector"},
        folder=True,
        configured=True,
    ),
}
"""Layouts that are written, by name. `diffusers` is one file, `peft` a folder."""

FOUND = {
    "kohya with blocks of Stable Diffusion's own names": r"lora_unet_(input_blocks|middle_block|output_blocks)_",
    "kohya": r"lora_(unet|te|te1)_",
    "PEFT": r"base_model\.model\.|.*\.(lora_[AB]\.|hada_|lokr_)",
    "diffusers of early 2023": r".*\.to_(q|k|v|out)_lora\.",
    "diffusers": r".*\.lora(_linear_layer)?\.(down|up)\.",
}
"""(layout, in words) -> pattern of a name that only it has."""


def layouts_of(names: Iterable[str]) -> list[str]:
    """Return, in words, the layouts that `names` are of: usually one; files by diffusers mix theirs with PEFT's."""
    firsts = {next((what for what, pattern in FOUND.items() if re.match(pattern, name)), None) for name in names}
    return [what for what in FOUND if what in firsts]

"""Low-rank adapters: what they are, and how their files are read and written.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; Liu et al. 2024, "DoRA: Weight-Decomposed
Low-Rank Adaptation"; Yeh et al. 2023, "Navigating Text-To-Image Customization" (LyCORIS).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from impasto.adapters.factors import Told, change_of, missing_of, tensors_of, windowed
from impasto.adapters.layouts import LAYOUTS, PARTS, WINDOWS, Part, Place, Role, other_kind, place
from impasto.adapters.lowrank import LowRank
from impasto.errors import InvalidInput, KeyMismatch, NotFound, UnreadableWeights, UnsupportedConfig
from impasto.files import write_text
from impasto.models.unet import UNetConfig
from impasto.schema import read_json
from impasto.weights import files
from impasto.weights.containers import open_tensors
from impasto.weights.files import TensorFile

DIFFUSERS_FILES = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
PEFT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
PEFT_CONFIG = "adapter_config.json"
CONFIG_KEY = "lora_adapter_metadata"
"""In the metadata of files by diffusers: PEFT's configuration of each part, as JSON with `unet.r`, ..."""

T = TypeVar("T")

MODEL_HASH, SPEC_HASH = "sshs_model_hash", "modelspec.hash_sha256"
"""Where kohya and ModelSpec put the SHA-256 of a file's tensors."""

MAX_NAME = 200  # characters of an adapter's name


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter in memory, in no layout in particular.

    Attributes:
        name: what people call it; the stem of its file.
        parts: (`unet`, `text_encoder`) -> (path of a layer, in our names) -> what it is changed by.
        metadata: the file's own strings.
    """

    name: str
    parts: Mapping[Part, Mapping[str, LowRank]]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def digest(self) -> str:
        """Identity of its tensors and scales, the same in whichever layout its file is."""
        return files.tensors_digest(
            {
                f"{part}.{path}.{name}": tensor
                for part, layers in self.parts.items()
                for path, change in layers.items()
                for name, tensor in {**change.factors, "alpha": torch.tensor(change.alpha)}.items()
            }
        )

    @property
    def kronecker(self) -> bool:
        """Whether it is a LoKr, of Kronecker products."""
        return any(change.kron is not None for layers in self.parts.values() for change in layers.values())

    @property
    def rank(self) -> int:
        """The largest rank of its layers; of a LoKr, that of the larger factors."""
        return max(change.rank for layers in self.parts.values() for change in layers.values())


def read_adapter(path: Path, *, unet: UNetConfig | None = None) -> Adapter:
    """Read the adapter at `path`, in whichever layout it is.

    Args:
        path: of a file, or of a folder as peft or diffusers write it.
        unet: shape of the UNet that it is for. Only names of Stable Diffusion's own files (`input_blocks_4_1_...`)
            need it; by itself that of 1.x and 2.x.

    Raises:
        NotFound: there is nothing, or no adapter in the folder.
        UnreadableWeights: a file is not well formed, or holds more than weights.
        KeyMismatch: names that no layout has, halves without the other, tensors whose shapes do not go together.
        UnsupportedConfig: an adapter of a kind that is not read here; says which.
    """
    unet = unet or UNetConfig()
    if path.is_dir():
        return _read_folder(path, unet)
    if path.name in PEFT_FILES and (path.parent / PEFT_CONFIG).is_file():  # which says the scale of what is in the file
        part = next((part for part in PARTS if path.parent.name == part), None)
        name = (path.parent.parent if part else path.parent).resolve().name
        return _adapter(name, [_Source(open_tensors(path), part, read_json(path.parent / PEFT_CONFIG))], unet)
    return _adapter(path.stem, [_Source(open_tensors(path))], unet)


@dataclass(frozen=True, eq=False)
class _Source:
    """A file of an adapter.

    Attributes:
        file: its tensors.
        part: what all of it is of, where its folder says so.
        config: of PEFT, which lies beside it.
    """

    file: TensorFile
    part: Part | None = None
    config: Mapping[str, Any] | None = None


def _read_folder(path: Path, unet: UNetConfig) -> Adapter:
    folders: dict[Path, Part | None] = {path: None, path / "unet": "unet", path / "text_encoder": "text_encoder"}
    found = [
        _Source(open_tensors(weights), part, read_json(folder / PEFT_CONFIG))
        for folder, part in folders.items()
        if (weights := _first(folder, PEFT_FILES))
    ]
    if not found and (weights := _first(path, DIFFUSERS_FILES)):
        found = [_Source(open_tensors(weights))]
    if not found:
        names = ", ".join((PEFT_FILES[0], f"unet/{PEFT_FILES[0]}", DIFFUSERS_FILES[0]))
        raise NotFound(f"There is no adapter in {path}. One of these should be there: {names}.")
    return _adapter(path.resolve().name, found, unet)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _adapter(name: str, sources: list[_Source], unet: UNetConfig) -> Adapter:
    parts: dict[Part, dict[str, LowRank]] = {}
    metadata: dict[str, str] = {}
    for source in sources:
        metadata |= source.file.metadata
        for (part, path), tensors in _layers(source, unet).items():
            if path in parts.setdefault(part, {}):
                raise KeyMismatch(str(source.file.path), [f"{part}.{path} (in another file too)"], ())
            where = f"{source.file.path}: {part}.{path}"
            change = change_of(tensors, where, _configured(source, part, path))
            parts[part][path] = windowed(change, WINDOWS.get(path.rpartition(".")[2]))
    if not any(parts.values()):
        raise UnreadableWeights(f"{sources[0].file.path} holds no adapter: it has no tensors.")
    return Adapter(name[:MAX_NAME], {part: parts[part] for part in PARTS if part in parts}, metadata)


def _layers(source: _Source, unet: UNetConfig) -> dict[tuple[Part, str], dict[Role, Tensor]]:
    """Return the tensors of each layer, after checking that every name has a home and every layer its two halves."""
    file = source.file
    if kind := other_kind(file):
        raise UnsupportedConfig(
            str(file.path), [f"this adapter is {kind}; read here are LoRA, LoCon, LoHa, LoKr and DoRA of 1.x and 2.x"]
        )
    layers: dict[tuple[Part, str], dict[Role, Tensor]] = {}
    unknown, twice = [], []
    for name in file:
        if (found := place(name, unet, source.part)) is None:
            unknown.append(name)
            continue
        tensors = layers.setdefault((found.part, found.path), {})
        if found.role in tensors:
            twice.append(f"{name} (its layer has another)")
        tensors[found.role] = file[name].clone()
    missing = [f"{part}.{path}: {role}" for (part, path), tensors in layers.items() for role in missing_of(tensors)]
    if unknown or twice or missing:
        raise KeyMismatch(str(file.path), unknown + twice, missing)
    return layers


def _configured(source: _Source, part: Part, path: str) -> Told | None:
    """Return what a configuration of PEFT's says of a layer; None without one.

    Raises:
        UnsupportedConfig: it asks for another method, or for numbers that are none.
    """
    where, config = f"{source.file.path.parent / PEFT_CONFIG}", source.config
    if config is None:
        where, config = f"{source.file.path}: {CONFIG_KEY}", _told(source.file, part)
    if not config:
        return None
    if problems := [f"{key}: {value!r:.80}" for key, value in config.items() if value and key in UNSUPPORTED]:
        raise UnsupportedConfig(where, problems)
    if (kind := config.get("peft_type", "LORA")) not in ALPHAS:
        raise UnsupportedConfig(where, [f"peft_type: {kind!r:.80}; supported are {', '.join(ALPHAS)}"])
    alpha = _number(config, ALPHAS[kind], "alpha_pattern", path, where)
    return Told(alpha, _number(config, "r", "rank_pattern", path, where), bool(config.get("use_rslora")))


ALPHAS = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
"""peft_type -> what its configuration calls alpha."""

UNSUPPORTED = (
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "megatron_config",
    "use_qalora",
    "alora_invocation_tokens",
)
"""Keys of PEFT's configuration that ask for what is not built here, when they are set."""


def _told(file: TensorFile, part: Part) -> dict[str, Any]:
    """Return the configuration of `part` that the metadata of a file by diffusers hold; empty without one."""
    if CONFIG_KEY not in file.metadata:
        return {}
    try:
        told = json.loads(file.metadata[CONFIG_KEY])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.path}: {CONFIG_KEY} is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise InvalidInput(f"{file.path}: {CONFIG_KEY} should be a JSON object, not {told!r:.80}.")
    own = {key.removeprefix(f"{part}."): value for key, value in told.items() if key.startswith(f"{part}.")}
    # A network's own `save_lora_adapter` leaves the prefix out.
    return own or {key: value for key, value in told.items() if not key.startswith(PARTS)}


def _number(config: Mapping[str, Any], key: str, table: str, path: str, where: str) -> float:
    """Return what the first pattern in `table` gives that fits `path`, else the number that `key` gives all layers.

    See PEFT's `get_pattern_key`; 8 is its own rank and alpha where a configuration says nothing.
    """
    patterns = config.get(table) or {}
    if not isinstance(patterns, dict):
        raise UnsupportedConfig(where, [f"{table}: {patterns!r:.80} is no table of patterns"])
    value = next((value for pattern, value in patterns.items() if _fits(pattern, path)), config.get(key, 8))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UnsupportedConfig(where, [f"{key} or {table}: {value!r:.80} for {path} is no finite number"])
    return float(value)


def _fits(pattern: str, path: str) -> bool:
    """Return whether `pattern` is the end of `path`: patterns that are more than names are not run."""
    plain = pattern.removeprefix("^").replace("\\.", ".").removeprefix("text_model.")
    return path == plain or (not pattern.startswith("^") and path.endswith("." + plain))


def write_adapter(
    adapter: Adapter,
    path: Path,
    layout: str = "kohya",
    *,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
    unet: UNetConfig | None = None,
) -> None:
    """Write `adapter` to `path`, whole or not at all.

    Args:
        adapter: what to write.
        path: of the file; of the folder for `peft`.
        layout: a name in `LAYOUTS`.
        metadata: strings for the file's header; by itself the adapter's own.
        dtype: to write the tensors in; by itself as they are.
        unet: shape of the UNet that it is for, by which `kohya-ldm` counts blocks; by itself that of 1.x and 2.x.

    Raises:
        NotFound: no such layout; lists those there are.
        InvalidInput: a tensor that the layout has no name for.
    """
    if layout not in LAYOUTS:
        raise NotFound.among("layout", layout, LAYOUTS)
    row, metadata = LAYOUTS[layout], dict(adapter.metadata if metadata is None else metadata)
    for key in (CONFIG_KEY, MODEL_HASH, SPEC_HASH):
        metadata.pop(key, None)
    tensors = {part: _named(adapter, part, layout, dtype, unet or UNetConfig()) for part in adapter.parts}
    configs = {part: _config(layers) for part, layers in adapter.parts.items()}
    if row.folder:
        for part in tensors:
            files.save(path / part / PEFT_FILES[0], tensors[part], {"format": "pt", **metadata})
            write_text(path / part / PEFT_CONFIG, json.dumps({"peft_type": "LORA", **configs[part]}, indent=2) + "\n")
        return
    if row.configured:
        told = {f"{part}.{key}": value for part, config in configs.items() for key, value in config.items()}
        metadata |= {CONFIG_KEY: json.dumps(told, sort_keys=True), "format": "pt"}
    together = {name: tensor for part in tensors.values() for name, tensor in part.items()}
    files.save(path, together, {**metadata, **_hash_keys(together, metadata)})


def _hash_keys(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    sha256 = files.data_sha256(tensors)
    return {MODEL_HASH: sha256, **({SPEC_HASH: f"0x{sha256}"} if "modelspec.architecture" in metadata else {})}


def _named(adapter: Adapter, part: Part, layout: str, dtype: torch.dtype | None, unet: UNetConfig) -> dict[str, Tensor]:
    """Return the tensors of `part` under their names in `layout`."""
    row, result, homeless = LAYOUTS[layout], {}, []
    for path, change in adapter.parts[part].items():
        for role, tensor in tensors_of(change).items():
            if role == "alpha" and row.configured:
                continue
            kind = "magnitude" if role == "dora" and "dora" not in row.ends else role
            name = row.name(Place(part, path, kind), unet)
            if name is None or (kind == "magnitude" and tensor.shape[0] == 1):
                homeless.append(f"{part}.{path}: {role} {tuple(tensor.shape)}")
                continue
            result[name] = (_magnitude(tensor) if kind == "magnitude" else tensor).to(dtype or tensor.dtype)
    if homeless:
        made = _LOKR if adapter.kronecker else ""
        some = ", ".join(homeless[:SHOWN]) + (f", and {len(homeless) - SHOWN:,} more" if homeless[SHOWN:] else "")
        raise InvalidInput(f"The layout {layout!r} has no place for these; choose kohya{made}: {some}.")
    return result


SHOWN = 3  # tensors without a place that are named; the others are counted
_LOKR = ", or make a LoRA of this LoKr first (impasto adapter resize --rank)"


def _magnitude(dora: Tensor) -> Tensor:
    """Return the lengths of rows in PEFT's shape: (out,), or (1, out, 1, 1) of a convolution."""
    return dora.reshape(-1) if dora.ndim == 2 else dora.transpose(0, 1)


def _config(layers: Mapping[str, LowRank]) -> dict[str, Any]:
    """Return PEFT's configuration of the adapter of one network."""
    ranks = {path: change.rank for path, change in layers.items()}
    alphas = {path: change.alpha for path, change in layers.items()}
    rank, alpha = _commonest(ranks.values()), _commonest(alphas.values())
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{re.escape(path)}": own for path, own in ranks.items() if own != rank},
        "alpha_pattern": {f"^{re.escape(path)}": own for path, own in alphas.items() if own != alpha},
        "target_modules": sorted(layers),
        "use_dora": any(change.dora is not None for change in layers.values()),
        "bias": "none",
        "lora_dropout": 0.0,
    }


def _commonest(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]

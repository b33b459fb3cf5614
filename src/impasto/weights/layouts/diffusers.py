"""The diffusers folder: one subfolder a component, each with a config and safetensors weights.

Format: https://huggingface.co/docs/diffusers/main/en/using-diffusers/other-formats. Written are only plain files that
diffusers' `StableDiffusionPipeline.from_pretrained` and transformers read; beside them lie `impasto.json` (name and
settings) and `receipt.json`, which others ignore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from impasto.errors import InvalidInput, KeyMismatch, NotFound, UnsupportedConfig
from impasto.files import write_text
from impasto.models.clip import CLIPTextConfig
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNetConfig
from impasto.models.vae import VAEConfig
from impasto.receipt import Receipt
from impasto.schema import read_json
from impasto.weights import files
from impasto.weights.checkpoint import NOTICES, About, Checkpoint, Component
from impasto.weights.containers import open_tensors
from impasto.weights.layouts.shapes import Shapes
from impasto.weights.layouts.tables import Config, ConfigTable, Field

WRITTEN_FOR = "0.35.0"
"""The version of diffusers whose configurations are written; later ones read them too."""


@dataclass(frozen=True)
class ComponentLayout:
    """Where a component lies in the folder, and how its tensors are called there.

    Attributes:
        weights: name of the weights file in the component's folder.
        old_weights: its name before safetensors, for folders that have nothing else.
        table: of its config.json.
        prefix: that its tensors' names carry in files, and may lack in some.
        renames: (pattern of an old name, name now), tried in order.
        dropped: pattern of tensors that are left out on purpose.
    """

    weights: str
    old_weights: str
    table: ConfigTable
    prefix: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    dropped: str | None = None

    def names(self, theirs: Iterable[str]) -> dict[str, str]:
        """Return (name of ours) -> (name in the file) for the names in a file."""
        kept = [name for name in theirs if not (self.dropped and re.fullmatch(self.dropped, name))]
        return {self._ours(name): name for name in kept}

    def called(self, ours: str) -> str:
        """Return what a parameter of ours is called in files that are written."""
        return self.prefix + ours

    def _ours(self, name: str) -> str:
        name = name.removeprefix(self.prefix)
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


def _per_level(value: Any, config: Config) -> tuple[int, ...]:
    levels = len(config.get("block_out_channels", UNET_CHANNELS))
    values = tuple(value) if isinstance(value, list) else (value,) * levels
    if len(values) != levels:
        raise ValueError(f"{levels} levels need as many values")
    return values


def _as_list(value: Any, _: Config) -> list[Any]:
    return list(value)


def _one_if_equal(value: Any, _: Config) -> Any:
    return value[0] if len(set(value)) == 1 else list(value)


def _attention(attending: str, plain: str, *, reverse: bool) -> tuple[Any, Any]:
    kinds = {attending: True, plain: False}

    def read(value: Any, _: Config) -> tuple[bool, ...]:
        if unknown := [kind for kind in value if kind not in kinds]:
            raise ValueError(f"{unknown[0]!r} is not supported; only {attending} and {plain} are")
        return tuple(kinds[kind] for kind in (reversed(value) if reverse else value))

    def write(value: Any, _: Config) -> list[str]:
        names = [attending if attends else plain for attends in value]
        return names[::-1] if reverse else names

    return read, write


def _all_of(kind: str) -> tuple[Any, Any]:
    """A block of one kind for each of the `block_out_channels`, which it gives again."""

    def read(value: Any, config: Config) -> tuple[int, ...]:
        channels = tuple(config.get("block_out_channels", VAE_CHANNELS))
        if list(value) != [kind] * len(channels):
            raise ValueError(f"only {kind}, once for each of block_out_channels, is supported")
        return channels

    def write(value: Any, _: Config) -> list[str]:
        return [kind] * len(value)

    return read, write


UNET_CHANNELS = (320, 640, 1280, 1280)
VAE_CHANNELS = (64,)

UNET = ConfigTable(
    header={"_diffusers_version": WRITTEN_FOR},
    fields={
        "in_channels": Field("in_channels", 4),
        "out_channels": Field("out_channels", 4),
        "block_out_channels": Field("block_out_channels", UNET_CHANNELS, write=_as_list),
        "layers_per_block": Field("layers_per_block", 2),
        "down_block_types": Field(
            "attention",
            ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            *_attention("CrossAttnDownBlock2D", "DownBlock2D", reverse=False),
        ),
        "up_block_types": Field(
            "attention",
            ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            *_attention("CrossAttnUpBlock2D", "UpBlock2D", reverse=True),
        ),
        # Called a dimension there, it has always been the number of heads (huggingface/diffusers#2011).
        "attention_head_dim": Field("heads", 8, _per_level, _one_if_equal),
        "cross_attention_dim": Field("cross_attention_dim", 1280),
        "norm_num_groups": Field("norm_num_groups", 32),
        "use_linear_projection": Field("use_linear_projection", default=False),
    },
    fixed={
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "addition_embed_type": None,
        "attention_type": "default",
        "center_input_sample": False,
        "class_embed_type": None,
        "class_embeddings_concat": False,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "cross_attention_norm": None,
        "downsample_padding": 1,
        "dropout": 0.0,
        "dual_cross_attention": False,
        "encoder_hid_dim": None,
        "encoder_hid_dim_type": None,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "mid_block_only_cross_attention": None,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "norm_eps": 1e-5,
        "num_attention_heads": None,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": False,
        "resnet_time_scale_shift": "default",
        "reverse_transformer_layers_per_block": None,
        "time_cond_proj_dim": None,
        "time_embedding_act_fn": None,
        "time_embedding_dim": None,
        "time_embedding_type": "positional",
        "timestep_post_act": None,
        "transformer_layers_per_block": 1,
    },
    # sample_size is read with the folder; the others belong to what is fixed off, or say how to compute, not what.
    ignored={
        "_name_or_path",
        "addition_embed_type_num_heads",
        "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
        "sample_size",
        "upcast_attention",
    },
)

VAE = ConfigTable(
    header={"_diffusers_version": WRITTEN_FOR},
    fields={
        "in_channels": Field("in_channels", 3),
        "out_channels": Field("out_channels", 3),
        "block_out_channels": Field("block_out_channels", VAE_CHANNELS, write=_as_list),
        "down_block_types": Field("block_out_channels", ("DownEncoderBlock2D",), *_all_of("DownEncoderBlock2D")),
        "up_block_types": Field("block_out_channels", ("UpDecoderBlock2D",), *_all_of("UpDecoderBlock2D")),
        "layers_per_block": Field("layers_per_block", 1),
        "latent_channels": Field("latent_channels", 4),
        "norm_num_groups": Field("norm_num_groups", 32),
        "scaling_factor": Field("scaling_factor", 0.18215),
    },
    fixed={
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "latents_mean": None,
        "latents_std": None,
        "mid_block_add_attention": True,
        "shift_factor": None,
        "use_post_quant_conv": True,
        "use_quant_conv": True,
    },
    ignored={"_name_or_path", "force_upcast", "sample_size"},
)

TEXT_ENCODER = ConfigTable(
    # The ids of special tokens are the tokenizer's business; these let transformers find the end by the largest id.
    header={
        "architectures": ["CLIPTextModel"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
    fields={
        "vocab_size": Field("vocab_size", 49_408),
        "hidden_size": Field("hidden_size", 512),
        "intermediate_size": Field("intermediate_size", 2048),
        "num_hidden_layers": Field("num_hidden_layers", 12),
        "num_attention_heads": Field("num_attention_heads", 8),
        "max_position_embeddings": Field("max_position_embeddings", 77),
        "hidden_act": Field("hidden_act", "quick_gelu"),
        "layer_norm_eps": Field("layer_norm_eps", 1e-5),
    },
    fixed={"attention_dropout": 0.0, "dropout": 0.0, "model_type": "clip_text_model"},
    ignored={
        "_name_or_path",
        "dtype",
        "initializer_factor",
        "initializer_range",
        "projection_dim",
        "torch_dtype",
        "transformers_version",
    },
)

SCHEDULER = ConfigTable(
    header={"_class_name": "DDIMScheduler", "_diffusers_version": WRITTEN_FOR},
    fields={
        "prediction_type": Field("prediction", "epsilon"),
        "num_train_timesteps": Field("train_timesteps", 1000),
        "beta_start": Field("beta_start", 0.0001),
        "beta_end": Field("beta_end", 0.02),
    },
    fixed={
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": False,
        "trained_betas": None,
    },
    # How to sample is the recipe's business, not the model's.
    ignored={
        "algorithm_type",
        "clip_sample",
        "clip_sample_range",
        "disable_corrector",
        "dynamic_thresholding_ratio",
        "euler_at_final",
        "final_sigmas_type",
        "flow_shift",
        "interpolation_type",
        "lambda_min_clipped",
        "lower_order_final",
        "predict_x0",
        "sample_max_value",
        "set_alpha_to_one",
        "shift_terminal",
        "sigma_max",
        "sigma_min",
        "skip_prk_steps",
        "solver_order",
        "solver_p",
        "solver_type",
        "steps_offset",
        "thresholding",
        "time_shift_type",
        "timestep_spacing",
        "timestep_type",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "use_exponential_sigmas",
        "use_flow_sigmas",
        "use_karras_sigmas",
        "use_lu_lambdas",
        "variance_type",
    },
)

SAMPLING = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"}
"""How diffusers samples unless told otherwise: as Stable Diffusion 1.x was released."""

CLIP_VOCABULARY = 49_408

OLD_ATTENTION = (
    (r"(\.attentions\.0\.)query\.", r"\1to_q."),
    (r"(\.attentions\.0\.)key\.", r"\1to_k."),
    (r"(\.attentions\.0\.)value\.", r"\1to_v."),
    (r"(\.attentions\.0\.)proj_attn\.", r"\1to_out.0."),
)
"""The autoencoder's attention as diffusers called it before 0.17; the SD 1.x files on the Hub still do."""

COMPONENTS = {
    "text_encoder": ComponentLayout(
        weights="model.safetensors",
        old_weights="pytorch_model.bin",
        table=TEXT_ENCODER,
        prefix="text_model.",  # transformers 5 leaves it out, and reads both
        dropped=r"(text_model\.)?embeddings\.position_ids",  # 0, 1, 2, ...: a buffer, not a weight
    ),
    "unet": ComponentLayout(
        weights="diffusion_pytorch_model.safetensors", old_weights="diffusion_pytorch_model.bin", table=UNET
    ),
    "vae": ComponentLayout(
        weights="diffusion_pytorch_model.safetensors",
        old_weights="diffusion_pytorch_model.bin",
        table=VAE,
        renames=OLD_ATTENTION,
    ),
}

SHARD = r"-\d{5}-of-\d{5}"

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipelineLegacy",
)
ABOUT, RECEIPT, INDEX = "impasto.json", "receipt.json", "model_index.json"


def is_folder(path: Path) -> bool:
    """Return whether there is a diffusers folder at `path`."""
    return (path / INDEX).is_file()


def read(path: Path, variant: str | None = None) -> Checkpoint:
    """Open the diffusers folder at `path`; no weights are read yet.

    Args:
        path: of the folder.
        variant: of the weights, such as fp16 for `model.fp16.safetensors`; components that do not have it give their
            plain ones. By itself the plain ones, or the only ones there are.

    Raises:
        NotFound: a file that should be there is not, or no component has the variant.
        InvalidInput: a file that should be JSON is not.
        UnsupportedConfig: a configuration asks for what is not built here.
        UnreadableWeights: a weights file is not well formed.
    """
    about, spec, tokenizer = read_settings(path)
    receipt = Receipt.parse(read_json(path / RECEIPT), str(path / RECEIPT)) if (path / RECEIPT).is_file() else None
    if variant and not any(variant in _weights(path / name, layout) for name, layout in COMPONENTS.items()):
        there = {found or "plain" for name, layout in COMPONENTS.items() for found in _weights(path / name, layout)}
        raise NotFound.among("variant", variant, there)
    components = {name: _open(path / name, layout, variant) for name, layout in COMPONENTS.items()}
    notices = {name: (path / name).read_text("utf-8", "replace") for name in NOTICES if (path / name).is_file()}
    return Checkpoint(about, spec, tokenizer, components, receipt, notices=notices)


def read_settings(path: Path) -> tuple[About, ModelSpec, CLIPTokenizer]:
    """Return all but the weights of the diffusers folder at `path`, which need not be there; see `read`."""
    index = read_json(path / INDEX)
    if (kind := index.get("_class_name")) not in PIPELINES:
        raise UnsupportedConfig(str(path / INDEX), [f"_class_name: {kind!r}; supported are {', '.join(PIPELINES)}"])
    about = About.parse(read_json(path / ABOUT), str(path / ABOUT)) if (path / ABOUT).is_file() else None
    tokenizer = CLIPTokenizer.read_folder(path / "tokenizer")
    spec = _read_spec(path, about.name if about else path.resolve().name, tokenizer)
    return about or About(name=spec.name), spec, tokenizer


def _read_spec(path: Path, name: str, tokenizer: CLIPTokenizer) -> ModelSpec:
    configs = {part: read_json(path / part / "config.json") for part in COMPONENTS}
    values = {part: layout.table.read(configs[part], str(path / part)) for part, layout in COMPONENTS.items()}
    scheduler = path / "scheduler" / "scheduler_config.json"
    unet = UNetConfig.parse(values["unet"], str(path / "unet"))
    vae = VAEConfig.parse(values["vae"], str(path / "vae"))
    text = CLIPTextConfig.parse(values["text_encoder"], str(path / "text_encoder"))
    plain = {
        "name": name,
        "unet": unet,
        "vae": vae,
        "text": text,
        "tokenizer": "clip" if len(tokenizer) == CLIP_VOCABULARY else "merges.txt",
        "resolution": (configs["unet"].get("sample_size") or 64) * vae.factor,
        **SCHEDULER.read(read_json(scheduler), str(scheduler)),
    }
    return ModelSpec.parse(plain, str(path))


def _open(folder: Path, layout: ComponentLayout, variant: str | None = None) -> Component:
    found = _weights(folder, layout)
    if not found:
        raise NotFound(f"No weights in {folder}: {layout.weights} should be there.")
    chosen = variant if variant in found else None
    if chosen not in found and len(found) > 1:
        raise NotFound(f"No plain weights in {folder}. Choose a variant: {', '.join(sorted(map(str, found)))}.")
    path = found.get(chosen) or next(iter(found.values()))
    file = _joined(path) if path.suffix == ".json" else open_tensors(path)
    return Component(file, layout.names(file), layout.called)


def _weights(folder: Path, layout: ComponentLayout) -> dict[str | None, Path]:
    """Return the weights in a component's `folder`, whole or their index, by variant; None is the plain one."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    found = {**variants(names, layout.old_weights), **variants(names, layout.weights)}
    return {variant: folder / name for variant, name in found.items()}


def variants(names: Iterable[str], weights: str) -> dict[str | None, str]:
    """Return which of the `names` of files are `weights`, whole or their index, by variant; None is the plain one."""
    stem, suffix = weights.rsplit(".", 1)
    found: dict[str | None, str] = {}
    for name in names:
        whole = re.fullmatch(rf"{stem}(?:\.([\w-]+))?\.{suffix}(?:\.index(?:\.([\w-]+))?\.json)?", name)
        if whole and not re.search(SHARD, name):
            found.setdefault(whole[1] or whole[2], name)
    return found


def shards(names: Iterable[str], index: str) -> list[str]:
    """Return which of the `names` of files are the shards that the file called `index` is of; none where it is none."""
    parts = re.fullmatch(r"(.+)\.(\w+)\.index(?:\.([\w-]+))?\.json", index)
    if not parts:
        return []
    whole = f"{parts[1]}{f'.{parts[3]}' if parts[3] else ''}.{parts[2]}"
    return [name for name in names if re.search(SHARD, name) and re.sub(SHARD, "", name) == whole]


def _joined(index: Path) -> files.TensorFile:
    """Open the shards that `index` lists, which are files beside it."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InvalidInput(f"{index} should hold a weight_map, from names of tensors to names of files.")
    shards = sorted(set(names.values()))
    if outside := [shard for shard in shards if Path(shard).name != shard or "\\" in shard]:
        raise InvalidInput(f"{index} names {outside[0]!r}, which is not a file beside it.")
    file = files.TensorFile.joined([open_tensors(index.parent / shard) for shard in shards])
    if file.entries.keys() != names.keys():
        raise KeyMismatch(str(index), file.entries.keys() - names.keys(), names.keys() - file.entries.keys())
    return file


def read_vae(folder: Path, variant: str | None = None) -> tuple[VAEConfig, Component]:
    """Open the autoencoder in the `vae` folder of a model.

    Raises:
        NotFound: a file that should be there is not.
        InvalidInput: its configuration is not JSON, or not of the right content.
        WeightsError: its configuration asks for what is not built here, or its weights are not well formed.
    """
    config = VAEConfig.parse(VAE.read(read_json(folder / "config.json"), str(folder)), str(folder))
    return config, _open(folder, COMPONENTS["vae"], variant)


def read_vae_file(file: files.TensorFile) -> tuple[VAEConfig, Component]:
    """Open an autoencoder of which only the weights are there; its shape is read from theirs.

    Raises:
        UnsupportedConfig: they are not an autoencoder's.
    """
    shapes, block = Shapes(file.path, file.entries), "encoder.down_blocks.{}.resnets.0.conv1.weight"
    config = {
        "in_channels": shapes("encoder.conv_in.weight", 4)[1],
        "out_channels": shapes("decoder.conv_out.weight", 4)[0],
        "block_out_channels": [shapes(block.format(n), 4)[0] for n in range(shapes.count(block))],
        "layers_per_block": shapes.count("encoder.down_blocks.0.resnets.{}.conv1.weight"),
        "latent_channels": shapes("decoder.conv_in.weight", 4)[1],
    }
    layout = COMPONENTS["vae"]
    return VAEConfig.parse(config, str(file.path)), Component(file, layout.names(file), layout.called)


def write(
    path: Path,
    about: About,
    spec: ModelSpec,
    tokenizer: CLIPTokenizer,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
) -> None:
    """Write a diffusers folder at `path`, which must not be there; `tensors` are a component's, by our names."""
    _write_json(path / INDEX, _index(spec))
    _write_json(path / ABOUT, about.plain())
    _write_json(path / "scheduler" / "scheduler_config.json", {**SCHEDULER.write(spec.plain()), **SAMPLING})
    tokenizer.write_folder(path / "tokenizer", spec.text.max_position_embeddings)
    configs = {"text_encoder": spec.text.plain(), "unet": spec.unet.plain(), "vae": spec.vae.plain()}
    sizes = {"unet": spec.resolution // spec.vae.factor, "vae": spec.resolution}
    for name, layout in COMPONENTS.items():
        size = {"sample_size": sizes[name]} if name in sizes else {}
        _write_json(path / name / "config.json", {**layout.table.write(configs[name]), **size})
        named = {layout.prefix + ours: tensor for ours, tensor in tensors[name].items()}
        files.save(path / name / layout.weights, named, {"format": "pt"})


def _write_json(path: Path, content: Config) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _index(spec: ModelSpec) -> dict[str, Any]:
    inpainting = spec.unet.in_channels > spec.unet.out_channels
    return {
        "_class_name": "StableDiffusionInpaintPipeline" if inpainting else "StableDiffusionPipeline",
        "_diffusers_version": WRITTEN_FOR,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", SCHEDULER.header["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", UNET.fixed["_class_name"]],
        "vae": ["diffusers", VAE.fixed["_class_name"]],
    }

"""The single file that Stable Diffusion was released as: all networks' tensors, and no configuration.

Sources: CompVis/stable-diffusion (1.x: `UNetModel`, `AutoencoderKL`, `FrozenCLIPEmbedder`, `LitEma`) and
Stability-AI/stablediffusion (2.x: `FrozenOpenCLIPEmbedder`, which leaves out the last layer). What shapes do not tell
(heads, groups of norms, what is predicted) is the family's habit, unless the file was written here: then it says so in
its metadata, next to the keys of ModelSpec 1.0.1 that other programs read.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from impasto.errors import InvalidInput, UnsupportedConfig
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import EOS, PACKAGED_MERGES, CLIPTokenizer
from impasto.models.vae import VAEConfig
from impasto.receipt import Receipt
from impasto.weights.checkpoint import NOTICES, About, Checkpoint, Component
from impasto.weights.files import Entry, TensorFile
from impasto.weights.layouts.ldm_names import FAMILIES, Family, unet_table, vae_table
from impasto.weights.layouts.names import NameTable
from impasto.weights.layouts.shapes import Shapes

Prediction = Literal["epsilon", "v_prediction"]

UNET, VAE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
MAX_NAME = 200  # characters of a model's name
TEXT_HEAD = 64  # channels of a head in every CLIP text encoder of these files
V_SPREAD = 0.09  # below it, the first norm of the last transformer was trained to predict noise, above it velocity

SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
    "denoiser.sigmas",
    "denoiser.log_sigmas",
)

DROPPED = (
    *map(re.escape, SCHEDULE),  # follow from the configuration
    r"model_ema\.(decay|num_updates)",  # how the average was kept
    r"cond_stage_model\.transformer\.(text_model\.)?embeddings\.position_ids",  # 0, 1, 2, ...
    r"cond_stage_model\.(model\.)?(logit_scale|text_projection|attn_mask)",  # compare with pictures, or follow
    r"cond_stage_model\.(transformer\.)?text_projection\.weight",
    r"(first_stage_model\.)?loss\..*",  # what the autoencoder was trained against
    r"first_stage_model\.model_ema\..*",
    r"v_pred",  # says what is predicted; `prediction` reads it
)
"""Patterns of tensors that are left out on purpose, and why."""

ALIASES = ((r"cond_stage_model\.transformer\.(?=(embeddings|encoder|final_layer_norm)\.)", FAMILIES["sd-1"].text),)
"""(pattern of an older way to begin a name, the way it is read as)."""

VAE_DROPPED = r"loss\..*|model_ema\..*"

SPEC, ABOUT, RECEIPT = "impasto.spec", "impasto.about", "impasto.receipt"
TOKENIZER, TEXTS = "impasto.tokenizer", "impasto.notices"
"""Keys of our own in a file's metadata, each with a JSON object."""

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v": "v_prediction"}
"""How ModelSpec names what is predicted."""

BY_ARCHITECTURE: dict[str, Prediction] = {
    "stable-diffusion-v1": "epsilon",
    "stable-diffusion-v2-512": "epsilon",
    "stable-diffusion-v2-768-v": "v_prediction",
}

OTHER_TOKENS = 514
"""Tokens of a vocabulary that are no merges: 256 bytes, the same at the end of a word, and the two special ones."""

WHOLE_VOCABULARY = PACKAGED_MERGES + OTHER_TOKENS


def ema_name(name: str) -> str:
    """Return what the moving average of the UNet's tensor `name` is called: the same without dots."""
    return EMA + name.removeprefix("model.").replace(".", "")


def find_family(names: Mapping[str, Any]) -> str | None:
    """Return the name of the family that a file with tensors of these `names` belongs to."""
    if UNET + "input_blocks.0.0.weight" not in names:
        return None
    return next((name for name, family in FAMILIES.items() if family.text + family.tokens in names), None)


def modern(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return `entries` with old names as they are written today."""
    result: dict[str, Entry] = {}
    for name, entry in entries.items():
        now = functools.reduce(lambda said, row: re.sub("^" + row[0], row[1], said), ALIASES, name)
        result[name if now in entries else now] = entry
    return result


def read(file: TensorFile, name: str, *, ema: bool = False, prediction: Prediction | None = None) -> Checkpoint:
    """Open a single-file model; no weights are read, but for one that shows what is predicted.

    Args:
        file: its tensors.
        name: what to call the model when it does not say.
        ema: take the moving average of the UNet's weights instead of the weights themselves.
        prediction: what the UNet predicts; by itself as the file says or shows.

    Raises:
        InvalidInput: `ema` without an average in the file, or metadata of ours that are damaged.
        UnsupportedConfig: not a model of a family that is read here.
    """
    file = file.viewed(modern(file.entries))
    family = _family(file)
    said, receipt = _metadata(file, ABOUT), _metadata(file, RECEIPT)
    about = About.parse(said, f"{file.path}: {ABOUT}") if said else About(name=name[:MAX_NAME])
    spec = _spec(file, about.name, family, prediction)
    kept, extras = _sorted(file, spec, family, ema=ema)
    return Checkpoint(
        about,
        spec,
        _tokenizer(file, spec, family),
        _components(file.viewed(kept), spec, family),
        Receipt.parse(receipt, f"{file.path}: {RECEIPT}") if receipt and not ema else None,
        file.viewed(extras),
        {key: str(value) for key, value in (_metadata(file, TEXTS) or {}).items() if key in NOTICES},
    )


def _family(file: TensorFile) -> Family:
    name = find_family(file)
    if name is None:
        texts = " or ".join(f"{family.text}{family.tokens}" for family in FAMILIES.values())
        raise UnsupportedConfig(str(file.path), [f"a model in one file has {UNET}input_blocks.0.0.weight and {texts}"])
    return FAMILIES[name]


def _sorted(
    file: TensorFile, spec: ModelSpec, family: Family, *, ema: bool
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Return the tensors that are the model, and those that are left out on purpose."""
    dropped = re.compile("|".join([*DROPPED, *_unread_layers(spec, family)]))
    averages = {ema_name(name): name for name in file if name.startswith(UNET)}
    extras = {name: entry for name, entry in file.entries.items() if name in averages or dropped.fullmatch(name)}
    kept = {name: entry for name, entry in file.entries.items() if name not in extras}
    if not ema:
        return kept, extras
    if without := [name for average, name in averages.items() if average not in extras]:
        said = f"{len(without)} of {len(averages)} tensors have none, such as {without[0]}"
        raise InvalidInput(f"{file.path} has no EMA weights for its UNet ({said}). Load it without EMA.")
    kept |= {name: extras[average] for average, name in averages.items()}
    return kept, {name: entry for name, entry in extras.items() if not name.startswith(EMA)}


def _unread_layers(spec: ModelSpec, family: Family) -> list[str]:
    first = spec.text.num_hidden_layers
    prefixes = (family.text + family.layer.format(first + k).rsplit(".", 3)[0] for k in range(family.left_out))
    return [re.escape(prefix) + r"\..*" for prefix in prefixes]


def _tables(spec: ModelSpec, family: Family) -> dict[str, tuple[str, NameTable]]:
    return {
        "text_encoder": (family.text, family.text_table(spec.text)),
        "unet": (UNET, unet_table(spec.unet)),
        "vae": (VAE, vae_table(spec.vae)),
    }


def _components(file: TensorFile, spec: ModelSpec, family: Family) -> dict[str, Component]:
    tables = _tables(spec, family)
    names: dict[str, dict[str, str]] = {part: {} for part in tables}
    entries: dict[str, Entry] = {}
    for name, entry in file.entries.items():
        part = next((part for part, (prefix, _) in tables.items() if name.startswith(prefix)), "unet")
        known, placed = tables[part][1].place(name, tables[part][0], entry)
        names[part] |= known
        entries |= placed
    view = file.viewed(entries)
    return {
        part: Component(view, names[part], functools.partial(table.called, prefix=prefix))
        for part, (prefix, table) in tables.items()
    }


def read_vae(file: TensorFile) -> tuple[VAEConfig, Component]:
    """Open an autoencoder in a file of its own, or inside a whole model's.

    Raises:
        UnsupportedConfig: no autoencoder in this layout.
    """
    whole = any(name.startswith(VAE) for name in file)
    entries = {
        name.removeprefix(VAE): entry
        for name, entry in file.entries.items()
        if (name.startswith(VAE) or not whole) and not re.fullmatch(VAE_DROPPED, name.removeprefix(VAE))
    }
    config = VAEConfig.parse(_vae(Shapes(file.path, entries)), f"{file.path}: the autoencoder")
    table = vae_table(config)
    names: dict[str, str] = {}
    placed: dict[str, Entry] = {}
    for name, entry in entries.items():
        known, where = table.place(name, "", entry)
        names |= known
        placed |= where
    return config, Component(file.viewed(placed), names, table.called)


def _unet(shapes: Shapes) -> dict[str, Any]:
    downs = [0]  # numbers of what halves the size, after the first convolution
    count = 1
    while any(f"input_blocks.{count}.0.{part}.weight" in shapes for part in ("op", "in_layers.0")):
        downs += [count] if f"input_blocks.{count}.0.op.weight" in shapes else []
        count += 1
    firsts = [number + 1 for number in downs]
    return {
        "in_channels": shapes("input_blocks.0.0.weight", 4)[1],
        "out_channels": shapes("out.2.weight", 4)[0],
        "block_out_channels": tuple(shapes(f"input_blocks.{n}.0.out_layers.3.weight", 4)[0] for n in firsts),
        "layers_per_block": (downs[1] if len(downs) > 1 else count) - 1,
        "attention": tuple(f"input_blocks.{n}.1.norm.weight" in shapes for n in firsts),
        "cross_attention_dim": shapes("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 2)[1],
        "use_linear_projection": len(shapes("middle_block.1.proj_in.weight")) == 2,
    }


def _vae(shapes: Shapes) -> dict[str, Any]:
    level = "encoder.down.{}.block.0.conv1.weight"
    return {
        "in_channels": shapes("encoder.conv_in.weight", 4)[1],
        "out_channels": shapes("decoder.conv_out.weight", 4)[0],
        "block_out_channels": tuple(shapes(level.format(n), 4)[0] for n in range(shapes.count(level))),
        "layers_per_block": shapes.count("encoder.down.0.block.{}.conv1.weight"),
        "latent_channels": shapes("decoder.conv_in.weight", 4)[1],
    }


def _text(shapes: Shapes, family: Family) -> dict[str, Any]:
    vocabulary, width = shapes(family.tokens, 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes(family.layer.format(0), 2)[0],
        "num_hidden_layers": shapes.count(family.layer) - family.left_out,
        "max_position_embeddings": shapes(family.positions, 2)[0],
    }


def _spec(file: TensorFile, name: str, family: Family, prediction: Prediction | None) -> ModelSpec:
    shapes = {
        "unet": _unet(Shapes(file.path, file.entries, UNET)),
        "vae": _vae(Shapes(file.path, file.entries, VAE)),
        "text": _text(Shapes(file.path, file.entries, family.text), family),
    }
    if said := _metadata(file, SPEC):
        spec = ModelSpec.parse(said, f"{file.path}: {SPEC}")
        _compare(file.path, spec, shapes)
        return spec.model_copy(update={"name": name, "prediction": prediction or spec.prediction})
    habits: dict[str, dict[str, Any]] = {
        "unet": {"heads": [family.heads(channels) for channels in shapes["unet"]["block_out_channels"]]},
        "vae": {},
        "text": {
            "num_attention_heads": shapes["text"]["hidden_size"] // TEXT_HEAD,
            "hidden_act": family.activation,
        },
    }
    prediction = prediction or _prediction(file, family)
    plain = {
        "name": name,
        **{part: {**fields, **habits[part]} for part, fields in shapes.items()},
        "tokenizer": "clip" if shapes["text"]["vocab_size"] == WHOLE_VOCABULARY else "merges.txt",
        "prediction": prediction,
        "resolution": 768 if family.left_out and prediction == "v_prediction" else 512,
    }
    return ModelSpec.parse(plain, str(file.path))


def _compare(path: Path, spec: ModelSpec, shapes: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a file that says it is of other networks than it holds, before such networks are built."""
    problems = [
        f"{part}.{field}: {said!r:.80} in its metadata, {value!r:.80} by its tensors' shapes"
        for part, fields in shapes.items()
        for field, value in fields.items()
        if (said := getattr(getattr(spec, part), field)) != value
    ]
    if problems:
        raise UnsupportedConfig(str(path), problems)


def _prediction(file: TensorFile, family: Family) -> Prediction:
    """Return what the UNet predicts: as the file says, and where it does not, as its weights show.

    Files of Stable Diffusion 2 do not say it. The model trained on towards velocity has moved the bias of its last
    transformer's first norm much further than the one that predicts noise.
    """
    said = PREDICTIONS.get(file.metadata.get("modelspec.prediction_type", ""))
    if said := said or BY_ARCHITECTURE.get(file.metadata.get("modelspec.architecture", "")):
        return said
    if "v_pred" in file:
        return "v_prediction"
    last = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    if not family.left_out or last not in file or file.entries[f"{UNET}input_blocks.0.0.weight"].shape[1] != 4:
        return "epsilon"
    return "v_prediction" if file.read(last).float().std(correction=0) > V_SPREAD else "epsilon"


def _metadata(file: TensorFile, key: str) -> dict[str, Any] | None:
    if key not in file.metadata:
        return None
    try:
        content = json.loads(file.metadata[key])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.path}: its metadata {key} are not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{file.path}: its metadata {key} should be a JSON object, not {content!r:.80}.")
    return content


def _tokenizer(file: TensorFile, spec: ModelSpec, family: Family) -> CLIPTokenizer:
    said = _metadata(file, TOKENIZER)
    if said is not None:
        return _tokenizer_of(said, file.path)
    merges = spec.text.vocab_size - OTHER_TOKENS
    if not 0 <= merges <= PACKAGED_MERGES:
        problem = f"a vocabulary of {spec.text.vocab_size} tokens; CLIP's has {WHOLE_VOCABULARY}, or is its beginning"
        raise UnsupportedConfig(str(file.path), [problem])
    packaged = _packaged(merges)
    return packaged if family.pad_token == EOS else CLIPTokenizer(packaged.merges, pad_token=family.pad_token)


def _tokenizer_of(said: Mapping[str, Any], path: Path) -> CLIPTokenizer:
    merges, pad_token = said.get("merges"), said.get("pad_token")
    if not isinstance(merges, list) or not isinstance(pad_token, str) or said.keys() != {"merges", "pad_token"}:
        raise InvalidInput(f"{path}: its metadata {TOKENIZER} should hold merges and a pad_token.")
    pairs = [tuple(merge.split(" ")) for merge in merges if isinstance(merge, str)]
    if len(pairs) != len(merges) or any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InvalidInput(f"{path}: its metadata {TOKENIZER} have a merge that is not two symbols.")
    return CLIPTokenizer([(pair[0], pair[1]) for pair in pairs], pad_token=pad_token)


def tensors(spec: ModelSpec, parts: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors of a file for those of each component, which are by our names.

    Layers that nobody reads are filled with the last one that is read, since other programs expect to find them.
    """
    family = family_of(spec)
    result: dict[str, torch.Tensor] = {}
    for part, (prefix, table) in _tables(spec, family).items():
        result |= {prefix + name: tensor for name, tensor in table.write(parts[part]).items()}
    for index in range(spec.text.num_hidden_layers, spec.text.num_hidden_layers + family.left_out):
        here, last = (family.text + family.layer.format(k).rsplit(".", 3)[0] + "." for k in (index, index - 1))
        result |= {here + name.removeprefix(last): result[name] for name in list(result) if name.startswith(last)}
    return result


def family_of(spec: ModelSpec) -> Family:
    """Return the family in whose files a model of `spec` is written: by the activation of its text encoder."""
    return next(family for family in FAMILIES.values() if family.activation == spec.text.hidden_act)


def metadata(
    about: About,
    spec: ModelSpec,
    tokenizer: CLIPTokenizer,
    receipt: Receipt | None = None,
    notices: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the strings to write into a file's header: ModelSpec 1.0.1's, and our own that shapes do not tell.

    Raises:
        InvalidInput: a tokenizer whose vocabulary does not follow from its merges.
    """
    result = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture(spec),
        "modelspec.implementation": "https://github.com/CompVis/stable-diffusion",
        "modelspec.title": about.name,
        "modelspec.resolution": f"{spec.resolution}x{spec.resolution}",
        "modelspec.prediction_type": next(said for said, kind in PREDICTIONS.items() if kind == spec.prediction),
        SPEC: json.dumps({**spec.plain(), "name": about.name}, sort_keys=True),
        ABOUT: json.dumps(about.plain(), sort_keys=True),
    }
    if receipt:
        result[RECEIPT] = receipt.canonical().decode("utf-8")
    if receipt and receipt.licence:
        result["modelspec.license"] = receipt.licence
    if notices:
        result[TEXTS] = json.dumps(dict(notices), sort_keys=True, ensure_ascii=False)
    if not _is_packaged(tokenizer, family_of(spec)):
        result[TOKENIZER] = json.dumps(_tokenizer_plain(tokenizer), ensure_ascii=False)
    return result


def architecture(spec: ModelSpec) -> str:
    """Return what a model of `spec` is in the words of ModelSpec."""
    base = family_of(spec).architecture
    if spec.unet.in_channels == 9:
        return f"{base}-inpainting"
    if base == FAMILIES["sd-1"].architecture:
        return base
    return f"{base}-768-v" if spec.prediction == "v_prediction" else f"{base}-512"


def _is_packaged(tokenizer: CLIPTokenizer, family: Family) -> bool:
    merges = tokenizer.merges
    if len(merges) > PACKAGED_MERGES or _tokenizer_plain(tokenizer)["pad_token"] != family.pad_token:
        return False
    return merges == _packaged(len(merges)).merges


@functools.lru_cache(maxsize=2)
def _packaged(merges: int) -> CLIPTokenizer:
    return CLIPTokenizer.packaged(merges)  # half a second, of which a file needs it twice


def _tokenizer_plain(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    vocabulary = tokenizer.vocabulary
    if vocabulary != CLIPTokenizer(tokenizer.merges).vocabulary:
        raise InvalidInput("The tokenizer's vocabulary does not follow from its merges. Write a diffusers folder.")
    pad_token = next(token for token, id_ in vocabulary.items() if id_ == tokenizer.pad_id)
    return {"merges": [" ".join(merge) for merge in tokenizer.merges], "pad_token": pad_token}

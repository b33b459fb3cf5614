"""Adapters against those of diffusers and peft: files both ways, and the same change of what the networks put out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import peft
import pytest
import torch
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import save_file

from impasto.adapters.attach import Use, attached
from impasto.adapters.embeddings import LAYOUTS as EMBEDDING_LAYOUTS
from impasto.adapters.embeddings import Embedding, read_embedding, write_embedding
from impasto.adapters.layouts import LAYOUTS
from impasto.adapters.lora import Adapter, read_adapter, write_adapter
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.adapters import random
from tests.weights import tiny

# peft's own habits, of which some are deprecated by transformers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]

Outputs = tuple[torch.Tensor, torch.Tensor]
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, tiny.networks(), About(name="tiny"))
    return path


@pytest.fixture
def pipe(folder: Path) -> diffusers.StableDiffusionPipeline:
    return diffusers.StableDiffusionPipeline.from_pretrained(folder)


def theirs(pipe: diffusers.StableDiffusionPipeline) -> Outputs:
    """What `random.outputs` returns, from diffusers' and transformers' networks."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, pipe.text_encoder.config.vocab_size, (1, 24), generator=generator)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    with torch.no_grad():
        context = pipe.text_encoder(ids)[0]
        return context, pipe.unet(x, torch.tensor([700.0]), context).sample


def ours(*uses: Use) -> Outputs:
    with attached(tiny.networks(), uses):
        return random.outputs(tiny.networks())


def assert_same_change(found: Outputs, wanted: Outputs, tolerance: float = 1e-5) -> None:
    """The outputs agree to a fraction of the change that the adapter makes, which must be there."""
    for mine, other, base in zip(found, wanted, random.outputs(tiny.networks()), strict=True):
        change = (other - base).norm()
        assert change > 0.05 * base.norm()
        assert (mine - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_diffusers_reads_what_is_written_here(
    layout: str, pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    # With blocks of Stable Diffusion's own names, diffusers takes the upsampler of a level without attention for one.
    modules = random.EVERYTHING[:3] if LAYOUTS[layout].ldm else random.EVERYTHING
    adapter = random.adapter(modules=modules)
    path = tmp_path / ("adapter" if LAYOUTS[layout].folder else "adapter.safetensors")
    write_adapter(adapter, path, layout, unet=tiny.networks().spec.unet)
    if LAYOUTS[layout].folder:
        pipe.unet = peft.PeftModel.from_pretrained(pipe.unet, path / "unet")
        pipe.text_encoder = peft.PeftModel.from_pretrained(pipe.text_encoder, path / "text_encoder")
    elif LAYOUTS[layout].ldm:  # that the pipeline of 1.x reads only when it is shown the UNet's shape
        state, alphas = pipe.lora_state_dict(path, unet_config=pipe.unet.config)
        pipe.load_lora_into_unet(state, alphas, pipe.unet)
        pipe.load_lora_into_text_encoder(state, alphas, pipe.text_encoder)
    else:
        pipe.load_lora_weights(path)

    assert_same_change(ours(Use(adapter)), theirs(pipe))
    assert read_adapter(path, unet=tiny.networks().spec.unet).digest == adapter.digest


def fill(module: torch.nn.Module, seed: int = 3) -> None:
    """Give the up factors of a peer's fresh adapters random numbers, and DoRA's lengths others than they had."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if "lora_B" in name:
                tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            if "magnitude" in name:
                tensor *= 1 + 0.2 * torch.rand(tensor.shape, generator=generator)


UNET_CONFIGS: dict[str, dict[str, Any]] = {
    "attention": {"r": 4, "lora_alpha": 4, "target_modules": ATTENTION},
    "every layer": {
        "r": 4,
        "lora_alpha": 2,
        "target_modules": r".*(to_[qkv]|to_out\.0|ff\.net\.(0\.proj|2)|proj_(in|out)|conv\d?|conv_s\w+|time_emb_proj)",
    },
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ATTENTION,
        "rank_pattern": {"to_q": 2, "attn2.to_k": 6},
        "alpha_pattern": {"to_v": 3, "attn1.to_out.0": 1},
    },
    "rslora": {"r": 4, "lora_alpha": 4, "target_modules": ATTENTION, "use_rslora": True},
    "dora": {"r": 4, "lora_alpha": 4, "target_modules": [*ATTENTION, "conv1", "conv_shortcut"], "use_dora": True},
}


def save_by_peft(
    pipe: diffusers.StableDiffusionPipeline, path: Path, unet: dict[str, Any], text: dict[str, Any]
) -> None:
    for part, config in (("unet", unet), ("text_encoder", text)):
        model = peft.get_peft_model(getattr(pipe, part), peft.LoraConfig(**config))
        fill(model)
        model.save_pretrained(path / part)


def by_pipeline(
    rename: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], *, safe: bool = True
) -> Callable[..., None]:
    """A way to save: diffusers' pipeline, with tensors named as its training scripts of some year do."""

    def save(pipe: diffusers.StableDiffusionPipeline, path: Path, unet: dict[str, Any], text: dict[str, Any]) -> None:
        for part, config in (("unet", unet), ("text_encoder", text)):
            getattr(pipe, part).add_adapter(peft.LoraConfig(**config))
            fill(getattr(pipe, part))
        layers = {
            part: rename(peft.get_peft_model_state_dict(getattr(pipe, part))) for part in ("unet", "text_encoder")
        }
        metadata = {part: getattr(pipe, part).peft_config["default"].to_dict() for part in layers}
        diffusers.StableDiffusionPipeline.save_lora_weights(
            path,
            unet_lora_layers=layers["unet"],
            text_encoder_lora_layers=layers["text_encoder"],
            unet_lora_adapter_metadata=metadata["unet"] if safe else None,  # a pickle has no place for it
            text_encoder_lora_adapter_metadata=metadata["text_encoder"] if safe else None,
            safe_serialization=safe,
        )

    return save


SAVED_BY = {
    "peft": save_by_peft,
    "diffusers as it is": by_pipeline(dict),
    "diffusers' scripts": by_pipeline(convert_state_dict_to_diffusers),
    "diffusers' scripts, pickled": by_pipeline(convert_state_dict_to_diffusers, safe=False),
}


@pytest.mark.parametrize(
    ("saved_by", "config"),
    [
        *((saved_by, "attention" if "pickled" in saved_by else "every layer") for saved_by in SAVED_BY),
        *(("peft", name) for name in UNET_CONFIGS if " " not in name),
    ],
)
def test_what_peers_write_is_read_here(
    saved_by: str, config: str, pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    text = {**UNET_CONFIGS[config], "target_modules": TEXT}
    SAVED_BY[saved_by](pipe, tmp_path, UNET_CONFIGS[config], text)

    assert_same_change(ours(Use(read_adapter(tmp_path))), theirs(pipe))


@pytest.mark.parametrize("rank", [2, 6])  # above, it is as large as the layers themselves
def test_loha_of_peft_is_read_here_as_the_lora_that_it_is(
    rank: int, pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    config = peft.LoHaConfig(r=rank, alpha=3, target_modules=[*ATTENTION, "conv1"], init_weights=False)
    model = peft.get_peft_model(pipe.unet, config)
    model.save_pretrained(tmp_path)

    found = ours(Use(read_adapter(tmp_path)))[1]

    torch.testing.assert_close(found, theirs(pipe)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"r": 2},
        {"r": 2, "decompose_both": True, "decompose_factor": 8},
        {"r": 64, "alpha": 50},  # so that both are whole, where PEFT goes by alpha all the same, and LyCORIS does not
        {"r": 2, "use_effective_conv2d": True, "rank_pattern": {"to_q": 4}},
    ],
    ids=str,
)
def test_lokr_of_peft_is_read_here(
    config: dict[str, Any], pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    whole = {"alpha": 3, "target_modules": [*ATTENTION, "conv1"], "init_weights": False, **config}
    model = peft.get_peft_model(pipe.unet, peft.LoKrConfig(**whole))
    model.save_pretrained(tmp_path)

    found = ours(Use(read_adapter(tmp_path)))[1]

    torch.testing.assert_close(found, theirs(pipe)[1], rtol=1e-4, atol=1e-4)
    assert (found - random.outputs(tiny.networks())[1]).norm() > 0.05 * found.norm()


LYCORIS: dict[str, tuple[type[torch.nn.Module], dict[str, Any]]] = {
    "LoKr": (LokrModule, {"lora_dim": 2, "alpha": 1}),
    "LoKr, both products": (LokrModule, {"lora_dim": 2, "alpha": 3, "decompose_both": True, "factor": 4}),
    "LoKr, whole": (LokrModule, {"lora_dim": 2, "alpha": 1, "full_matrix": True, "factor": 8}),
    "LoKr, unbalanced": (LokrModule, {"lora_dim": 2, "alpha": 1, "unbalanced_factorization": True, "factor": 2}),
    "LoKr, Tucker's": (LokrModule, {"lora_dim": 2, "alpha": 1, "use_tucker": True, "factor": 4}),
    "LoKr, rsLoRA's scale": (LokrModule, {"lora_dim": 2, "alpha": 1, "rs_lora": True}),
    "LoKr, a scalar": (LokrModule, {"lora_dim": 2, "alpha": 1, "use_scalar": True}),
    "LoKr, decomposed": (LokrModule, {"lora_dim": 2, "alpha": 1, "weight_decompose": True}),
    "LoKr, decomposed by columns": (LokrModule, {"lora_dim": 2, "weight_decompose": True, "wd_on_out": False}),
    "LoHa": (LohaModule, {"lora_dim": 2, "alpha": 1}),
    "LoHa, Tucker's": (LohaModule, {"lora_dim": 2, "alpha": 3, "use_tucker": True}),
    "LoCon": (LoConModule, {"lora_dim": 2, "alpha": 1}),
    "LoCon, Tucker's": (LoConModule, {"lora_dim": 2, "alpha": 1, "use_tucker": True}),
}
CHANGED = {
    "up_blocks.0.resnets.0.conv1": (2, 128, 5, 5),
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (2, 7, 64),
}


@pytest.mark.parametrize("kind", LYCORIS)
def test_what_lycoris_writes_is_read_here_as_it_means_it(kind: str, tmp_path: Path) -> None:
    module, options = LYCORIS[kind]
    generator, tensors, wanted = torch.Generator().manual_seed(5), {}, {}
    for path, shape in CHANGED.items():
        layer, x = tiny.networks().unet.get_submodule(path), torch.randn(shape, generator=generator)
        theirs = module(f"lora_unet_{path.replace('.', '_')}", copy.deepcopy(layer), 1.0, **options)
        with torch.no_grad():
            for name, tensor in theirs.named_parameters():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor += tensor * 0.2 * noise.abs() if "dora" in name else 0.5 * noise
            tensors |= {f"{theirs.lora_name}.{key}": t.contiguous() for key, t in theirs.state_dict().items()}
            wanted[path] = x, theirs(x)
    save_file(tensors, tmp_path / "lycoris.safetensors")

    with torch.no_grad(), attached(tiny.networks(), [Use(read_adapter(tmp_path / "lycoris.safetensors"))]):
        for path, (x, out) in wanted.items():
            found = tiny.networks().unet.get_submodule(path)(x)
            torch.testing.assert_close(found, out, rtol=1e-4, atol=1e-4)


def test_what_a_network_of_diffusers_writes_is_read_here(
    pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    pipe.unet.add_adapter(peft.LoraConfig(**UNET_CONFIGS["patterns"]))
    fill(pipe.unet)
    pipe.unet.save_lora_adapter(tmp_path)

    adapter = read_adapter(tmp_path)

    assert list(adapter.parts) == ["unet"]
    torch.testing.assert_close(ours(Use(adapter))[1], theirs(pipe)[1], rtol=1e-5, atol=1e-5)


def test_kohya_as_diffusers_converts_to_it_is_read_here(
    pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    layers: dict[str, torch.Tensor] = {}
    for part, targets in (("unet", ATTENTION), ("text_encoder", TEXT)):
        getattr(pipe, part).add_adapter(peft.LoraConfig(r=4, lora_alpha=4, target_modules=targets))
        fill(getattr(pipe, part))
        state = peft.get_peft_model_state_dict(getattr(pipe, part))
        layers |= {f"{part}.{key}": tensor for key, tensor in state.items()}
    save_file({k: t.contiguous() for k, t in convert_state_dict_to_kohya(layers).items()}, tmp_path / "k.safetensors")

    assert_same_change(ours(Use(read_adapter(tmp_path / "k.safetensors"))), theirs(pipe))


def old_names(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The names of files from early 2023, when the attention had processors: facts of diffusers 0.14 to 0.20."""
    tensors = {}
    for path, change in adapter.parts["unet"].items():
        layer = path.replace(".to_out.0", ".to_out")
        before, _, last = layer.rpartition(".")
        for role, tensor in (("down", change.down), ("up", change.up)):
            tensors[f"unet.{before}.processor.{last}_lora.{role}.weight"] = tensor
    for path, change in adapter.parts["text_encoder"].items():
        before, _, last = path.rpartition(".")
        layer = "to_out" if last == "out_proj" else f"to_{last[0]}"
        for role, tensor in (("down", change.down), ("up", change.up)):
            tensors[f"text_encoder.text_model.{before}.{layer}_lora.{role}.weight"] = tensor
    return tensors


def test_old_names_of_diffusers_are_read_as_diffusers_reads_them(
    pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    adapter = random.adapter(modules=("attention",), alpha=None)
    save_file(old_names(adapter), tmp_path / "pytorch_lora_weights.safetensors")
    pipe.load_lora_weights(tmp_path)

    found = read_adapter(tmp_path)

    assert found.digest == adapter.digest
    assert_same_change(ours(Use(found)), theirs(pipe))


def test_two_at_once_with_weights_a_part_are_what_diffusers_makes_of_them(
    pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    adapters = [random.adapter(seed=1), random.adapter(seed=2, rank=2, alpha=None)]
    for index, adapter in enumerate(adapters):
        write_adapter(adapter, tmp_path / f"{index}.safetensors")
        pipe.load_lora_weights(tmp_path / f"{index}.safetensors", adapter_name=str(index))
    pipe.set_adapters(["0", "1"], [{"unet": 0.7, "text_encoder": 0.3}, {"unet": -0.5, "text_encoder": 1.2}])
    uses = [Use(adapters[0], 0.7, 0.3), Use(adapters[1], -0.5, 1.2)]

    assert_same_change(ours(*uses), theirs(pipe))


EMBEDDING = Embedding("my-style", torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), token="<my-style>")


@pytest.mark.parametrize("layout", EMBEDDING_LAYOUTS)
def test_diffusers_reads_embeddings_that_are_written_here(
    layout: str, pipe: diffusers.StableDiffusionPipeline, tmp_path: Path
) -> None:
    name = "e.bin" if layout in ("bin", "pt") else "e.safetensors"
    write_embedding(EMBEDDING, tmp_path / name, layout)

    pipe.load_textual_inversion(tmp_path / name, token="<my-style>")

    ids = pipe.tokenizer.convert_tokens_to_ids(["<my-style>", "<my-style>_1", "<my-style>_2"])
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight[ids], EMBEDDING.vectors)


def test_embeddings_as_scripts_of_diffusers_save_them_are_read_here(tmp_path: Path) -> None:
    save_file({"<my-style>": EMBEDDING.vectors}, tmp_path / "learned_embeds.safetensors")
    torch.save({"<my-style>": EMBEDDING.vectors[0]}, tmp_path / "one.bin")

    assert read_embedding(tmp_path).digest == EMBEDDING.digest
    assert torch.equal(read_embedding(tmp_path / "one.bin").vectors, EMBEDDING.vectors[:1])

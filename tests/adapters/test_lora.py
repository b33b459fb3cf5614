"""Files of adapters: what goes in comes out, and what cannot be used is said."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from impasto.adapters.attach import Use, attached, fitted
from impasto.adapters.layouts import LAYOUTS, OTHERS, ROLES, place
from impasto.adapters.lora import MODEL_HASH, Adapter, read_adapter, write_adapter
from impasto.adapters.lowrank import LowRank, product
from impasto.errors import ImpastoError, InvalidInput, KeyMismatch, NotFound, UnreadableWeights, UnsupportedConfig
from impasto.models.unet import UNetConfig
from impasto.weights import files
from impasto.weights.layouts.ldm_names import unet_table
from tests.adapters import random
from tests.weights import tiny

UNET = tiny.networks().spec.unet
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def pair(name: str = KOHYA, rank: int = 4, width: int = 32, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """One layer's tensors, in kohya's layout."""
    tensors = {"lora_down.weight": torch.randn(rank, width), "lora_up.weight": torch.randn(width, rank), **more}
    return {f"{name}.{end}": tensor for end, tensor in tensors.items()}


def loha(b: torch.Tensor, rank: int = 4) -> dict[str, torch.Tensor]:
    """A LoHa of one layer, of which `b` is the second factor."""
    factors = (torch.randn(32, b.shape[0]), b, torch.randn(32, rank), torch.randn(rank, 32))
    return {f"{KOHYA}.hada_{end}": t for end, t in zip(("w1_a", "w1_b", "w2_a", "w2_b"), factors, strict=True)}


def lokr(w1: torch.Tensor, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A LoKr of one layer."""
    return {f"{KOHYA}.lokr_{end}": tensor for end, tensor in {"w1": w1, **more}.items()}


def written(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    files.save(path / "a.safetensors", tensors, metadata)
    return path / "a.safetensors"


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_read_again(layout: str, dora: bool, tmp_path: Path) -> None:
    adapter = random.adapter(dora=dora, conv_rank=2, alpha=1.5)
    write_adapter(adapter, tmp_path / "a", layout, metadata={"ss_steps": "3"}, unet=UNET)

    found = read_adapter(tmp_path / "a", unet=UNET)

    assert found.digest == adapter.digest
    assert found.metadata["ss_steps"] == "3"
    assert found.name == "a"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{KOHYA}.lora_down.weight", "unet:down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q:down"),
        ("lora_unet_mid_block_attentions_0_proj_in.alpha", "unet:mid_block.attentions.0.proj_in:alpha"),
        (
            "lora_unet_up_blocks_1_resnets_2_conv_shortcut.lora_mid.weight",
            "unet:up_blocks.1.resnets.2.conv_shortcut:mid",
        ),
        (
            "lora_unet_down_blocks_2_attentions_1_transformer_blocks_0_ff_net_0_proj.lora_up.weight",
            "unet:down_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj:up",
        ),
        ("lora_unet_time_embedding_linear_1.lora_up.weight", "unet:time_embedding.linear_1:up"),
        (
            "lora_te_text_model_encoder_layers_11_self_attn_out_proj.dora_scale",
            "text_encoder:encoder.layers.11.self_attn.out_proj:dora",
        ),
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_out_0.lora_up.weight",
            "unet:down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0:up",
        ),
        ("lora_unet_middle_block_1_proj_out.lora_up.weight", "unet:mid_block.attentions.0.proj_out:up"),
        ("lora_unet_output_blocks_5_2_conv.lora_down.weight", "unet:up_blocks.1.upsamplers.0.conv:down"),
        ("lora_unet_input_blocks_3_0_op.lora_down.weight", "unet:down_blocks.0.downsamplers.0.conv:down"),
        ("lora_unet_output_blocks_2_1_conv.lora_down.weight", "unet:up_blocks.0.upsamplers.0.conv:down"),
        ("lora_unet_input_blocks_7_0_emb_layers_1.lora_down.weight", "unet:down_blocks.2.resnets.0.time_emb_proj:down"),
        ("lora_unet_out_2.lora_down.weight", "unet:conv_out:down"),
        (
            "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight",
            "unet:up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0:down",
        ),
        (
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_v_lora.up.weight",
            "unet:down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v:up",
        ),
        (
            "text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora.up.weight",
            "text_encoder:encoder.layers.3.self_attn.q_proj:up",
        ),
        (
            "text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_linear_layer.up.weight",
            "text_encoder:encoder.layers.3.mlp.fc1:up",
        ),
        (
            "base_model.model.text_model.encoder.layers.0.self_attn.k_proj.lora_A.weight",
            "text_encoder:encoder.layers.0.self_attn.k_proj:down",
        ),
        (
            "base_model.model.mid_block.resnets.0.conv1.lora_magnitude_vector",
            "unet:mid_block.resnets.0.conv1:magnitude",
        ),
        ("lora_unet_down_blocks_0_something_else.lora_down.weight", None),
        ("lora_unet_.lora_down.weight", None),
        ("unet.mid_block.attn.processor.to_x_lora.down.weight", None),
        ("nowhere.lora_down.weight", None),
        ("model.diffusion_model.input_blocks.0.0.weight", None),
    ],
)
def test_names_as_they_are_published(name: str, wanted: str | None) -> None:
    found = place(name, UNetConfig())

    assert wanted == (found and f"{found.part}:{found.path}:{found.role}")


def test_every_layer_of_both_networks_has_a_name_of_its_own_in_every_layout() -> None:
    whole = tiny.networks()
    for part, network in (("unet", whole.unet), ("text_encoder", whole.text_encoder)):
        for path, layer in network.named_modules():
            if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                continue
            for layout in LAYOUTS.values():
                role = "down"
                name = layout.name(type_place(part, path, role), UNET)
                assert name is not None
                found = place(name, UNET, part if layout.folder else None)  # type: ignore[arg-type]
                assert found == type_place(part, path, role), name


def type_place(part: Any, path: str, role: Any) -> Any:
    from impasto.adapters.layouts import Place

    return Place(part, path, role)


def test_names_of_blocks_are_counted_by_the_shape_of_the_unet() -> None:
    config = UNetConfig(layers_per_block=1)
    for ours, theirs in (("down_blocks.1.attentions.0.proj_in", "lora_unet_input_blocks_3_1_proj_in"),):
        assert unet_table(config).called(ours) == "input_blocks.3.1.proj_in"
        found = place(f"{theirs}.lora_up.weight", config)
        assert found is not None
        assert found.path == ours


def test_tuckers_form_is_the_convolutions_one_after_the_other(tmp_path: Path) -> None:
    name, path = "lora_unet_down_blocks_0_resnets_0_conv1", "down_blocks.0.resnets.0.conv1"
    layer = tiny.networks().unet.get_submodule(path)
    down, mid, up = torch.randn(4, 32, 1, 1), torch.randn(4, 4, 3, 3), torch.randn(32, 4, 1, 1)
    tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    adapter = read_adapter(written(tmp_path, {f"{name}.{end}": tensor for end, tensor in tensors.items()}))
    x = torch.randn(1, 32, 8, 8)
    wanted = torch.conv2d(torch.conv2d(torch.conv2d(x, down), mid, padding=1), up) * (2 / 4) + layer(x)

    with attached(tiny.networks(), [Use(adapter)]):
        torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-4)
    plain = Adapter("plain", {"unet": {path: adapter.parts["unet"][path].plain()}})
    with attached(tiny.networks(), [Use(plain)]):
        torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-4)


def test_without_alpha_the_scale_is_one_and_with_it_alpha_by_rank(tmp_path: Path) -> None:
    (layer,) = read_adapter(written(tmp_path, pair())).parts["unet"].values()
    assert (layer.rank, layer.scale) == (4, 1)
    (layer,) = (
        read_adapter(written(tmp_path, pair(alpha=torch.tensor([2.0], dtype=torch.float16)))).parts["unet"].values()
    )
    assert layer.scale == 0.5


@pytest.mark.parametrize("rank", [3, 8])
def test_a_loha_is_the_product_that_it_stands_for(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**loha(torch.randn(4, 32), rank), f"{KOHYA}.alpha": torch.tensor(2.0)}
    a, b, c, d = (tensors[f"{KOHYA}.hada_{end}"] for end in ("w1_a", "w1_b", "w2_a", "w2_b"))

    (change,) = read_adapter(written(tmp_path, tensors)).parts["unet"].values()

    assert change.rank == min(4 * rank, 32)
    torch.testing.assert_close(product(change), (a @ b) * (c @ d) * (2 / 4))
    monkeypatch.setattr("impasto.adapters.factors.MOST_NUMBERS", 32 * 32 - 1)
    if rank == 8:
        with pytest.raises(UnsupportedConfig, match="1,024 numbers"):
            read_adapter(tmp_path / "a.safetensors")


CONV, LINEAR = "down_blocks.0.resnets.0.conv1", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"

LOKRS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "two matrices": (LINEAR, {"w1": (4, 2), "w2": (8, 16)}),
    "a product": (LINEAR, {"w1": (4, 4), "w2_a": (8, 2), "w2_b": (2, 8)}),
    "two products": (LINEAR, {"w1_a": (8, 2), "w1_b": (2, 4), "w2_a": (4, 2), "w2_b": (2, 8)}),
    "a product and a matrix": (LINEAR, {"w1_a": (8, 2), "w1_b": (2, 4), "w2": (4, 8)}),
    "a convolution": (CONV, {"w1": (4, 2), "w2": (8, 16, 3, 3)}),
    "a convolution's product": (CONV, {"w1": (4, 4), "w2_a": (8, 2), "w2_b": (2, 8 * 9)}),
    "a convolution in Tucker's form": (CONV, {"w1": (2, 4), "w2_a": (2, 16), "w2_b": (2, 8), "t2": (2, 2, 3, 3)}),
}


def kronecker(t: dict[str, torch.Tensor], alpha: float) -> torch.Tensor:
    """What LyCORIS says the tensors of a LoKr stand for, written out; alpha counts unless both are whole."""
    rank = next((t[name].shape[0] for name in ("w2_b", "w1_b") if name in t), None)
    w1 = t["w1"] if "w1" in t else t["w1_a"] @ t["w1_b"]
    if "t2" in t:
        w2 = torch.einsum("ijhw,ip,jr->prhw", t["t2"], t["w2_a"], t["w2_b"])
    else:
        w2 = t["w2"] if "w2" in t else t["w2_a"] @ t["w2_b"]
    if w2.shape[1] == 8 * 9:
        w2 = w2.reshape(-1, 8, 3, 3)
    return torch.kron(w1[(...,) + (None,) * (w2.ndim - 2)], w2.contiguous()) * (alpha / rank if rank else 1)


@pytest.mark.parametrize("kind", LOKRS)
def test_a_lokr_is_the_product_that_it_stands_for(kind: str, tmp_path: Path) -> None:
    path, shapes = LOKRS[kind]
    own = {end: torch.randn(shape) for end, shape in shapes.items()}
    name = "lora_unet_" + path.replace(".", "_")
    tensors = {**{f"{name}.lokr_{end}": tensor for end, tensor in own.items()}, f"{name}.alpha": torch.tensor(3.0)}
    layer = tiny.networks().unet.get_submodule(path)
    wanted = kronecker(own, 3.0)
    x = torch.randn(2, 32, 5, 5) if path == CONV else torch.randn(2, 7, 32)

    adapter = read_adapter(written(tmp_path, tensors))

    change = fitted(adapter.parts["unet"][path], layer.weight)
    assert change is not None
    torch.testing.assert_close(product(change), wanted)
    torch.testing.assert_close(product(change.plain()), wanted)
    with attached(tiny.networks(), [Use(adapter, 0.7)]):
        hooked = layer(x)
    with torch.no_grad():
        changed = copy.deepcopy(layer)
        changed.weight += 0.7 * wanted
    torch.testing.assert_close(hooked, changed(x), rtol=1e-4, atol=1e-4)
    write_adapter(adapter, tmp_path / "again.safetensors")
    assert read_adapter(tmp_path / "again.safetensors").digest == adapter.digest
    with pytest.raises(InvalidInput, match="make a LoRA of this LoKr first"):
        write_adapter(adapter, tmp_path / "peft", "peft")


def test_a_lokr_of_too_many_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.adapters.factors.MOST_NUMBERS", 32 * 32 - 1)
    with pytest.raises(UnsupportedConfig, match="1,024 numbers"):
        read_adapter(written(tmp_path, lokr(torch.randn(4, 4), w2=torch.randn(8, 8))))


def test_pickled_files_are_read_without_being_run(tmp_path: Path) -> None:
    tensors = pair()
    torch.save(tensors, tmp_path / "a.pt")

    (layer,) = read_adapter(tmp_path / "a.pt").parts["unet"].values()

    assert torch.equal(layer.down, tensors[f"{KOHYA}.lora_down.weight"])


def test_the_hash_in_the_file_is_that_of_its_tensors(tmp_path: Path) -> None:
    write_adapter(
        random.adapter(), tmp_path / "a.safetensors", metadata={MODEL_HASH: "stale", "modelspec.architecture": "x"}
    )
    content = (tmp_path / "a.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    import hashlib

    wanted = hashlib.sha256(content[8 + header :]).hexdigest()

    told = files.load(tmp_path / "a.safetensors").metadata
    assert told[MODEL_HASH] == wanted
    assert told["modelspec.hash_sha256"] == f"0x{wanted}"


STRAYS: dict[str, tuple[dict[str, torch.Tensor], type[ImpastoError], str]] = {
    "a name of no layout": (
        {**pair(), "lora_unet_what_is_this.lora_down.weight": torch.zeros(1, 1)},
        KeyMismatch,
        "what_is_this",
    ),
    "a half": ({f"{KOHYA}.lora_down.weight": torch.zeros(4, 32)}, KeyMismatch, "attn1.to_q: up"),
    "an alpha alone": ({f"{KOHYA}.alpha": torch.tensor(1.0)}, KeyMismatch, "attn1.to_q: down"),
    "two of one": (
        {**pair(), "unet." + place(f"{KOHYA}.alpha", UNET).path + ".lora.down.weight": torch.zeros(4, 32)},
        KeyMismatch,
        "another",
    ),  # type: ignore[union-attr]
    "halves that do not meet": ({**pair(), f"{KOHYA}.lora_up.weight": torch.zeros(32, 3)}, KeyMismatch, "halves"),
    "no rank": (pair(rank=0), KeyMismatch, "some of each"),
    "whole numbers": ({k: t.long() for k, t in pair().items()}, KeyMismatch, "int64"),
    "three sides": ({k: t[..., None] for k, t in pair().items()}, KeyMismatch, "halves"),
    "alpha of several": (pair(alpha=torch.ones(2)), KeyMismatch, "finite number"),
    "alpha of none": (pair(alpha=torch.tensor(float("nan"))), KeyMismatch, "finite number"),
    "lengths of both": (pair(dora_scale=torch.ones(32, 32)), KeyMismatch, "dora"),
    "nothing": ({}, UnreadableWeights, "no tensors"),
    "for SDXL": ({**pair(), **pair("lora_te2_text_model_encoder_layers_0_mlp_fc1")}, UnsupportedConfig, "XL"),
    "a part of a LoHa": ({f"{KOHYA}.hada_w1_a": torch.zeros(4, 4)}, KeyMismatch, "attn1.to_q: hada_w2_b"),
    "a LoHa of half Tucker's": (
        {**loha(torch.zeros(4, 32)), f"{KOHYA}.hada_t1": torch.zeros(4, 4)},
        KeyMismatch,
        "form",
    ),
    "a LoHa of Tucker's that is none": (
        {**loha(torch.zeros(4, 32)), **{f"{KOHYA}.hada_t{n}": torch.zeros(3, 3, 3, 3) for n in "12"}},
        KeyMismatch,
        "Tucker",
    ),
    "a LoHa of two shapes": (loha(torch.zeros(4, 8)), KeyMismatch, "two products"),
    "a half of a LoKr": ({f"{KOHYA}.lokr_w1": torch.zeros(4, 4)}, KeyMismatch, "attn1.to_q: lokr_w2"),
    "a LoKr and a LoRA": ({**pair(), f"{KOHYA}.lokr_w1": torch.zeros(4, 4)}, KeyMismatch, "lokr_w2"),
    "a LoKr besides a LoRA": (lokr(torch.zeros(4, 4), w2=torch.zeros(8, 8)) | pair(), KeyMismatch, "of another kind"),
    "a LoKr that is no matrix": (lokr(torch.zeros(4), w2=torch.zeros(8, 8)), KeyMismatch, "no matrix"),
    "a LoKr whose large factor is none": (lokr(torch.zeros(4, 4), w2=torch.zeros(8)), KeyMismatch, "neither"),
    "a LoKr whose factors do not meet": (
        lokr(torch.zeros(4, 4), w2_a=torch.zeros(8, 2), w2_b=torch.zeros(3, 8)),
        KeyMismatch,
        "together",
    ),
    "biases": ({**pair(), f"{KOHYA}.lora_up.bias": torch.zeros(32)}, UnsupportedConfig, "biases"),
    "embeddings": ({**pair(), "bundle_emb.cat.emb_params": torch.zeros(1, 4)}, UnsupportedConfig, "embeddings"),
    "for Flux": ({"transformer.single_blocks.0.lora_A.weight": torch.zeros(4, 4)}, UnsupportedConfig, "Flux"),
    "whole weights": ({**pair(), f"{KOHYA}.diff": torch.zeros(4, 4)}, UnsupportedConfig, "whole weights"),
}


@pytest.mark.parametrize("kind", STRAYS)
def test_what_has_no_home_is_an_error(kind: str, tmp_path: Path) -> None:
    tensors, error, said = STRAYS[kind]

    with pytest.raises(error, match=said):
        read_adapter(written(tmp_path, tensors))


def peft_folder(path: Path, **config: Any) -> Path:
    tensors = {"base_model.model.mid_block.resnets.0.conv1.lora_A.weight": torch.zeros(4, 32, 3, 3)}
    tensors |= {"base_model.model.mid_block.resnets.0.conv1.lora_B.weight": torch.zeros(32, 4, 1, 1)}
    files.save(path / "adapter_model.safetensors", tensors)
    (path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8, **config}))
    return path


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "VERA"}, "VERA"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"lora_bias": True}, "lora_bias"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"alpha_pattern": ["conv1"]}, "alpha_pattern"),
        ({"alpha_pattern": {"conv1": None}}, "alpha_pattern"),
        ({"modules_to_save": ["conv_out"]}, "modules_to_save"),
    ],
)
def test_configurations_that_ask_for_something_else(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedConfig, match=said):
        read_adapter(peft_folder(tmp_path, **config))


def test_a_file_of_peft_alone_has_the_scale_that_lies_beside_it(tmp_path: Path) -> None:
    (whole,) = read_adapter(peft_folder(tmp_path / "a")).parts["unet"].values()
    alone = read_adapter(tmp_path / "a" / "adapter_model.safetensors")
    assert alone.name == "a"
    assert alone.parts["unet"]["mid_block.resnets.0.conv1"].scale == whole.scale == 2


def test_patterns_are_names_and_are_not_run_as_programs(tmp_path: Path) -> None:
    hostile = {"(a+)+$" * 20: 1, "conv1": 2}
    (layer,) = read_adapter(peft_folder(tmp_path, alpha_pattern=hostile)).parts["unet"].values()
    assert layer.alpha == 2


def test_folders_without_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"adapter_model\.safetensors"):
        read_adapter(tmp_path)
    peft_folder(tmp_path)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(InvalidInput, match="JSON object"):
        read_adapter(tmp_path)


def test_layouts_that_cannot_hold_it(tmp_path: Path) -> None:
    columns = LowRank(torch.zeros(2, 8), torch.zeros(8, 2), 2.0, None, torch.ones(1, 8))
    mid = LowRank(torch.zeros(2, 8, 1, 1), torch.zeros(8, 2, 1, 1), 2.0, torch.zeros(2, 2, 3, 3))
    for change in (columns, mid):
        with pytest.raises(InvalidInput, match="choose kohya"):
            write_adapter(Adapter("a", {"unet": {"conv_in": change}}), tmp_path / "a", "diffusers")
    with pytest.raises(NotFound, match="kohya-ldm"):
        write_adapter(random.adapter(), tmp_path / "a", "safetensors")


NAMES = st.sampled_from([f"{KOHYA}", "unet.conv_in", "base_model.model.conv_in", "x", "lora_te_", "\x00\x1b"])


@hypothesis.given(
    st.dictionaries(
        st.tuples(NAMES, st.sampled_from([*ROLES, ""])).map("".join),
        st.lists(st.integers(0, 3), max_size=5),
        max_size=4,
    ),
    st.sampled_from([torch.float32, torch.int64, torch.bool, torch.float8_e4m3fn]),
    st.sampled_from(["", "{", "[]", '{"unet.r": {}}', '{"r": 4, "alpha_pattern": {"conv_in": 1e999}}', "[" * 9999]),
)
@hypothesis.settings(max_examples=150)
def test_whatever_is_in_a_file_is_an_adapter_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], dtype: torch.dtype, config: str
) -> None:
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    path = written(tmp_path_factory.mktemp("hostile"), tensors, lora_adapter_metadata=config)
    try:
        found = read_adapter(path)
        with attached(tiny.networks(), [Use(found)]):
            pass
    except ImpastoError:
        return


def test_kinds_that_are_not_read_are_told_from_those_that_are() -> None:
    names = [f"{KOHYA}.lora_down.weight", "unet.conv_in.lora_A.weight", "text_encoder.encoder.layers.0.mlp.fc1.alpha"]
    import re

    assert not [name for name in names for pattern in OTHERS if re.match(pattern, name)]

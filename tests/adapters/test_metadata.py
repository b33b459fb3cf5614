"""What files of adapters say of themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from impasto.adapters.lora import MODEL_HASH, Adapter, LowRank, read_adapter, write_adapter
from impasto.adapters.metadata import base_of, described, lora_hash, receipt_of
from impasto.errors import InvalidInput
from impasto.models.specs import SPECS
from impasto.receipt import Parent, Receipt
from impasto.weights import files
from impasto.weights.layouts.ldm import RECEIPT
from tests.adapters import random

SPEC = SPECS["sd-1.4"]
RECEIPTED = Receipt(
    kind="adapter",
    name="mine",
    code="x",
    licence="CC-BY-4.0",
    parents=(Parent(name="sd-1.4", identity=f"sha256:{'0' * 64}", role="start"),),
)


def test_a_file_has_what_modelspec_and_other_programs_ask_for(tmp_path: Path) -> None:
    adapter = random.adapter(name="mine", conv_rank=2, alpha=1.0, modules=("attention", "convolutions"))
    more = {"ss_learning_rate": "0.0001", "modelspec.trigger_phrase": "sks dog"}
    write_adapter(described(adapter, SPEC, base="sd-1.4", receipt=RECEIPTED, more=more), tmp_path / "mine.safetensors")

    told = files.load(tmp_path / "mine.safetensors").metadata

    assert told["modelspec.sai_model_spec"] == "1.0.1"
    assert told["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert told["modelspec.title"] == told["ss_output_name"] == "mine"
    assert told["modelspec.resolution"] == "512x512"
    assert told["modelspec.implementation"]
    assert told["modelspec.license"] == "CC-BY-4.0"
    assert told["modelspec.hash_sha256"] == f"0x{told[MODEL_HASH]}"
    assert (told["ss_v2"], told["ss_base_model_version"], told["ss_sd_model_name"]) == ("False", "sd_v1", "sd-1.4")
    assert (told["ss_network_module"], told["ss_network_dim"], told["ss_network_alpha"]) == ("networks.lora", "4", "1")
    assert json.loads(told["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1"}
    assert more.items() <= told.items()
    receipt = receipt_of(read_adapter(tmp_path / "mine.safetensors"))
    assert receipt is not None
    assert receipt.identity == adapter.digest
    assert receipt.parents == RECEIPTED.parents


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ("stable-diffusion-v1/lora", "sd_v1")),
        ({"in_channels": 9}, ("stable-diffusion-v1-inpainting/lora", "sd_v1")),
        ({"use_linear_projection": True}, ("stable-diffusion-v2-512/lora", "sd_v2")),
        ({"use_linear_projection": True, "in_channels": 9}, ("stable-diffusion-v2-inpainting/lora", "sd_v2")),
        ({"use_linear_projection": True, "prediction": "v_prediction"}, ("stable-diffusion-v2-768-v/lora", "sd_v2_v")),
    ],
)
def test_every_base_has_its_name(changes: dict[str, object], wanted: tuple[str, str]) -> None:
    changes = dict(changes)
    plain = SPEC.plain()
    plain["prediction"] = changes.pop("prediction", "epsilon")
    plain["unet"] |= changes
    if changes.get("use_linear_projection"):
        plain["text"] |= {"hidden_act": "gelu"}
    told = described(random.adapter(), type(SPEC).model_validate(plain)).metadata

    assert (told["modelspec.architecture"], told["ss_base_model_version"]) == wanted


def test_the_hash_of_pictures_is_that_of_the_tensors_whoever_wrote_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.save(path, {"lora_unet_conv_in.lora_up.weight": torch.ones(2, 2)}, {MODEL_HASH: "not one"})
    content = path.read_bytes()
    wanted = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert lora_hash(path) == wanted[:12]
    files.save(path, {"lora_unet_conv_in.lora_up.weight": torch.ones(2, 2)}, {MODEL_HASH: "ab" * 32})
    assert lora_hash(path) == "abababababab"
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    assert lora_hash(tmp_path / "a.pt") == hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"kind": "adapter"}', "[" * 10_000])
def test_receipts_that_are_none(text: str) -> None:
    adapter = random.adapter()
    object.__setattr__(adapter, "metadata", {RECEIPT: text})
    with pytest.raises(InvalidInput):
        receipt_of(adapter)


@pytest.mark.parametrize(("width", "wanted"), [(768, "1.x"), (1024, "2.x"), (640, None)])
def test_a_file_that_says_nothing_shows_what_it_is_for(width: int, wanted: str | None) -> None:
    change = LowRank(torch.zeros(1, width), torch.zeros(320, 1), 1.0)
    found = base_of(Adapter("a", {"unet": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": change}}))
    assert found == (wanted and f"Stable Diffusion {wanted}, by its shape")


def test_no_receipt_is_no_error() -> None:
    assert receipt_of(random.adapter()) is None

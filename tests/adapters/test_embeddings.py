"""Files of learned words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from impasto.adapters.embeddings import LAYOUTS, Embedding, read_embedding, read_embeddings, write_embedding
from impasto.adapters.metadata import described_embedding, embedding_hash, receipt_of
from impasto.errors import ImpastoError, InvalidInput, KeyMismatch, NotFound, UnreadableWeights, UnsupportedConfig
from impasto.receipt import Receipt
from impasto.schema import file_digest
from impasto.weights import files
from tests.weights import tiny

VECTORS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_read_again(layout: str, tmp_path: Path) -> None:
    embedding = Embedding("my-style", VECTORS, token="<my-style>")
    write_embedding(embedding, tmp_path / "my-style", layout)

    found = read_embedding(tmp_path / "my-style")

    assert found.name == "my-style"
    assert found.digest == embedding.digest
    assert torch.equal(found.vectors, VECTORS)
    assert found.token == ("<my-style>" if layout in ("diffusers", "bin") else None)


@pytest.mark.parametrize("layout", ["pt", "bin"])
def test_receipts_lie_beside_pickled_files(layout: str, tmp_path: Path) -> None:
    receipt = Receipt(kind="embedding", name="my-style", code="x")
    embedding = described_embedding(Embedding("my-style", VECTORS), tiny.networks().spec, receipt=receipt)
    write_embedding(embedding, tmp_path / f"my-style.{layout}", layout)

    assert receipt_of(read_embedding(tmp_path / f"my-style.{layout}")) == receipt_of(embedding)
    (tmp_path / "my-style.receipt.json").write_text("[")
    with pytest.raises(InvalidInput, match="not JSON"):
        receipt_of(read_embedding(tmp_path / f"my-style.{layout}"))


def test_receipts_and_metadata_travel_in_the_file(tmp_path: Path) -> None:
    receipt = Receipt(kind="embedding", name="my-style", code="x", licence="CC0-1.0")
    embedding = described_embedding(Embedding("my-style", VECTORS), tiny.networks().spec, receipt=receipt)
    write_embedding(embedding, tmp_path / "a.safetensors")

    found = read_embedding(tmp_path / "a.safetensors")

    assert found.metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert found.metadata["modelspec.license"] == "CC0-1.0"
    kept = receipt_of(found)
    assert kept is not None
    assert kept.identity == embedding.digest
    assert embedding_hash(tmp_path / "a.safetensors") == file_digest(tmp_path / "a.safetensors")[7:19]
    other = Embedding("other", VECTORS + 1, metadata=found.metadata)
    with pytest.raises(InvalidInput, match="is of sha256:"):
        receipt_of(other)


def test_a_single_vector_and_files_of_several_words(tmp_path: Path) -> None:
    torch.save({"<cat>": VECTORS[0]}, tmp_path / "learned_embeds.bin")
    assert read_embedding(tmp_path).vectors.shape == (1, 32)
    assert read_embedding(tmp_path).token == "<cat>"
    torch.save({"<cat>": VECTORS[0], "<dog>": VECTORS[1]}, tmp_path / "two.bin")
    assert [one.name for one in read_embeddings(tmp_path / "two.bin")] == ["<cat>", "<dog>"]
    with pytest.raises(InvalidInput, match="2 embeddings where one is needed: <cat>, <dog>"):
        read_embedding(tmp_path / "two.bin")


def test_the_first_textual_inversions_that_held_a_module_of_torch(tmp_path: Path) -> None:
    held = torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS)})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": held}, tmp_path / "old.pt")

    assert torch.equal(read_embedding(tmp_path / "old.pt").vectors, VECTORS)


WRONG: dict[str, tuple[dict[str, torch.Tensor], type[ImpastoError], str]] = {
    "for SDXL": ({"clip_l": VECTORS, "clip_g": VECTORS}, UnsupportedConfig, "clip_g"),
    "whole numbers": ({"emb_params": VECTORS.long()}, KeyMismatch, "int64"),
    "three sides": ({"emb_params": VECTORS[None]}, KeyMismatch, "no vectors"),
    "no sides": ({"emb_params": torch.tensor(1.0)}, KeyMismatch, "no vectors"),
    "none": ({"emb_params": VECTORS[:0]}, KeyMismatch, "no vectors"),
    "nothing": ({}, UnreadableWeights, "no tensors"),
    "no numbers": ({"emb_params": VECTORS / 0}, UnreadableWeights, "not finite"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_embedding_is_an_error(kind: str, tmp_path: Path) -> None:
    tensors, error, said = WRONG[kind]
    files.save(tmp_path / "a.safetensors", tensors)
    with pytest.raises(error, match=said):
        read_embedding(tmp_path / "a.safetensors")


def test_folders_and_layouts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="learned_embeds"):
        read_embedding(tmp_path)
    with pytest.raises(NotFound, match="emb_params"):
        write_embedding(Embedding("a", VECTORS), tmp_path / "a", "onnx")

"""Adapters merged, made smaller, and taken out of models; models merged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from impasto.adapters.attach import Use, attached
from impasto.adapters.extract import KEPT, Extraction, extract_receipt, extracted
from impasto.adapters.lora import Adapter, read_adapter, write_adapter
from impasto.adapters.lowrank import LowRank, product
from impasto.adapters.merge import Share, changed_receipt, merge_receipt, merged, resized
from impasto.adapters.metadata import described, receipt_of, remade
from impasto.adapters.models import Mixture, baked, mixed, slerp
from impasto.adapters.progress import finished
from impasto.adapters.svd import Size, factored, factored_product
from impasto.errors import InvalidInput, KeyMismatch, UnsupportedConfig
from impasto.receipt import CorpusUse, Receipt
from impasto.weights.checkpoint import About, Checkpoint
from impasto.weights.detect import open_model
from impasto.weights.load import Networks, load_model, save_folder
from tests.adapters import random
from tests.weights import tiny

RANDOM = random.adapter()


def outputs(*uses: Use) -> tuple[torch.Tensor, torch.Tensor]:
    with attached(tiny.networks(), uses):
        return random.outputs(tiny.networks())


def assert_close(found: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...], tolerance: float = 1e-5) -> None:
    for mine, other in zip(found, wanted, strict=True):
        assert (mine - other).norm() <= tolerance * other.norm()


def test_a_merge_without_a_size_is_exact_and_names_all_parents() -> None:
    use = CorpusUse(root=f"sha256:{'1' * 64}", selection=f"sha256:{'2' * 64}", rows=3, policy=f"sha256:{'3' * 64}")
    receipts = [
        Receipt(kind="adapter", name=name, code="x", licence=licence, corpora=(use,))
        for name, licence in (("a", "MIT"), ("b", "CC0-1.0"))
    ]
    spec = tiny.networks().spec
    a, b = (
        described(random.adapter(seed=seed, rank=rank, name=receipt.name, modules=modules), spec, receipt=receipt)
        for seed, rank, modules, receipt in zip(
            (1, 2), (4, 3), (random.EVERYTHING, ("attention",)), receipts, strict=True
        )
    )
    shares = [Share(a, 0.7, 0.2), Share(b, -0.4, 1.1)]

    steps = list(merged(shares, "both"))
    both = steps[-1].result
    assert both is not None

    assert [step.result for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert_close(outputs(Use(both)), outputs(Use(a, 0.7, 0.2), Use(b, -0.4, 1.1)))
    assert {change.rank for change in both.parts["text_encoder"].values()} == {4, 7}
    made = remade(both, [a, b], merge_receipt(shares, "both", {"method": "concatenate", "size": None}))
    receipt = receipt_of(made)
    assert receipt is not None
    assert [(parent.name, parent.identity) for parent in receipt.parents] == [("a", a.digest), ("b", b.digest)]
    assert receipt.licence == "CC0-1.0 AND MIT"
    assert receipt.corpora == (use,)
    assert receipt.plans["merge"].plan["weights"] == [
        {"unet": 0.7, "text_encoder": 0.2},
        {"unet": -0.4, "text_encoder": 1.1},
    ]
    assert made.metadata["modelspec.merged_from"] == "a, b"
    assert made.metadata["modelspec.title"] == "both"
    assert made.metadata["ss_base_model_version"] == "sd_v1"
    assert made.metadata["ss_network_dim"] == "Dynamic"


def kronecker() -> Adapter:
    """A LoKr of a linear layer and of a convolution."""
    g = torch.Generator().manual_seed(4)
    linear = LowRank(torch.randn(2, 8, generator=g), torch.randn(8, 2, generator=g), 1.0)
    conv = LowRank(torch.randn(3, 8, 3, 3, generator=g), torch.randn(8, 3, 1, 1, generator=g), 1.0)
    layers = {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": linear,
        "down_blocks.0.resnets.0.conv1": conv,
    }
    kron = torch.randn(4, 4, generator=g)
    return Adapter("lokr", {"unet": {path: replace(change, kron=kron) for path, change in layers.items()}})


def test_a_lokr_is_merged_and_made_smaller_as_the_lora_that_it_is(tmp_path: Path) -> None:
    made, other = kronecker(), random.adapter(seed=9, rank=2)

    both = finished(merged([Share(made, 0.7), Share(other)], "both"))
    small = finished(resized(made, Size(rank=8)))  # what a rank of 2 times one of 4 has at most

    assert not both.kronecker
    assert not small.kronecker
    assert small.rank == 8
    assert_close(outputs(Use(both)), outputs(Use(made, 0.7), Use(other)))
    assert product(small.parts["unet"]["down_blocks.0.resnets.0.conv1"]).shape == (32, 32, 3, 3)
    linear = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    torch.testing.assert_close(
        product(small.parts["unet"][linear]), product(made.parts["unet"][linear]), rtol=1e-4, atol=1e-4
    )
    write_adapter(both, tmp_path / "both.safetensors", "diffusers")
    assert read_adapter(tmp_path / "both.safetensors").digest == both.digest


def test_a_merge_with_a_rank_is_the_nearest_of_that_rank() -> None:
    shares = [Share(random.adapter(seed=1)), Share(random.adapter(seed=2))]
    exact = finished(merged(shares, "both"))
    small = finished(merged(shares, "both", Size(rank=5)))

    for path, change in list(small.parts["unet"].items())[::5]:
        whole = product(exact.parts["unet"][path]).flatten(1)
        values = torch.linalg.svdvals(whole)
        error = (product(change).flatten(1) - whole).square().sum()
        assert change.rank == min(5, *whole.shape)
        torch.testing.assert_close(error, values[5:].square().sum(), rtol=1e-3, atol=1e-6)


def test_what_cannot_be_merged() -> None:
    path = "conv_in"
    flat, wide = (LowRank(torch.zeros(1, *shape), torch.zeros(4, 1), 1.0) for shape in ((4,), (4, 3, 3)))
    with pytest.raises(KeyMismatch, match=r"unet\.conv_in"):
        finished(merged([Share(Adapter(n, {"unet": {path: c}})) for n, c in (("a", flat), ("b", wide))], "both"))
    with pytest.raises(InvalidInput, match="is a DoRA"):
        finished(merged([Share(random.adapter(dora=True))], "one"))
    with pytest.raises(InvalidInput, match="nothing to merge"):
        finished(merged([], "none"))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (Size(rank=3), 3),
        (Size(rank=9), 6),
        (Size(ratio=3), 2),  # values above 8 / 3
        (Size(ratio=100, rank=2), 2),
        (Size(energy=1), 6),
        (Size(energy=0.96), 2),  # (64 + 16) / 85.3125 is 0.968 ** 2
        (Size(cumulative=0.75), 2),  # 12 of 15.75
        (Size(cumulative=0.8), 3),
        (Size(cumulative=1e-9), 1),
    ],
    ids=str,
)
def test_ranks_that_sizes_ask_for(size: Size, wanted: int) -> None:
    assert size.of(torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])) == wanted


def test_sizes_that_say_nothing_or_too_much() -> None:
    for wrong in ({}, {"ratio": 2, "energy": 0.5}, {"ratio": 0.5}, {"energy": 2}):
        with pytest.raises(InvalidInput, match="The size"):
            Size.parse(wrong, "The size")


def test_factors_taken_apart_are_those_of_the_whole() -> None:
    for change in list(RANDOM.parts["unet"].values())[::7]:
        whole, parts = factored(product(change)), factored_product(change)
        count = len(parts.s)
        torch.testing.assert_close(parts.s * change.scale, whole.s[:count], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(product(parts.first(count, change.scale)), product(change), rtol=1e-4, atol=1e-5)


def test_resizing_to_all_that_is_there_changes_nothing_and_to_less_a_little() -> None:
    dora = random.adapter(dora=True, modules=("attention", "convolutions"))
    assert_close(outputs(Use(finished(resized(dora, Size(rank=4))))), outputs(Use(dora)))
    small = finished(resized(RANDOM, Size(energy=0.9)))
    receipt = changed_receipt(RANDOM, "resized", Size(energy=0.9).plain())

    assert small.rank <= 4
    for path, change in small.parts["unet"].items():
        whole = product(RANDOM.parts["unet"][path])
        assert (product(change) - whole).norm() <= math.sqrt(1 - 0.9**2) * whole.norm() * 1.001
    assert remade(small, [RANDOM], receipt).metadata["ss_network_dim"]
    assert receipt.parents[0].identity == RANDOM.digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def model(folder: Path, name: str, change: float = 0.0, seed: int = 0) -> Checkpoint:
    """A model near the tiny one, saved once."""
    if not (folder / name).exists():
        networks, generator = tiny.networks(), torch.Generator().manual_seed(seed)
        parts = {part: type(getattr(networks, part))(getattr(networks, part).config) for part in random.BOTH}
        for part, module in parts.items():
            state = {
                key: tensor + change * torch.randn(tensor.shape, generator=generator)
                for key, tensor in getattr(networks, part).state_dict().items()
            }
            module.load_state_dict(state)
        changed = Networks(networks.spec, networks.tokenizer, vae=networks.vae, **parts)  # type: ignore[arg-type]
        receipt = Receipt(kind="base", name=name, code="x", licence="MIT")
        save_folder(folder / name, changed, About(name=name), receipt=receipt, notices={"ATTRIBUTION": f"by {name}"})
    return open_model(folder / name)


FORMULAS = {
    "weighted-sum": (("a", "b"), (0.7, 0.3), lambda a, b: 0.7 * a + 0.3 * b),
    "add-difference": (("a", "b", "c"), (0.5,), lambda a, b, c: a + 0.5 * (b - c)),
    "slerp": (("a", "b"), (0.25,), lambda a, b: slerp(a, b, 0.25)),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_models_are_merged_as_the_formula_says(method: str, folder: Path, tmp_path: Path) -> None:
    names, weights, formula = FORMULAS[method]
    models = [model(folder, name, 0.05, seed) for seed, name in enumerate(names)]
    target = tmp_path / ("both.safetensors" if method == "slerp" else "both")

    result = finished(mixed(models, Mixture(method=method, weights=weights), target))  # type: ignore[arg-type]

    found = load_model(target) if target.is_dir() else None
    for part in random.BOTH if found else ():
        states = [dict(load_model(folder / name).__getattribute__(part).state_dict()) for name in names]
        for key, tensor in getattr(found, part).state_dict().items():
            torch.testing.assert_close(tensor, formula(*(state[key] for state in states)))
    assert result.receipt is not None
    assert [parent.identity for parent in result.receipt.parents] == [model.digest for model in models]
    assert result.receipt.identity == result.digest
    assert result.receipt.plans["merge"].plan == {"method": method, "weights": list(weights)}
    assert result.receipt.licence == "MIT"
    assert result.notices["ATTRIBUTION"] == "\n\n".join(f"by {name}" for name in names)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_the_arc_between_two_tensors() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(slerp(a, b, 0.5), torch.tensor([0.5**0.5, 0.5**0.5]))
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)
    torch.testing.assert_close(
        slerp(a, torch.zeros(2), 0.5), 0.5 * a / math.sin(math.pi / 2) * math.sin(math.pi / 4) * 2
    )
    torch.testing.assert_close(slerp(a, -a, 0.25), 0.5 * a)


def test_models_that_do_not_go_together(folder: Path, tmp_path: Path) -> None:
    a = model(folder, "a", 0.05)
    other = replace(a, spec=a.spec.model_copy(update={"prediction": "v_prediction"}))
    with pytest.raises(UnsupportedConfig, match="prediction"):
        next(mixed([a, other], Mixture(method="slerp", weights=(0.5,)), tmp_path / "x"))
    with pytest.raises(InvalidInput, match="takes 3 models, not 2"):
        next(mixed([a, a], Mixture(method="add-difference", weights=(1.0,)), tmp_path / "x"))
    with pytest.raises(InvalidInput, match="takes one weight"):
        Mixture.parse({"method": "slerp", "weights": [1, 2]}, "The merge")
    with pytest.raises(InvalidInput, match="is there already"):
        next(mixed([a, a], Mixture(method="slerp", weights=(0.5,)), tmp_path))


def test_adapters_baked_into_a_model_change_it_for_good(folder: Path, tmp_path: Path) -> None:
    base = model(folder, "base")
    dora = random.adapter(dora=True, seed=4, modules=("attention",))
    shares = [Share(RANDOM, 0.6, 0.3), Share(dora, 0.5, 0.9)]

    result = finished(baked(base, shares, tmp_path / "baked"))

    assert_close(random.outputs(load_model(tmp_path / "baked")), outputs(Use(RANDOM, 0.6, 0.3), Use(dora, 0.5, 0.9)))
    assert result.receipt is not None
    assert [parent.role for parent in result.receipt.parents] == ["start", "merged", "merged"]
    stray = Adapter("stray", {"unet": {"nowhere": RANDOM.parts["unet"]["mid_block.resnets.0.conv1"]}})
    with pytest.raises(KeyMismatch, match="nowhere"):
        next(baked(base, [Share(stray)], tmp_path / "other"))


def test_an_adapter_comes_out_of_the_model_it_was_baked_into(folder: Path, tmp_path: Path) -> None:
    base = model(folder, "base")
    finished(baked(base, [Share(RANDOM)], tmp_path / "baked"))
    tuned = open_model(tmp_path / "baked")
    plan = Extraction(size=Size(rank=4), conv_size=Size(rank=4), clamp=1, least=0)

    found = finished(extracted(base, tuned, "out", plan))

    assert_close(outputs(Use(found)), outputs(Use(RANDOM)), tolerance=1e-4)
    assert float(found.metadata[KEPT]) > 0.9999
    receipt = extract_receipt(base, tuned, "out", plan)
    assert [parent.identity for parent in receipt.parents] == [base.digest, tuned.digest]


def test_extraction_as_kohya_does_it(folder: Path) -> None:
    base, tuned = model(folder, "base"), model(folder, "near", 0.002, seed=7)

    found = finished(extracted(base, tuned, "out"))

    assert list(found.parts) == ["unet"]  # no weight of the text encoder differs by more than 0.01
    assert {change.rank for change in found.parts["unet"].values()} == {4}
    assert not any("resnets" in path for path in found.parts["unet"])
    for change in found.parts["unet"].values():
        most = max(change.up.abs().max(), change.down.abs().max())
        assert (change.down.abs() == most).sum() + (change.up.abs() == most).sum() > 1  # cut off at the clamp
    with pytest.raises(InvalidInput, match="do not differ"):
        finished(extracted(base, base, "none"))

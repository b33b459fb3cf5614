"""Models and adapters against their receipts: what holds, and that no change goes unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import impasto
from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import Adapter, LowRank, read_adapter, write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.cli import main
from impasto.corpus.store import RowFile, write_rows
from impasto.errors import NotFound, ReceiptMismatch
from impasto.receipt import Parent, Receipt
from impasto.rights import artefacts, receipts
from impasto.rights.report import Report
from impasto.weights.checkpoint import About
from impasto.weights.detect import open_model
from impasto.weights.load import save_file as write_model
from impasto.weights.load import save_folder
from tests.rights.models import finished
from tests.weights import tiny

UNET = Path("unet", "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "model")
    return tmp_path / "model"


def about(report: Report, state: str) -> set[str]:
    return {finding.about for finding in report.findings if finding.state == state}


def test_all_holds(original: Path) -> None:
    digest = open_model(original).digest
    report = artefacts.verify(original, expected=digest)
    assert report.state == "holds"
    assert about(report, "holds") == {"weights", "parent", "identity", "credits", "corpus"}
    assert ("digest", digest) in report.says
    receipts.check(open_model(original), original)


def test_nobody_is_believed_without_a_digest(original: Path) -> None:
    report = artefacts.verify(original)
    assert about(report, "unknown") == {"identity"}
    assert about(artefacts.verify(original, expected="sha256:" + "0" * 64), "changed") == {"identity"}


def a_number(model: Path, folder: str = "unet", dtype: torch.dtype | None = None) -> None:
    path = next((model / folder).glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].to(dtype) if dtype else tensors[name] + 1e-3
    save_file(tensors, path)


def in_json(model: Path, file: str, **changes: object) -> None:
    data = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**data, **changes}))


def receipt_changed(model: Path, **changes: object) -> None:
    in_json(model, "receipt.json", **changes)


def in_corpus(model: Path, what: str) -> None:
    folder = model / "corpus"
    if what == "root":
        in_json(folder, "corpus.json", root="sha256:" + "1" * 64)
    if what == "damaged":
        (folder / "corpus.json").write_text("{")
    if what == "rows":
        first, *others = list(RowFile(folder / "rows.parquet"))
        changed = first.model_copy(update={"maker": first.maker.model_copy(update={"name": "Eve"})})
        write_rows(folder / "rows.parquet", [changed, *others])


OTHER = "sha256:" + "9" * 64
CHANGES: dict[str, tuple[Callable[[Path], None], set[str], bool]] = {
    # what is changed -> (how, what is said to be changed, whether it is refused at load)
    "unet": (lambda m: a_number(m), {"weights"}, True),
    "text encoder": (lambda m: a_number(m, "text_encoder"), {"weights"}, True),
    "vae": (lambda m: a_number(m, "vae"), {"weights"}, True),
    "a dtype": (lambda m: a_number(m, dtype=torch.float64), {"weights"}, True),
    "what it predicts": (
        lambda m: in_json(m, "scheduler/scheduler_config.json", prediction_type="v_prediction"),
        {"configuration"},
        True,
    ),
    "a merge of the tokenizer": (
        lambda m: (m / "tokenizer/merges.txt").write_text(
            "\n".join([*(m / "tokenizer/merges.txt").read_text().splitlines()[:-1], "q z"])
        ),
        {"configuration", "file"},
        True,
    ),
    "the receipt's identity": (lambda m: receipt_changed(m, identity=OTHER), {"configuration"}, True),
    "a component in the receipt": (
        lambda m: receipt_changed(m, components={"unet": OTHER}),
        {"weights", "parent"},
        True,
    ),
    "a component more": (
        lambda m: receipt_changed(m, components={**_components(m), "captioner": OTHER}),
        {"weights"},
        True,
    ),
    "the parents": (
        lambda m: receipt_changed(m, parents=[Parent(name="x", identity=OTHER, role="autoencoder").plain()]),
        {"parent"},
        True,
    ),
    "a part's receipt": (lambda m: in_json(m, "vae/receipt.json", components={"vae": OTHER}), {"parent"}, True),
    "a part's receipt, damaged": (lambda m: (m / "vae/receipt.json").write_text("{}"), {"parent"}, True),
    "the corpus in the receipt": (lambda m: receipt_changed(m, corpora=_corpora(m, root=OTHER)), {"corpus"}, True),
    "the selection": (lambda m: receipt_changed(m, corpora=_corpora(m, selection=OTHER)), {"credits"}, False),
    "the corpus's root": (lambda m: in_corpus(m, "root"), {"corpus"}, True),
    "the corpus's manifest": (lambda m: in_corpus(m, "damaged"), {"corpus"}, True),
    "the rows": (lambda m: in_corpus(m, "rows"), {"corpus"}, False),
    "the makers": (
        lambda m: (m / "ATTRIBUTION").write_text((m / "ATTRIBUTION").read_text().replace("Ada", "Eve")),
        set(),
        False,
    ),
    "whose makers": (lambda m: (m / "ATTRIBUTION").write_text(f"Merkle root {OTHER}\n"), {"credits"}, False),
}


def _components(model: Path) -> dict[str, str]:
    return dict(json.loads((model / "receipt.json").read_text())["components"])


def _corpora(model: Path, **changes: str) -> list[dict[str, object]]:
    (use,) = json.loads((model / "receipt.json").read_text())["corpora"]
    return [{**use, **changes}]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(original: Path, model: Path, change: str) -> None:
    alter, wrong, refused = CHANGES[change]
    known = open_model(original).digest
    alter(model)
    report = artefacts.verify(model, expected=known)
    assert report.state != "holds"
    assert about(report, "changed") - {"identity"} <= (wrong or set())
    assert bool(about(report, "changed") & wrong) == bool(wrong)
    if change == "the makers":
        assert about(report, "unknown") == {"credits"}
    if refused and "file" not in wrong:
        with pytest.raises(ReceiptMismatch, match="not what its receipt says"):
            receipts.check(open_model(model), model)
    elif not refused:
        receipts.check(open_model(model), model)


def test_all_that_is_missing_is_not_known(model: Path) -> None:
    for name in ("ATTRIBUTION", "vae/receipt.json"):
        (model / name).unlink()
    shutil.rmtree(model / "corpus")
    assert about(artefacts.verify(model), "unknown") == {"identity", "credits", "corpus"}
    receipt_changed(model, corpora=[])
    assert about(artefacts.verify(model), "unknown") == {"identity", "corpus"}
    (model / "receipt.json").unlink()
    report = artefacts.verify(model)
    assert about(report, "unknown") == {"identity", "receipt"}
    assert report.state == "unknown"
    receipts.check(open_model(model), model)  # without a receipt there is nothing to compare


def test_a_corpus_from_elsewhere(model: Path) -> None:
    (model / "corpus").rename(model.parent / "works")
    assert "corpus" in about(artefacts.verify(model), "unknown")
    assert "corpus" in about(artefacts.verify(model, model.parent / "works"), "holds")


def adapter(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    change = LowRank(torch.randn(2, 8, generator=generator), torch.randn(8, 2, generator=generator), 2.0)
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    made = Adapter("style", {"unet": {layer: change}})
    parent = Parent(name="tiny", identity=OTHER, role="base")
    receipt = Receipt(kind="adapter", name="style", parents=(parent,), code="impasto 0")
    write_adapter(described(made, tiny.stable_diffusion().spec, receipt=receipt), folder / "style.safetensors", "kohya")
    return folder / "style.safetensors"


def test_an_adapter(tmp_path: Path) -> None:
    path = adapter(tmp_path)
    report = artefacts.verify(path, expected=read_adapter(path).digest)
    assert report.state == "holds"
    assert ("made from", f"tiny (base, {OTHER})") in report.says
    assert about(artefacts.verify(path), "unknown") == {"identity"}
    tensors, metadata = load_file(path), dict(read_adapter(path).metadata)
    tensors["lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight"][0, 0] += 1
    save_file(tensors, path, metadata)
    assert about(artefacts.verify(path), "changed") == {"weights"}
    save_file(tensors, path)
    assert about(artefacts.verify(path), "unknown") == {"identity", "receipt"}


def test_an_embedding(tmp_path: Path) -> None:
    receipt = Receipt(kind="embedding", name="word", code="impasto 0")
    word = Embedding("word", torch.randn(2, 768))
    write_embedding(
        described_embedding(word, tiny.stable_diffusion().spec, receipt=receipt), tmp_path / "word.safetensors"
    )
    assert artefacts.verify(tmp_path / "word.safetensors", expected=word.digest).state == "holds"


def test_what_is_damaged_or_nothing(tmp_path: Path, model: Path) -> None:
    (model / UNET).write_bytes(b"x")
    assert artefacts.verify(model).state == "changed"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no model, adapter or embedding"):
        artefacts.verify(tmp_path / "empty")


def test_the_command(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(original)]) == 3
    digest = open_model(original).digest
    assert digest in capsys.readouterr().out
    assert main(["verify", str(original), "--expect", digest]) == 0
    assert "All 4 rows of the corpus" in capsys.readouterr().out
    assert main(["verify", str(adapter(tmp_path))]) == 3
    assert main(["verify", "no-such-model"]) == 2
    assert "Unknown model" in capsys.readouterr().err


def test_a_changed_model_is_not_loaded_unless_one_insists(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impasto.load(model)
    a_number(model)
    with pytest.raises(ReceiptMismatch, match=r"weights of the unet.*\n.*--unverified"):
        impasto.load(model)
    changed = impasto.load(model, verify=False)
    assert changed.digest != json.loads((model / "receipt.json").read_text())["identity"]
    assert main(["generate", "fox", "--model", str(model), "-o", str(tmp_path / "fox.png")]) == 1
    assert "--unverified" in capsys.readouterr().err
    assert not (tmp_path / "fox.png").exists()


def test_a_changed_adapter_is_not_used_unless_one_insists(model: Path, tmp_path: Path) -> None:
    path = adapter(tmp_path)
    loaded = impasto.load(model, adapters=[path])
    recipe = loaded.recipe("fox", adapters=[{"name": "style", "identity": read_adapter(path).digest}])
    assert [receipt.name for receipt in receipts.of(loaded, recipe)] == ["tiny", "style"]
    tensors, metadata = load_file(path), dict(read_adapter(path).metadata)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, path, metadata)
    with pytest.raises(ReceiptMismatch, match="The receipt of style is of"):
        impasto.load(model, adapters=[path]).library.adapter("style")
    assert impasto.load(model, adapters=[path], verify=False).library.adapter("style")


def test_what_a_picture_was_made_with_has_its_receipts_in_the_credential(model: Path, tmp_path: Path) -> None:
    path = adapter(tmp_path)
    first = impasto.load(model, adapters=[path])
    second = impasto.load(other_model(tmp_path / "second"))
    both = first.followed_by(second)
    hires = {"width": 128, "height": 128, "model": {"name": "second", "identity": second.digest}}
    style = [{"name": "style", "weight": 0.5}]
    recipe = both.recipe("fox", adapters=style, hires=hires)
    assert [receipt.name for receipt in receipts.of(both, recipe)] == ["tiny", "second", "style"]
    calling = first.recipe("fox", hires={"width": 128, "height": 128, "prompt": "a large fox <lora:style:1>"})
    assert [receipt.name for receipt in receipts.of(first, calling)] == ["tiny", "style"]
    a_number(model)
    changed = impasto.load(model, verify=False)
    assert receipts.of(changed, changed.recipe("fox")) == []  # its receipt is of what it was


def other_model(folder: Path) -> Path:
    save_folder(
        folder, tiny.networks(), About(name="second"), receipt=Receipt(kind="base", name="second", code="impasto 0")
    )
    return folder


def test_a_model_in_one_file(tmp_path: Path) -> None:
    receipt = Receipt(kind="base", name="one", code="impasto 0")
    path = tmp_path / "one.safetensors"
    digest = write_model(path, tiny.stable_diffusion(), About(name="one"), receipt=receipt)
    report = artefacts.verify(path, expected=digest)
    assert about(report, "holds") == {"weights", "identity"}
    assert about(report, "unknown") == {"corpus"}
    receipts.check(open_model(path), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("model.diffusion_model") and name.endswith("weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, path, metadata)
    assert about(artefacts.verify(path, expected=digest), "changed") == {"weights", "identity"}
    with pytest.raises(ReceiptMismatch, match="weights of the unet"):
        impasto.load(path)

"""Where things come from: pictures, models and adapters back to the makers, and from a corpus forward to all of it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image

import impasto
from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.cli import main
from impasto.cli.generate import sign
from impasto.corpus import revoked
from impasto.corpus.store import Corpus
from impasto.errors import InvalidInput, NotFound, ReceiptMismatch
from impasto.pictures import metadata
from impasto.receipt import Parent, Receipt
from impasto.recipe import AdapterUse, FromPicture, Recipe
from impasto.rights import artefacts, behind, credentials, credit, drawing, identity, verify
from impasto.rights.lineage import Edge, Known, Lineage, Node, affected, of, way
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.convert import convert
from impasto.weights.detect import Choices
from impasto.weights.load import save_folder
from tests.rights.models import finished
from tests.rights.test_artefacts import OTHER, adapter
from tests.weights import tiny

SHIPPED = artefacts.PACKAGED
pytestmark = pytest.mark.usefixtures("without_packaged")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an adapter for it, and a model that was merged from it and from one that is not here."""
    folder = tmp_path_factory.mktemp("here")
    digest = artefacts.read(finished(folder / "tiny")).digest
    parents = (Parent(name="tiny", identity=digest, role="merged"), Parent(name="away", identity=OTHER, role="merged"))
    receipt = Receipt(kind="merge", name="both", parents=parents, code="impasto 0")
    save_folder(folder / "both", tiny.networks(width=2), About(name="both"), receipt=receipt)
    adapter(folder)
    return folder


@pytest.fixture
def known(here: Path) -> Known:
    return Known(folders=[here])


def picture(folder: Path, here: Path, model: str = "both", **changes: object) -> tuple[Path, Recipe]:
    use = AdapterUse(name="style", identity=read_adapter(here / "style.safetensors").digest, weight=0.5)
    model_digest = artefacts.read(here / model).digest
    fields = {"prompt": "fox", "seed": 1, "sampler": "euler", "schedule": "normal", "steps": 2, "guidance": 2}
    size = {"width": 64, "height": 64, "adapters": [use.plain()], **changes}
    recipe = Recipe.model_validate({**fields, **size, "model_name": model, "model_digest": model_digest})
    metadata.save(Image.new("RGB", (64, 64)), folder / "fox.png", recipe)
    return folder / "fox.png", recipe


def roles(lineage: Lineage) -> set[tuple[str, str, str]]:
    return {(lineage.nodes[e.made].name, e.role, lineage.nodes[e.source].name) for e in lineage.edges}


def test_a_picture_back_to_the_makers(here: Path, known: Known, tmp_path: Path) -> None:
    path, _ = picture(tmp_path, here, start=FromPicture(image=OTHER[:-1] + "8", strength=0.5).plain())
    lineage = of(path, known)
    assert roles(lineage) == {
        ("fox.png", "made by", "both"),
        ("fox.png", "with weight 0.5", "style"),
        ("fox.png", "began with", "a picture"),
        ("style", "base", "away"),
        ("both", "has", "text encoder"),
        ("both", "has", "vae"),
        ("both", "merged", "tiny"),
        ("both", "merged", "away"),
        ("tiny", "has", "text encoder"),
        ("tiny", "autoencoder", "tiny-vae"),
        ("tiny", "learned from 3 rows of", "works"),
        ("tiny-vae", "learned from 3 rows of", "works"),
    }
    (corpus,) = [node for node in lineage.nodes.values() if node.kind == "corpus"]
    assert corpus.facts == (
        "works by: Ada 2, Bo 1",
        "their licences: MIT 2, CC-BY-4.0 1",
        "by right of: licence 3",
    )
    assert {node.name for node in lineage.nodes.values() if not node.here} == {"away", "a picture"}


def test_without_the_rows_the_credits_tell(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "tiny", tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "corpus")
    lineage = of(tmp_path / "tiny", Known())
    (corpus,) = [node for node in lineage.nodes.values() if node.kind == "corpus"]
    assert not corpus.here
    assert corpus.facts[:2] == ("works by: Ada 2, Bo 1", "their licences: MIT 2, CC-BY-4.0 1")
    again = of(tmp_path / "tiny", Known([here / "tiny" / "corpus"]))
    assert [node.name for node in again.nodes.values() if node.kind == "corpus"] == ["works"]


def test_what_is_not_here_is_named(here: Path, tmp_path: Path) -> None:
    path, recipe = picture(tmp_path, here)
    lineage = of(path, Known())
    assert roles(lineage) == {("fox.png", "made by", "both"), ("fox.png", "with weight 0.5", "style")}
    assert not lineage.nodes[recipe.model_digest].here
    assert "both (model sha256:" in drawing.text(lineage)
    assert "not here" in drawing.text(lineage)


def test_what_made_the_second_pass_is_named(here: Path, known: Known, tmp_path: Path) -> None:
    second = {"name": "tiny", "identity": artefacts.read(here / "tiny").digest}
    path, _ = picture(tmp_path, here, hires={"width": 128, "height": 128, "model": second})
    assert {("fox.png", "made by", "both"), ("fox.png", "second pass by", "tiny")} <= roles(of(path, known))


def test_credentials_tell_the_corpus_where_the_model_is_not_here(here: Path, tmp_path: Path) -> None:
    path, recipe = picture(tmp_path, here, model="tiny")
    receipt = artefacts.read(here / "tiny").receipt
    assert receipt
    credentials.sign(path, credentials.Made(Image.new("RGB", (64, 64)), recipe, [receipt]), identity.make())
    (node,) = [node for node in of(path, Known()).nodes.values() if node.kind == "corpus"]
    assert node.key == receipt.corpora[0].root
    assert "as the credentials say" in drawing.text(of(path, Known()))


def test_pictures_that_tell_less(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text(
        "parameters", "fox\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64, Model hash: abc123, Model: dream"
    )
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=texts)
    assert roles(of(tmp_path / "a.png", Known())) == {("a.png", "made by", "dream")}
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    assert of(tmp_path / "b.png", Known()).edges == []
    with pytest.raises(NotFound):
        of(tmp_path / "nowhere.png", Known())


def test_what_is_affected(here: Path, known: Known) -> None:
    root = json.loads((here / "tiny" / "corpus" / "corpus.json").read_text())["root"]
    assert {one.name for one, _ in affected(root, known)} == {"tiny", "both"}
    by_name = {one.name: way for one, way in affected(root, known)}
    assert [edge.role for edge in by_name["both"]] == ["merged", "learned from 3 rows of"]
    assert {one.name for one, _ in affected(OTHER, known)} == {"both", "style"}
    assert affected("sha256:" + "5" * 64, known) == []
    with pytest.raises(InvalidInput, match="no digest"):
        affected("works", known)


def test_what_revoked_rows_affect(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = Corpus.open(shutil.copytree(here / "tiny" / "corpus", tmp_path / "corpus"))
    assert main(["lineage", "--affected", str(corpus.folder)]) != 0
    assert "Nothing is revoked" in capsys.readouterr().err
    revoked.mark(corpus, corpus.rows[:1], ("row", corpus.rows[0].key), "asked", "a letter")
    assert main(["lineage", "--affected", str(corpus.folder), "--folder", str(here)]) == 0
    said = capsys.readouterr().out
    assert "model tiny sha256:" in said
    assert "model both sha256:" in said


def test_what_is_affected_is_found_however_deep_it_lies(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In folders in folders, as a folder of PEFT, as a pickled embedding, and beside a model's own parts."""
    model = Path(shutil.copytree(here / "tiny", tmp_path / "a" / "b" / "tiny"))
    use = Receipt.parse(json.loads((model / "receipt.json").read_text()), "receipt").corpora[0]

    def receipt(kind: Literal["adapter", "embedding"], name: str) -> Receipt:
        return Receipt(kind=kind, name=name, corpora=(use,), code="impasto 0")

    spec = tiny.networks().spec
    for name, layout, place in (("peft", "peft", "c/peft"), ("kohya", "kohya", "a/b/tiny/loras/kohya.safetensors")):
        made = replace(read_adapter(here / "style.safetensors"), name=name)
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write_adapter(described(made, spec, receipt=receipt("adapter", name)), tmp_path / place, layout)
    for name in ("ink.pt", "a/b/tiny/wash.safetensors"):
        word = Embedding(Path(name).stem, torch.ones(1, 32))
        told = described_embedding(word, spec, receipt=receipt("embedding", word.name))
        write_embedding(told, tmp_path / name, "pt" if name.endswith(".pt") else "emb_params")
    assert main(["lineage", "--affected", use.root, "--in", str(tmp_path), "--json"]) == 0
    found = {(one["kind"], one["name"]) for one in json.loads(capsys.readouterr().out)}
    adapters = {("adapter", "peft"), ("adapter", "kohya")}
    assert found == {("model", "tiny"), ("embedding", "ink"), ("embedding", "wash"), *adapters}
    assert main(["lineage", "--affected", use.root, "--in", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def circle() -> Lineage:
    lineage = Lineage("a")
    for key, made in (("a", None), ("b", "a"), ("c", "b"), ("a", "c")):
        lineage.add(Node(key, "model", f"<{key}> \x1b[2J & \x00 more", ("a fact " * 40,), here=True), made, "merged")
    return lineage


def test_receipts_that_go_in_a_circle_end() -> None:
    assert way(circle(), "c") == [Edge("a", "merged", "b"), Edge("b", "merged", "c")]
    assert way(circle(), "nowhere") == []
    text = drawing.text(circle())
    assert text.count("merged") == 3
    assert "\x1b" not in text


@pytest.mark.parametrize("which", ["circle", "picture"])
def test_the_drawing_is_xml_and_shows_everything(here: Path, known: Known, tmp_path: Path, which: str) -> None:
    lineage = circle() if which == "circle" else of(picture(tmp_path, here)[0], known)
    root = ET.fromstring(drawing.svg(lineage))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}g")) == len(lineage.nodes)
    assert len(root.findall(f"{space}path")) == len(lineage.edges)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [box.attrib for box in root.iter(f"{space}rect") if "rx" in box.attrib]
    places = [tuple(float(box[key]) for key in ("x", "y", "width", "height")) for box in boxes]
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in places)
    for number, (x, y, w, h) in enumerate(places):
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in places[number + 1 :])


def test_the_command(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = picture(tmp_path, here)
    words = ["lineage", str(path), "--folder", str(here)]
    assert main([*words, "--svg", str(tmp_path / "graph.svg")]) == 0
    assert "└─ learned from 3 rows of: works (corpus sha256:" in capsys.readouterr().out
    assert (tmp_path / "graph.svg").read_text().startswith("<svg")
    assert main([*words, "--json"]) == 0
    assert {node["kind"] for node in json.loads(capsys.readouterr().out)["nodes"]} >= {
        "picture",
        "model",
        "adapter",
        "corpus",
    }
    assert main(["lineage", "--affected", OTHER, "--folder", str(here)]) == 0
    assert "model both sha256:" in capsys.readouterr().out
    assert main(["lineage", "--affected", OTHER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["lineage"]) == 2
    assert main([*words, "--svg", str(tmp_path / "graph.png")]) == 2


VAE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def assembled(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed picture of the model with an autoencoder that is not its own."""
    folder = tmp_path_factory.mktemp("assembled")
    shutil.copytree(here / "tiny" / "vae", folder / "soft")  # with a receipt that is of another one
    vae = {name: tensor * 0.5 for name, tensor in tiny.networks().vae.state_dict().items()}
    files.save(folder / "soft" / VAE, vae)
    model = impasto.load(here / "tiny", vae=folder / "soft")
    (picture,) = model.generate("fox", seed=1, steps=1)
    picture.save(folder / "fox.png")
    sign(folder / "fox.png", picture, model)
    return folder / "fox.png"


def test_a_picture_of_what_was_put_together_when_it_was_loaded(assembled: Path, known: Known) -> None:
    assert {
        ("fox.png", "made by", "tiny"),
        ("tiny", "model", "tiny"),
        ("tiny", "autoencoder", "soft"),
        ("tiny", "learned from 3 rows of", "works"),
    } <= roles(of(assembled, known))


def test_verify_tells_of_both_that_were_put_together(here: Path, assembled: Path, known: Known) -> None:
    model = artefacts.read(here / "tiny")
    report = behind.added(verify.picture(assembled, identity.own().root), assembled, known)
    assert report.state == "holds"
    assert "The receipt of tiny, which is here, is the one that was signed." in [f.text for f in report.findings]
    vae = files.load(assembled.with_name("soft") / VAE)
    assert {
        ("put together from", f"tiny (model, {model.digest})"),
        ("put together from", f"soft (autoencoder, {files.tensors_digest(vae)})"),
        ("tiny is under", "Apache-2.0"),
    } <= set(report.says)


def test_its_own_receipt_is_looked_at_whatever_autoencoder_it_gets(here: Path, assembled: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    unet = files.load(path)
    files.save(path, {name: unet[name] * 2 for name in unet})
    with pytest.raises(ReceiptMismatch, match="unet"):
        impasto.load(tmp_path / "tiny", vae=assembled.with_name("soft"))


def test_what_was_put_together_for_good(here: Path, assembled: Path, known: Known, tmp_path: Path) -> None:
    vae = Choices(vae=assembled.with_name("soft"))
    convert(here / "tiny", tmp_path / "soft", "diffusers", choices=vae)
    assert {
        ("tiny", "model", "tiny"),
        ("tiny", "autoencoder", "soft"),
    } <= roles(of(tmp_path / "soft", known))
    report = artefacts.verify(tmp_path / "soft")
    assert not report.of("changed")
    assert ("licence", "not said") in report.says  # of the autoencoder's nothing is known


def test_the_documentation_names_the_makers_of_the_model_that_comes_along() -> None:
    shipped = Path(SHIPPED, "glyph", artefacts.CREDIT)
    if not shipped.is_file():
        pytest.skip("Glyph is not in this installation.")
    page = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text("utf-8")
    told = [f"{what}: {value}" for what, value in credit.of_text(shipped.read_text("utf-8"))]
    assert len(told) == 2
    assert [line for line in told if page.count(line) != 2] == []  # of the picture, and of the tree

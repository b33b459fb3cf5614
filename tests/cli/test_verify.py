"""From `impasto generate` to `impasto verify`: what comes out of the one holds in the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import impasto
from impasto.cli import main
from impasto.rights import credentials, identity
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.rights.models import finished
from tests.weights import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))


def generate(model: Path, *words: str) -> int:
    return main(["generate", "secret fox", "--model", str(model), "--seed", "1", "--size", "32", *words])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_what_is_made_is_signed_and_holds(model: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-o", name) == 0
    capsys.readouterr()
    assert main(["verify", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    says = [(one["what"], one["value"]) for one in told["says"]]
    assert ("is", "made by a trained model") in says
    assert ("model", f"tiny ({impasto.load(model).digest})") in says
    receipt = json.loads((model / "receipt.json").read_text())
    assert ("learned from", f"a corpus with root {receipt['corpora'][0]['root']}") in says
    found = credentials.read(Path(name))
    assert found
    assert found.generation
    assert found.generation.receipts == (credentials.bytes_digest((model / "receipt.json").read_bytes().strip()),)


def test_a_stranger_learns_terms_and_makers_where_the_model_is_here(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one command, and no network: what made it, from what, by whom, under which terms."""
    assert generate(model, "-o", "a.png") == 0
    capsys.readouterr()
    assert main(["verify", "a.png"]) == 0
    assert "tiny: is not here, so that its terms and makers are not known" in capsys.readouterr().out
    assert main(["verify", "a.png", "--in", str(model.parent)]) == 0
    out = capsys.readouterr().out
    for line in (
        "The receipt of tiny, which is here, is the one that was signed.",
        "tiny is under: Apache-2.0",
        "tiny was made from: tiny-vae (autoencoder)",
        "works by: Ada 2, Bo 1",
        "their licences: MIT 2, CC-BY-4.0 1",
    ):
        assert line in out
    receipt = json.loads((model / "receipt.json").read_text())
    other = shutil.copytree(model, tmp_path / "other")
    (other / "receipt.json").write_text(json.dumps({**receipt, "licence": "MIT"}))
    assert main(["verify", "a.png", "--in", str(other)]) == 3
    assert "tiny is here with another receipt than was signed." in capsys.readouterr().out


def test_a_model_folder_names_its_makers(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model)]) == 3
    out = capsys.readouterr().out
    assert "works by: Ada 2, Bo 1" in out
    assert "licence: Apache-2.0" in out


def test_an_edit_names_the_picture_it_was_made_from(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-o", "a.png") == 0
    assert generate(model, "-o", "b.png", "--image", "a.png", "--strength", "0.6") == 0
    capsys.readouterr()
    assert main(["verify", "b.png"]) == 0
    out = capsys.readouterr().out
    assert "is: an earlier picture, changed with a trained model" in out
    assert "made from: source, with credentials of its own" in out
    assert "The credentials of the pictures it was made from held" in out


def test_sheets_are_signed_without_a_name(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-n", "2", "-o", "a.png") == 0
    assert main(["grid", "fox", "--model", str(model), "--x", "steps=1,2", "-o", "grid.png", "--separate"]) == 0
    for name in ("a-sheet.png", "grid.png"):
        capsys.readouterr()
        assert main(["verify", name]) == 3
        out = capsys.readouterr().out
        assert "Every pixel is as it was made." in out
        assert "Impasto, once" in out
    assert main(["verify", str(next(path for path in Path().glob("grid-*.png")))]) == 0


@pytest.mark.parametrize("telling", ["private", "none"])
def test_what_is_kept_back_stays_so(model: Path, telling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-o", "a.png", "--metadata", telling) == 0
    assert b"secret" not in Path("a.png").read_bytes()
    capsys.readouterr()
    assert main(["verify", "a.png"]) == {"private": 0, "none": 3}[telling]
    out = capsys.readouterr().out
    assert "made by a trained model" in out
    assert "sha256:" not in out
    if telling == "private":
        assert main(["verify", "a.png", "--recipe", "a.recipe.json"]) == 0
        assert "The recipe that was kept is the one that was sealed." in capsys.readouterr().out


def test_unsigned_on_request(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-o", "a.png", "--no-credentials") == 0
    assert credentials.read(Path("a.png")) is None
    assert not identity.place().exists()
    assert main(["verify", "a.png"]) == 3
    assert "no credentials" in capsys.readouterr().out


def test_a_model_that_is_not_its_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = finished(tmp_path / "changed")
    receipt = (changed / "receipt.json").read_text()
    save_folder(changed, tiny.networks(width=2), About(name="tiny", settings=Settings(steps=2)))
    (changed / "receipt.json").write_text(receipt)
    assert generate(changed, "-o", "a.png") == 1
    assert "not what its receipt says" in capsys.readouterr().err
    assert generate(changed, "-o", "a.png", "--unverified") == 0
    assert main(["verify", "a.png"]) == 0


def test_another_persons_picture(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger has the picture, and the certificate that its maker shows on their own page."""
    assert generate(model, "-o", "a.png") == 0
    capsys.readouterr()
    assert main(["identity", "show", "--pem"]) == 0
    Path("maker.pem").write_text(capsys.readouterr().out)
    assert "PRIVATE" not in Path("maker.pem").read_text()
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "stranger"))
    assert main(["verify", "a.png"]) == 3
    assert main(["verify", "a.png", "--trust", "maker.pem"]) == 0
    with Image.open("a.png") as image:
        image.save("stripped.png")
    assert main(["verify", "stripped.png", "--trust", "maker.pem"]) == 3


def test_an_identity_of_ones_own(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(model, "-o", "a.png") == 0
    assert main(["identity", "make", "--name", "Ada Lovelace"]) == 0
    assert "Ada Lovelace" in capsys.readouterr().out
    assert generate(model, "-o", "b.png") == 0
    for name in ("a.png", "b.png"):
        assert main(["verify", name]) == 0
    folder = identity.place()
    assert main(["identity", "import", str(folder / "certificates.pem"), str(folder / "key.pem")]) == 2
    assert "do not lead to a root" in capsys.readouterr().err
    Path("chain.pem").write_text((folder / "certificates.pem").read_text() + (folder / "root.pem").read_text())
    assert main(["identity", "import", "chain.pem", str(folder / "key.pem")]) == 0
    assert main(["verify", "b.png"]) == 0
    assert main(["identity", "show"]) == 0
    assert "Ada Lovelace" in capsys.readouterr().out

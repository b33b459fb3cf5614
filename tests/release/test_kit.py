"""A release: what is in it, that standards' own tools accept it, and what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import yaml

from impasto.corpus.record import Licence
from impasto.errors import InvalidInput, ReceiptMismatch
from impasto.release import bom, check
from impasto.release.subject import Choices, gather
from impasto.rights import identity
from impasto.rights.identity import Identity
from impasto.schema import file_digest
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.detect import open_model
from impasto.weights.load import save_folder
from tests.release.conftest import DAY, FIGURES
from tests.rights import models
from tests.weights import tiny

RAIL = "CreativeML Open RAIL-M\n\nAttachment A\n\nUse Restrictions\n\nYou agree not to do harm.\n"


def test_it_is_the_same_model(released: Path, model: Path, maker: Identity) -> None:
    assert open_model(released).digest == open_model(model).digest
    report = check.verify(released, maker.root)
    assert report.state == "holds", report
    assert check.verify(released).of("unknown")[0].about == "signer"


def test_the_headers_of_its_weights(released: Path) -> None:
    for path in released.rglob("*.safetensors"):
        with safetensors.safe_open(path, "pt") as file:
            said = file.metadata()
        assert said["modelspec.sai_model_spec"] == "1.0.1"
        assert said["modelspec.license"] == "Apache-2.0"
        assert said["modelspec.hash_sha256"] == f"0x{files.data_sha256(files.load(path))}"


def test_the_card_has_the_figures_of_the_benchmark_and_no_others(released: Path) -> None:
    text = (released / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["pipeline_tag"] == "text-to-image"
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert rows == [
        "| the asked thing is there | 0.812 | 0.700 to 0.900 | 64 |",
        "| sharp \\| clear | 31.250 dB | 30.500 to 32.000 | 16 |",
    ]


def test_figures_of_another_model_or_of_a_quick_run_are_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content, words in [
        ({"model_digest": "sha256:00", "figures": FIGURES}, "is about the model sha256:00"),
        ({"model_digest": open_model(model).digest, "quick": True}, "quick run"),
    ]:
        path.write_text(json.dumps(content))
        with pytest.raises(InvalidInput, match=words):
            gather(model, Choices(DAY, "Ada", results=(path,)))


def test_the_bill_of_materials_follows_its_schema(released: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (released / "bom.cdx.json").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the schema library
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        wrong = text.replace('"machine-learning-model"', '"a model"')
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong) is not None
    bill = json.loads(text)
    weights = {one["name"]: one["hashes"][0]["content"] for one in bill["components"] if one["type"] == "file"}
    assert weights == {
        path.relative_to(released).as_posix(): file_digest(path)[7:] for path in released.rglob("*.safetensors")
    }
    metrics = bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [metric["value"] for metric in metrics] == ["0.8125", "31.25"]
    assert bill["metadata"]["component"]["pedigree"]["ancestors"][0]["name"] == "tiny-vae"


def test_croissant_names_the_rows_that_are_there(released: Path) -> None:
    import pyarrow.parquet

    said = json.loads((released / "croissant.json").read_text())
    assert said["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    (file,) = said["distribution"]
    assert file["sha256"] == file_digest(released / file["contentUrl"])[7:]
    there = set(pyarrow.parquet.ParquetFile(released / file["contentUrl"]).schema_arrow.names)
    named = {field["source"]["extract"]["column"] for field in said["recordSet"][0]["field"]}
    assert named < there
    assert {"maker", "licence", "consent", "caption"} < named
    assert said["license"] == ["MIT", "CC-BY-4.0"]
    assert said["rai:dataReleaseMaintenancePlan"] == "ada@example.org"


def test_mlcroissant_reads_the_rows(released: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The reference implementation takes the file without an error or a warning, and gives the rows of the corpus."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it is made of
        mlcroissant = pytest.importorskip("mlcroissant")
        read = mlcroissant.Dataset(str(released / "croissant.json"))
        records = list(read.records("works"))
    assert read.metadata.issues.errors == set()
    assert read.metadata.issues.warnings == set()
    assert [message for message in caplog.messages if "WARNING" in message or "@context" in message] == []
    assert sorted(record["works/maker"].decode() for record in records) == ["Ada", "Ada", "Bo", "Bo"]
    assert {record["works/licence"].decode() for record in records} == {"MIT", "CC-BY-4.0"}


def test_what_mlcroissant_does_not_take_is_seen(released: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlcroissant = pytest.importorskip("mlcroissant")
        said = json.loads((released / "croissant.json").read_text())
        said["recordSet"][0]["field"][0]["source"]["fileObject"] = {"@id": "nothing"}
        (tmp_path / "croissant.json").write_text(json.dumps(said))
        with pytest.raises(mlcroissant.ValidationError):
            mlcroissant.Dataset(str(tmp_path / "croissant.json"))


def test_what_it_learned_from_for_people(released: Path) -> None:
    datasheet = (released / "DATASHEET.md").read_text()
    assert "| MIT | 2 | 66.7% |" in datasheet
    summary = (released / "TRAINING_SUMMARY.md").read_text()
    assert "- 2.1 Publicly available collections: 3 images\n  - noto p@1: 3" in summary
    assert "less than 1 million images" in summary
    assert "Bo: 1 works from noto; licence CC-BY-4.0" in (released / "ATTRIBUTION").read_text()


def test_the_same_release_again_is_the_same_but_for_the_signature(
    make: Callable[..., Path], released: Path, results: Path, tmp_path: Path
) -> None:
    again = make(tmp_path / "again", results=(results,), contact="ada@example.org")
    names = [path.relative_to(released) for path in released.rglob("*") if path.is_file() and path.name != "model.sig"]
    assert [name for name in names if (again / name).read_bytes() != (released / name).read_bytes()] == []


def test_licences_that_forbid_it(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"must not be released under CC0-1.0:\n.*its makers have to be named"):
        make(tmp_path / "out", licence="CC0-1.0")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_unknown_origin_needs_an_answer(make: Callable[..., Path], tmp_path: Path, maker: Identity) -> None:
    save_folder(tmp_path / "found", tiny.networks(), About(name="found"))
    with pytest.raises(InvalidInput, match="Under which licence"):
        make(tmp_path / "out", path=tmp_path / "found")
    with pytest.raises(InvalidInput, match=r"found \(base, NOASSERTION\): no licence is said"):
        make(tmp_path / "out", path=tmp_path / "found", licence="Apache-2.0")
    out = make(tmp_path / "out", path=tmp_path / "found", licence="Apache-2.0", answer="I | made it <b>myself")
    assert "Answer: I \\| made it &lt;b>myself" in (out / "README.md").read_text()
    report = check.verify(out, maker.root)
    assert report.state == "unknown"
    assert "I | made it <b>myself" in next(one for one in report.findings if one.about == "licence").text
    assert "Undeclared" in (out / "DATASHEET.md").read_text()


def test_works_under_the_ofl_are_asked_about_and_the_answer_stands_in_the_release(
    make: Callable[..., Path], tmp_path: Path, maker: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a model is a version of a font that it learned from is contested: its maker has to answer for it."""
    plain = models.row

    def ofl(**fields: object) -> object:
        fonts = Licence(spdx="OFL-1.1", evidence="p@1")
        return plain(**{**fields, **({"licence": fonts} if fields["maker"].name == "Bo" else {})})  # type: ignore[attr-defined]

    monkeypatch.setattr(models, "row", ofl)
    monkeypatch.setattr(models, "POLICY", models.POLICY.replace("licences = [", 'licences = ["OFL-1.1", '))
    path = models.finished(tmp_path / "fonts")
    with pytest.raises(
        InvalidInput, match=r"is not known:\n  works: 1 works \(corpus, OFL-1.1\): .*contested(?s:.*)--answer"
    ):
        make(tmp_path / "out", path=path)
    answer = "No outline of a font is in the weights; the makers were told."
    out = make(tmp_path / "out", path=path, answer=answer)
    report = check.verify(out, maker.root)
    assert report.state == "unknown"
    assert answer in next(one for one in report.findings if one.about == "licence").text
    assert f"Answer: {answer}" in (out / "README.md").read_text()
    assert "licence OFL-1.1" in (out / "ATTRIBUTION").read_text()


def test_use_restrictions_are_carried(make: Callable[..., Path], tmp_path: Path) -> None:
    save_folder(tmp_path / "sd", tiny.networks(), About(name="sd"))
    choices = {"path": tmp_path / "sd", "stated": {"sd": "creativeml-openrail-m"}, "licence": "CreativeML-OpenRAIL-M"}
    with pytest.raises(InvalidInput, match="is not here"):
        make(tmp_path / "out", **choices)
    (tmp_path / "text").write_text("All is allowed.")
    with pytest.raises(InvalidInput, match="no Attachment A"):
        make(tmp_path / "out", **choices, licence_text=tmp_path / "text")
    (tmp_path / "text").write_text(RAIL)
    out = make(tmp_path / "out", **choices, licence_text=tmp_path / "text")
    assert "You agree not to do harm." in (out / "USE_POLICY.md").read_text()
    assert yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["license"] == "creativeml-openrail-m"
    with pytest.raises(InvalidInput, match="use restrictions have to be carried"):
        make(tmp_path / "out2", path=tmp_path / "sd", stated=choices["stated"], licence="Apache-2.0")


def test_a_part_that_is_not_there(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--part names ghost"):
        make(tmp_path / "out", stated={"ghost": "MIT"})


def test_a_model_that_is_not_what_its_receipt_says(model: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    receipt = json.loads((copy / "receipt.json").read_text())
    receipt["components"]["vae"] = "sha256:" + "00" * 32
    (copy / "receipt.json").write_text(json.dumps(receipt))
    with pytest.raises(ReceiptMismatch):
        gather(copy, Choices(DAY, "Ada"))


def test_a_folder_with_something_else_is_left_alone(make: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(InvalidInput, match="is no release"):
        make(tmp_path)
    assert (tmp_path / "letter").read_text() == "dear"


def test_who_signed_it_is_known_only_by_their_root(make: Callable[..., Path], maker: Identity, tmp_path: Path) -> None:
    other = identity.make()
    out = make(tmp_path / "out", by=other)
    states = {one.about: one.state for one in check.verify(out, maker.root).findings}
    assert states["signer"] == "unknown"
    assert "identity" not in states  # what a stranger says its digest is counts for nothing
    assert check.verify(out, maker.root + other.root).state == "holds"
    assert check.verify(out, other.root, expected="sha256:" + "00" * 32).state == "changed"


def test_the_bill_is_one_of_the_release(model: Path) -> None:
    subject = gather(model, Choices(DAY, "Ada"))
    assert bom.bom(subject, {})["serialNumber"] == bom.bom(subject, {})["serialNumber"]

"""Every change to a release is found: hundreds of generated ones, and what only a new signature would hide."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from impasto.release import check, signature
from impasto.rights import identity
from impasto.rights.identity import Identity

Change = Callable[[Path], None]


def _flip(name: str, place: float) -> Change:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[min(int(place * len(data)), len(data) - 1)] ^= 1 << int(place * 7)
        (folder / name).write_bytes(data)

    return change


def _said(name: str, edit: Callable[[dict[str, object]], object]) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        edit(content)
        (folder / name).write_text(json.dumps(content))

    return change


def _header(name: str, key: str, value: str) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"][key] = value
        new = json.dumps(header).encode()
        (folder / name).write_bytes(len(new).to_bytes(8, "little") + new + data[8 + length :])

    return change


def _of_file(name: str) -> Iterator[tuple[str, Change]]:
    for place in (0.0, 0.33, 0.66, 1.0):
        yield f"flip {name} at {place}", _flip(name, place)
    yield f"drop {name}", lambda folder: (folder / name).unlink()
    yield f"rename {name}", lambda folder: (folder / name).rename(folder / f"{name}.old")
    yield f"empty {name}", lambda folder: (folder / name).write_bytes(b"")
    yield f"append to {name}", lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"\n")


def _added() -> Iterator[tuple[str, Change]]:
    for name in (".gitignore", ".git/config", "unet/x.bin", "model.sig.old", "extra.py", ".hidden/x", "corpus/more"):

        def add(folder: Path, name: str = name) -> None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")

        yield f"add {name}", add
    yield "add a folder", lambda folder: (folder / "empty").mkdir()
    yield "add a link", lambda folder: (folder / "link").symlink_to("README.md")
    yield "add a link to a folder", lambda folder: (folder / "link").symlink_to("unet")
    yield "file to link", _to_link


def _to_link(folder: Path) -> None:
    (folder.parent / "outside").write_bytes((folder / "LICENSE").read_bytes())
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(folder.parent / "outside")


def _swap(one: str, other: str) -> Change:
    def change(folder: Path) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return change


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
WRONG = "sha256:" + "00" * 32

TOLD: dict[str, Change] = {
    "wrong parent": _said("receipt.json", lambda said: said["parents"][0].update(identity=WRONG)),
    "no parent": _said("receipt.json", lambda said: said.update(parents=[])),
    "another licence in the receipt": _said("receipt.json", lambda said: said.update(licence="MIT")),
    "another identity": _said("receipt.json", lambda said: said.update(identity=WRONG)),
    "another component": _said("receipt.json", lambda said: said["components"].update(unet=WRONG)),
    "another corpus": _said("receipt.json", lambda said: said["corpora"][0].update(root=WRONG)),
    "no corpus": _said("receipt.json", lambda said: said.update(corpora=[])),
    "another code": _said("receipt.json", lambda said: said.update(code="somebody's")),
    "another model named": _said("release.json", lambda said: said.update(identity=WRONG)),
    "another receipt named": _said("release.json", lambda said: said.update(receipt=WRONG)),
    "a licence left out": _said("release.json", lambda said: said["obligations"].pop()),
    "a licence that forbids it": _said("release.json", lambda said: said["parts"][0].update(licence="GPL-3.0-only")),
    "another verdict": _said("release.json", lambda said: said.update(verdict="ask")),
    "release.json without parts": _said("release.json", lambda said: said.pop("parts")),
    "another hash in the header": _header(WEIGHTS, "modelspec.hash_sha256", "0x00"),
    "weights swapped": _swap("vae/config.json", "unet/config.json"),
    "a figure in the card": lambda folder: (folder / "README.md").write_text(
        (folder / "README.md").read_text().replace("0.812", "0.999")
    ),
    "a figure in the benchmark's file": _said(
        "benchmarks/tiny.json", lambda said: said["figures"][0].update(value=0.999)
    ),
    "a maker": lambda folder: (folder / "ATTRIBUTION").write_text("Eve: 3 works\n"),
    "the rows": lambda folder: (folder / "corpus" / "rows.parquet").write_bytes(b"PAR1"),
    "the manifest's root": _said("corpus/corpus.json", lambda said: said.update(root=WRONG)),
    "a weight": _flip(WEIGHTS, 0.9),
    "the part's receipt": _said("vae/receipt.json", lambda said: said["components"].update(vae=WRONG)),
}
"""Changes that contradict what other files of the release say."""

ONLY_SIGNED: dict[str, Change] = {
    "an author in the header": _header(WEIGHTS, "modelspec.author", "Eve"),
    "a licence in the header": _header(WEIGHTS, "modelspec.license", "MIT"),
    "more in the header": _header(WEIGHTS, "x", "y"),
    "a signature of nothing": lambda folder: (folder / "model.sig").write_text("{}"),
    "a signer of nothing": lambda folder: (folder / "signer.pem").write_text(""),
    "a space in the signature": lambda folder: (folder / "model.sig").write_text(
        (folder / "model.sig").read_text().replace(",", ", ", 1)
    ),
    "more in the signature": _said("model.sig", lambda said: said.update(note="x")),
    "another signer": lambda folder: (folder / "signer.pem").write_text(identity.make().public),
    "two weights swapped": _swap(WEIGHTS, "vae/diffusion_pytorch_model.safetensors"),
}


def unseen(folder: Path, changes: Mapping[str, Change], least: int, copy: Path) -> list[str]:
    """Return which changes to the release in `folder` are not found: `changes`, and those that any file can suffer.

    Each is made to a copy at `copy`; there have to be at `least` so many.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    every = [*(change for name in names for change in _of_file(name)), *_added(), *changes.items()]
    assert len(every) >= least
    missed = []
    for what, change in every:
        shutil.copytree(folder, copy)
        change(copy)
        if check.verify(copy).state != "changed":
            missed.append(what)
        shutil.rmtree(copy)
    return missed


def test_every_change_is_found(released: Path, tmp_path: Path) -> None:
    changes = {**TOLD, **ONLY_SIGNED, "none at all": lambda _: None}
    assert unseen(released, changes, 200, tmp_path / "copy") == ["none at all"]


@pytest.mark.parametrize("what", TOLD)
def test_what_even_a_new_signature_does_not_hide(what: str, released: Path, maker: Identity, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(released, tmp_path / "copy"))
    TOLD[what](folder)
    signature.sign(folder, maker)
    report = check.verify(folder, maker.root)
    assert report.state == "changed", report


def test_a_signature_by_somebody_else(released: Path, maker: Identity, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(released, tmp_path / "copy"))
    signature.sign(folder, identity.make())
    assert check.verify(folder, maker.root).state == "unknown"


def test_what_is_no_release(tmp_path: Path) -> None:
    report = check.verify(tmp_path)
    assert report.state == "changed"
    assert "model.sig cannot be read" in report.findings[0].text

"""Hostile files at every door: whatever holds the pickle, whatever the file is called, nothing in it runs.

What a pickle itself may try is in test_pickles.py; this is about what it comes in.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import impasto
from impasto.adapters.embeddings import read_embedding
from impasto.adapters.lora import read_adapter
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.weights.containers import open_tensors
from impasto.weights.description import describe
from impasto.weights.detect import kind_at, open_model, open_vae
from tests.weights.test_pickles import ARCHIVES, CALLS, OPCODES, Gadget, of, torch_zip

ENDINGS = (".safetensors", ".ckpt", ".pt", ".bin", ".png", "")


def gadget(canary: Path) -> Gadget:
    return Gadget(exec, f"open({str(canary)!r}, 'w').close()")


def pickled(protocol: int) -> Callable[[Path, Path], None]:
    def write(path: Path, canary: Path) -> None:
        path.write_bytes(pickle.dumps(gadget(canary), protocol))

    return write


def by_torch(**options: Any) -> Callable[[Path, Path], None]:
    return lambda path, canary: torch.save({"state_dict": {"x": torch.ones(1)}, "y": gadget(canary)}, path, **options)


def tarred(path: Path, canary: Path) -> None:
    """As torch.save wrote before 0.1.10: an archive of pickles, which torch.load still reads."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(gadget(canary), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def zipped(path: Path, canary: Path) -> None:
    tarred(path, canary)
    path.write_bytes(gzip.compress(path.read_bytes()))


def archived(pickle_name: str, beside: str = "") -> Callable[[Path, Path], None]:
    def write(path: Path, canary: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(pickle_name, pickle.dumps(gadget(canary), 2))
            if beside:
                archive.writestr(beside, f"open({str(canary)!r}, 'w')")

    return write


def after(beginning: bytes) -> Callable[[Path, Path], None]:
    def write(path: Path, canary: Path) -> None:
        path.write_bytes(beginning + pickle.dumps(gadget(canary), 2))

    return write


def scripted(path: Path, canary: Path) -> None:
    """Code of TorchScript, which torch.jit.load would run."""
    torch_zip(path, of(b"N"), {"code/__torch__.py": f"open({str(canary)!r}, 'w')".encode()})


WRAPPED: dict[str, Callable[[Path, Path], None]] = {
    **{f"a pickle of protocol {protocol}": pickled(protocol) for protocol in range(6)},
    "a zip by torch": by_torch(),
    "a file by torch before 1.6": by_torch(_use_new_zipfile_serialization=False),
    "a tar by torch before 0.1.10": tarred,
    "a tar within gzip": zipped,
    "a zip of another root": archived("anything/data.pkl"),
    "a zip of a plain pickle": archived("data.pkl"),
    "a zip with a module": archived("archive/data.pkl", "archive/sitecustomize.py"),
    "a zip with a module at its root": archived("archive/data.pkl", "__main__.py"),
    "TorchScript": scripted,
    "after a header of safetensors": after((16).to_bytes(8, "little") + b'{"a":{}}        '),
    "after a header of GGUF": after(b"GGUF\3\0\0\0"),
    "after a beginning of a PNG": after(b"\x89PNG\r\n\x1a\n"),
    "after a beginning of a WebP": after(b"RIFF\0\0\0\0WEBP"),
    "after a pointer of Git LFS": after(b"version https://git-lfs.github.com/spec/v1\n"),
}
"""What a hostile pickle comes in."""

DOORS: tuple[Callable[[Path], object], ...] = (
    open_tensors,
    kind_at,
    describe,
    open_model,
    open_vae,
    read_adapter,
    read_embedding,
    impasto.load,
)
"""Everything that opens a file that somebody brings."""


@pytest.mark.parametrize("kind", WRAPPED)
def test_nothing_runs_whatever_it_comes_in(kind: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for ending in ENDINGS:
        path = tmp_path / f"model{ending}"
        WRAPPED[kind](path, canary)
        with pytest.raises(ImpastoError):
            open_tensors(path)
        assert not canary.exists()


@pytest.mark.parametrize("kind", ["a pickle of protocol 4", "a zip by torch", "a tar by torch before 0.1.10"])
def test_nothing_runs_whatever_opens_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    canary, path = tmp_path / "canary", tmp_path / "files" / "model.safetensors"
    path.parent.mkdir()
    WRAPPED[kind](path, canary)
    for door in DOORS:
        with pytest.raises(ImpastoError):
            door(path)
        assert not canary.exists(), door
    for words in (["inspect", path], ["list", "--folder", path.parent], ["adapter", "inspect", path], ["verify", path]):
        main([str(word) for word in words])
        assert not canary.exists(), words


def test_the_canary_sings_where_pickles_are_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for kind in ("a zip by torch", "a file by torch before 1.6", "a pickle of protocol 2"):
        WRAPPED[kind](tmp_path / "x", canary)
        load = pickle.load if "pickle" in kind else lambda file: torch.load(file, weights_only=False)
        with (tmp_path / "x").open("rb") as file:
            load(file)
        assert canary.exists()
        canary.unlink()


def test_there_are_enough_of_them_of_every_kind() -> None:
    flags = [name for name in ARCHIVES if "encrypted" in name]
    assert (len(CALLS), len(ARCHIVES), len(WRAPPED)) >= (30, 20, 20)
    assert len(OPCODES) >= 30
    assert len(flags) >= 3

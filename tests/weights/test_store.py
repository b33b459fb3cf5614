"""What was put into the store is found by name, and is refused when it is no longer that."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from impasto.errors import InvalidInput, NotFound, WeightsChanged
from impasto.schema import file_digest
from impasto.weights import facts, files, folders
from impasto.weights.checkpoint import About
from impasto.weights.detect import open_model, open_vae
from impasto.weights.home import home
from impasto.weights.load import load_model, save_file, save_folder
from impasto.weights.store import Entry, Store, check, find, holding
from tests.weights import tiny
from tests.weights.stored import put

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    save_folder(path / "folder", tiny.networks(), About(name="tiny"))
    save_file(path / "one.safetensors", tiny.networks(), About(name="tiny"))
    files.save(path / "lora.safetensors", {"lora_unet_x.lora_down.weight": torch.ones(1)})
    files.save(path / "vae.safetensors", tiny.networks().vae.state_dict())
    return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(facts, "SETTLED", -1)  # remember at once
    return Store()


def test_the_place_is_the_variable_or_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("IMPASTO_HOME")
    assert home().name == "impasto"


def test_what_was_put_there_is_there(store: Store, models: Path) -> None:
    stored = put(store, models / "folder", "sd")
    put(store, models / "lora.safetensors", "style", "adapter")
    assert [(found.entry.kind, found.entry.name) for found in store] == [("model", "sd"), ("adapter", "style")]
    assert (
        store.one("sd").entry == stored.entry == Entry.parse(json.loads((stored.folder / "entry.json").read_text()), "")
    )
    assert load_model(find("sd")).digest == tiny.networks().digest
    assert sorted(path.name for path in store.root.iterdir()) == ["adapter", "facts.json", "model", "pulling"]


@pytest.mark.parametrize("way", ["name", "repo", "sha256", "short", "title", "file"])
def test_a_model_goes_by_many_names(store: Store, models: Path, way: str) -> None:
    put(store, models / "one.safetensors", "sd")
    digest = file_digest(models / "one.safetensors").removeprefix("sha256:")
    names = {
        "name": "sd",
        "repo": "someone/sd",
        "sha256": digest,
        "short": digest[:10],
        "title": f"sd [{digest[:10]}]",
        "file": "one.safetensors",
    }
    assert find(names[way]) == store.place("model", "sd") / "one.safetensors"


def test_names_of_a_kind_are_its_own(store: Store, models: Path) -> None:
    put(store, models / "lora.safetensors", "x", "adapter")
    put(store, models / "vae.safetensors", "x", "vae")
    assert find("x", "adapter").parent.parent.name == "adapter"
    assert find("x", "vae").parent.parent.name == "vae"
    with pytest.raises(NotFound, match="model 'x'"):
        find("x")
    with pytest.raises(InvalidInput, match="adapter/x, vae/x"):
        store.one("x")
    assert store.one("vae/x").entry.kind == "vae"


def test_packaged_then_store_then_folders_then_path(store: Store, models: Path, tmp_path: Path) -> None:
    save_file(tmp_path / "sd.safetensors", tiny.networks(), About(name="tiny"))
    (tmp_path / "other").mkdir()
    os.link(tmp_path / "sd.safetensors", tmp_path / "other" / "sd.safetensors")
    assert find("sd.safetensors") == Path("sd.safetensors")
    folders.Registered().add(tmp_path / "other")
    assert find("sd") == find("sd.safetensors") == tmp_path / "other" / "sd.safetensors"
    assert find("./sd.safetensors") == Path("sd.safetensors")
    put(store, models / "folder", "sd")
    assert find("sd") == store.place("model", "sd")
    assert find("sd", packaged={"sd": Path("packaged")}) == Path("packaged")
    assert find(str(tmp_path / "other" / "sd.safetensors")) == tmp_path / "other" / "sd.safetensors"


def test_a_name_that_nothing_has_lists_what_there_is(store: Store, models: Path) -> None:
    put(store, models / "folder", "sd")
    with pytest.raises(NotFound, match=r"model 'ds'\. Choose one of: glyph, sd\. Or give the path"):
        find("ds", packaged={"glyph": Path()})
    with pytest.raises(NotFound, match="There is none yet"):
        find("ds", "embedding")
    for path in ("/nowhere/x", "./x"):
        with pytest.raises(NotFound, match="no such file"):
            find(path)


def flip(path: Path) -> None:
    """Change a bit of the last byte, and nothing else that shows at a glance."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_changed_file_is_refused(store: Store, models: Path) -> None:
    stored = put(store, models / "folder", "sd")
    load_model(stored.path)
    flip(stored.folder / UNET)
    for use in (open_model, open_vae):
        with pytest.raises(WeightsChanged) as caught:
            use(stored.path)
    assert f"{UNET} is not what was put there" in str(caught.value)
    assert f"impasto pull someone/sd --revision {stored.entry.origin.revision}" in str(caught.value)  # type: ignore[union-attr]  # put gives one
    assert caught.value.args[0].count("sha256:") == 2


def test_missing_and_added_files_are_refused_all_at_once(store: Store, models: Path) -> None:
    stored = put(store, models / "folder", "sd")
    (stored.folder / UNET).unlink()
    (stored.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"x")
    (stored.folder / ".DS_Store").write_bytes(b"x")  # the system's own
    with pytest.raises(WeightsChanged) as caught:
        check(stored.path)
    assert len(str(caught.value).splitlines()) == 4
    assert f"{UNET} is missing" in str(caught.value)
    assert "fp16.safetensors was added" in str(caught.value)


def test_a_file_of_an_entry_is_checked_by_its_own_path_too(store: Store, models: Path) -> None:
    stored = put(store, models / "folder", "sd")
    found = holding(stored.folder / UNET)
    assert found is not None
    assert found.entry == stored.entry
    flip(stored.folder / UNET)
    with pytest.raises(WeightsChanged):
        check(stored.folder / UNET)
    assert holding(models / "folder") is None


def test_unchanged_files_are_read_once(store: Store, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(facts, "file_digest", lambda path: read.append(path.name) or file_digest(path))
    stored = put(store, models / "one.safetensors", "sd")
    for _ in range(3):
        check(stored.path)
    assert read == ["one.safetensors"]
    with facts.remembered() as known:
        stored.verify(known, again=True)
    assert len(read) == 2
    os.utime(stored.path)
    check(stored.path)
    assert len(read) == 3


def test_a_file_changed_just_now_is_not_remembered(store: Store, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "SETTLED", 60_000_000_000)
    read: list[str] = []
    monkeypatch.setattr(facts, "file_digest", lambda path: read.append(path.name) or file_digest(path))
    stored = put(store, models / "one.safetensors", "sd")
    for _ in range(2):
        check(stored.path)
    assert len(read) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}', "[" * 100_000, '{"/x": {"stamp": [1], "facts": 3}}'])
def test_what_is_remembered_may_be_lost(store: Store, models: Path, content: str) -> None:
    stored = put(store, models / "one.safetensors", "sd")
    (store.root / "facts.json").write_text(content)
    check(stored.path)
    check(stored.path)


def test_nothing_has_to_be_writable(store: Store, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = put(store, models / "one.safetensors", "sd")

    def fail(*_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(facts, "write_text", fail)
    check(stored.path)


def test_the_digest_of_a_model_is_found_out_once(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path))
    monkeypatch.setattr(facts, "SETTLED", -1)
    assert open_model(models / "one.safetensors").digest == tiny.networks().digest
    monkeypatch.setattr(files.TensorFile, "digest", lambda *_: pytest.fail("read again"))
    assert open_model(models / "one.safetensors").digest == tiny.networks().digest


def test_replacing_and_removing(store: Store, models: Path) -> None:
    put(store, models / "folder", "sd")
    stored = put(store, models / "one.safetensors", "sd")
    assert [found.path for found in store] == [stored.path]
    assert sorted(path.name for path in stored.folder.iterdir()) == ["entry.json", "one.safetensors"]
    store.remove(stored)
    assert list(store) == []
    assert list((store.root / "model").iterdir()) == []


def test_what_would_be_left_alone(store: Store, models: Path) -> None:
    sd = put(store, models / "one.safetensors", "sd")
    put(store, models / "lora.safetensors", "by-repo", "adapter", base="someone/sd")
    put(store, models / "lora.safetensors", "by-hash", "adapter", base=sd.entry.short)
    put(store, models / "lora.safetensors", "elses", "adapter", base="someone/other")
    assert [found.entry.name for found in store.orphans(sd)] == ["by-hash", "by-repo"]
    twin = put(store, models / "one.safetensors", "twin")
    assert [found.entry.name for found in store.orphans(sd)] == ["by-repo"]
    assert store.orphans(twin) == []
    assert store.orphans(store.one("by-hash")) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 101, "ä", "a\n"])
def test_names_are_files_and_words(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        Entry.parse({"name": name, "kind": "model", "main": ".", "files": []}, "x")

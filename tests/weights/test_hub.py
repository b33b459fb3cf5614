"""Pulling, from a hub on this machine that speaks the real one's routes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from impasto.errors import InvalidInput, NotFound, PullFailed, UnreadableWeights, UnsupportedConfig, WeightsChanged
from impasto.weights import facts, files, hub
from impasto.weights import pull as pulling
from impasto.weights.checkpoint import About
from impasto.weights.hub import ask
from impasto.weights.load import load_model, save_folder
from impasto.weights.offers import Wish, choose
from impasto.weights.pull import discard, licence_text, pull, replaced
from impasto.weights.store import Store, check, find
from tests.weights import tiny
from tests.weights.hubs import COMMIT, Hub, Repo, running

UNET = "unet/diffusion_pytorch_model.safetensors"
CARD = {"license": "creativeml-openrail-m", "base_model": ["someone/base"], "tags": ["stable-diffusion"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A diffusers folder as it lies on the hub, with what is not pulled beside it."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, tiny.networks(), About(name="tiny"))
    content = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    return {
        **content,
        "LICENSE": b"Do no harm.\n",
        "README.md": b"# Tiny\n",
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "unet/diffusion_pytorch_model.bin": b"pickled",
        "safety_checker/model.safetensors": b"x" * 5000,
        "safety_checker/config.json": b"{}",
        "v1-5-pruned.ckpt": b"pickled",
        "example.png": b"\x89PNG",
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(facts, "SETTLED", -1)
    monkeypatch.setattr(hub.time, "sleep", lambda _: None)
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    with running() as hub_:
        monkeypatch.setenv("HF_ENDPOINT", hub_.address)
        yield hub_


@pytest.fixture
def sd(server: Hub, model: dict[str, bytes]) -> Hub:
    server.repos["someone/sd"] = Repo(model, CARD)
    return server


def pulled(repo: str, **choices: str) -> str:
    *_, last = pull(ask(Wish(repo, **choices)), Store())
    assert last.stored is not None
    return last.stored.entry.name


@pytest.mark.usefixtures("sd")
def test_a_folder(model: dict[str, bytes]) -> None:
    offer = ask(Wish("someone/sd"))
    assert (offer.origin.revision, offer.origin.asked, offer.licence.id) == (COMMIT, None, "creativeml-openrail-m")
    assert offer.left_out == ("safety_checker/model.safetensors",)
    steps = list(pull(offer, Store()))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == offer.bytes
    (stored,) = Store()
    assert steps[-1].stored == stored
    paths = {file.path for file in stored.entry.files}
    assert paths == {path for path in model if not path.startswith((".", "safety", "v1-5", "example"))} - {
        "unet/diffusion_pytorch_model.bin"
    }
    assert all((stored.folder / path).read_bytes() == model[path] for path in paths)
    assert stored.entry.identity == tiny.networks().digest == load_model(find("someone/sd")).digest
    assert stored.entry.base == "someone/base"
    assert [path.name for path in Store().pulling.iterdir()] == []


def test_the_revision_is_pinned_before_anything_is_fetched(sd: Hub) -> None:
    pulled("someone/sd", revision="main")
    files_ = [path for _, path, _ in sd.asked if "/resolve/" in path]
    assert files_
    assert all(f"/resolve/{COMMIT}/" in path for path in files_)
    (stored,) = Store()
    assert stored.entry.origin is not None
    assert (stored.entry.origin.asked, stored.entry.origin.hub) == ("main", sd.address)


def test_what_is_there_is_not_fetched_again(sd: Hub) -> None:
    pulled("someone/sd")
    sd.asked.clear()
    pulled("someone/sd")
    assert [path for _, path, _ in sd.asked] == ["/api/models/someone/sd"]


@pytest.mark.usefixtures("sd")
def test_a_damaged_model_is_fetched_anew() -> None:
    pulled("someone/sd")
    (stored,) = Store()
    (stored.folder / UNET).write_bytes(b"x")
    with pytest.raises(WeightsChanged):
        check(stored.path)
    pulled("someone/sd")
    check(stored.path)


def test_a_cut_connection_is_resumed_at_once(sd: Hub, model: dict[str, bytes]) -> None:
    sd.cuts[UNET] = [100_000, 50_000]
    pulled("someone/sd")
    assert sd.ranges(UNET) == [None, "bytes=100000-", "bytes=150000-"]
    assert (find("sd") / UNET).read_bytes() == model[UNET]


def test_a_pull_that_ended_is_resumed_by_the_next(sd: Hub, model: dict[str, bytes]) -> None:
    sd.cuts[UNET] = [300_000] + [0] * hub.TRIES
    with pytest.raises(PullFailed, match=rf"300,000 of {len(model[UNET]):,} bytes.*goes on from there"):
        pulled("someone/sd")
    assert list(Store()) == []
    sd.asked.clear()
    pulled("someone/sd")
    assert sd.ranges(UNET) == ["bytes=300000-"]
    assert sd.ranges("text_encoder/model.safetensors") == []  # was there
    check(find("sd"))


def test_a_server_that_does_not_resume(sd: Hub) -> None:
    sd.cuts[UNET], sd.deaf = [100_000], True
    pulled("someone/sd")
    check(find("sd"))


@pytest.mark.parametrize("path", [UNET, "unet/config.json"])
@pytest.mark.parametrize("change", ["flipped", "longer"])
def test_other_content_than_was_promised_is_refused(sd: Hub, model: dict[str, bytes], path: str, change: str) -> None:
    last = bytes([model[path][-1] ^ 1])
    sd.changed[path] = model[path][:-1] + last if change == "flipped" else model[path] + b"x"
    if change == "longer":
        sd.changed[path] = b"y" + sd.changed[path]
    with pytest.raises(PullFailed, match=f"{path} of someone/sd is not what the hub promised"):
        pulled("someone/sd")
    assert list(Store()) == []
    assert not list(Store().pulling.rglob("*.part"))
    sd.changed.clear()
    pulled("someone/sd")
    check(find("sd"))


def test_a_part_that_was_changed_on_disk_is_refused_once(sd: Hub) -> None:
    sd.cuts[UNET] = [300_000] + [0] * hub.TRIES
    with pytest.raises(PullFailed):
        pulled("someone/sd")
    (part,) = Store().pulling.rglob("*.part")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(PullFailed, match="promised"):
        pulled("someone/sd")
    pulled("someone/sd")
    check(find("sd"))


def test_the_licence_is_there_before_the_weights(sd: Hub) -> None:
    offer = ask(Wish("someone/sd"))
    assert licence_text(offer, Store()) == "Do no harm.\n"
    assert str(offer.licence) == "creativeml-openrail-m"
    assert not [path for _, path, _ in sd.asked if "safetensors" in path]
    discard(offer, Store())
    assert list(Store().pulling.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        ("GatedRepo", 403, PullFailed, "gated.*hf auth login"),
        ("RepoNotFound", 404, NotFound, "no repository 'someone/sd'.*private"),
        ("Nothing", 503, PullFailed, "503"),
    ],
)
def test_refusals_are_one_message(sd: Hub, error: str, status: int, kind: type[Exception], message: str) -> None:
    sd.repos["someone/sd"].error, sd.repos["someone/sd"].status = error, status
    with pytest.raises(kind, match=message) as caught:
        ask(Wish("someone/sd"))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("sd")
def test_more_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no repository"):
        ask(Wish("someone/else"))
    with pytest.raises(NotFound, match="no revision 'v9'"):
        ask(Wish("someone/sd", revision="v9"))
    for name in ("a b", "../x", "a/b/c", "", "-"):
        with pytest.raises((InvalidInput, NotFound)):
            ask(Wish(name))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PullFailed, match="HF_HUB_OFFLINE"):
        ask(Wish("someone/sd"))


@pytest.mark.usefixtures("sd")
def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(PullFailed, match=r"cannot be reached for someone/sd.*Is there a network\?"):
            ask(Wish("someone/sd"))


def single(tmp_path: Path, **tensors: torch.Tensor) -> bytes:
    files.save(tmp_path / "x", tensors, {"ss_new_sd_model_hash": "ab" * 32})
    return (tmp_path / "x").read_bytes()


def test_one_file_of_several(server: Hub, tmp_path: Path) -> None:
    lora = single(tmp_path, **{"lora_unet_x.lora_down.weight": torch.ones(5000)})
    embedding = single(tmp_path, emb_params=torch.ones(2, 768))
    server.repos["someone/loras"] = Repo({"a.safetensors": lora, "sub/b c.safetensors": embedding, "z.bin": b""})
    with pytest.raises(InvalidInput, match=r"--file: a\.safetensors, sub/b c\.safetensors"):
        ask(Wish("someone/loras"))
    with pytest.raises(NotFound, match=r"b\.safetensors"):
        ask(Wish("someone/loras", file="b.safetensors"))
    with pytest.raises(InvalidInput, match=r"z\.bin is not a safetensors file"):
        ask(Wish("someone/loras", file="z.bin"))
    assert pulled("someone/loras", file="a.safetensors") == "a"
    assert pulled("someone/loras", file="sub/b c.safetensors") == "b-c"
    assert [(s.entry.kind, s.entry.name, s.entry.base) for s in Store()] == [
        ("adapter", "a", "ab" * 32),
        ("embedding", "b-c", "ab" * 32),
    ]
    assert find("b-c", "embedding").read_bytes() == embedding


def test_the_only_file(server: Hub, tmp_path: Path) -> None:
    lora = single(tmp_path, **{"lora_unet_x.lora_down.weight": torch.ones(5)})
    server.repos["someone/my-lora"] = Repo({"pytorch_lora_weights.safetensors": lora, "README.md": b"x"}, CARD)
    assert pulled("someone/my-lora") == "my-lora"
    server.repos["someone/pickled"] = Repo({"x.ckpt": b"x"})
    with pytest.raises(PullFailed, match=r"only pickled ones: x\.ckpt"):
        ask(Wish("someone/pickled"))


def test_names_are_taken_once(sd: Hub, model: dict[str, bytes]) -> None:
    sd.repos["other/sd"] = Repo(model)
    pulled("someone/sd")
    with pytest.raises(InvalidInput, match=r"someone/sd.*--name"):
        pulled("other/sd")
    assert pulled("other/sd", name="sd2") == "sd2"
    assert replaced(ask(Wish("someone/sd")), Store()) is None
    sd.repos["someone/sd"] = Repo({**model, "README.md": b"new"})
    del sd.repos["someone/sd"].files["LICENSE"]
    there = replaced(ask(Wish("someone/sd")), Store())
    assert there is not None
    pulled("someone/sd")
    assert not (there.folder / "LICENSE").exists()
    check(find("sd"))


def test_what_is_not_used_here_is_refused_early(sd: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    index = {**json.loads(model["model_index.json"]), "_class_name": "FluxPipeline"}
    sd.repos["someone/sd"] = Repo({**model, "model_index.json": json.dumps(index).encode()})
    with pytest.raises(UnsupportedConfig, match="FluxPipeline"):
        pulled("someone/sd")
    assert sd.ranges("safetensors") == []
    xl = single(tmp_path, **{"conditioner.embedders.0.x": torch.ones(2_000_000)})
    sd.repos["someone/xl"] = Repo({"xl.safetensors": xl})
    steps = pull(ask(Wish("someone/xl")), Store())
    with pytest.raises(PullFailed, match="Stable Diffusion XL"):
        list(steps)
    (part,) = Store().pulling.rglob("*.part")
    assert part.stat().st_size < len(xl) / 2
    page = b"<!doctype html>" + b" " * 3000
    sd.repos["someone/page"] = Repo({"x.safetensors": page})
    with pytest.raises(UnreadableWeights, match="web page"):
        pulled("someone/page")
    assert list(Store()) == []


@pytest.mark.usefixtures("sd")
def test_two_at_a_time_are_one_too_many() -> None:
    first = pull(ask(Wish("someone/sd")), Store())
    next(first)
    with pytest.raises(PullFailed, match="pulled already"):
        pulled("someone/sd")
    list(first)
    assert len(list(Store())) == 1


def test_a_full_disk_is_said_before(sd: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PullFailed, match=r"the disk of .* has 10"):
        pulled("someone/sd")
    assert sd.ranges(UNET) == []


FOLDER = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    *(f"{part}/config.json" for part in ("text_encoder", "unet", "vae")),
    "text_encoder/model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]
W = "unet/diffusion_pytorch_model"


@pytest.mark.parametrize(
    ("unet", "variant", "wanted"),
    [
        (f"{W}.safetensors {W}.bin {W}.fp16.safetensors {W}.non_ema.safetensors", None, f"{W}.safetensors"),
        (f"{W}.safetensors {W}.fp16.safetensors", "fp16", f"{W}.fp16.safetensors"),
        (f"{W}.fp16.safetensors {W}.fp16.bin", None, f"{W}.fp16.safetensors"),
        (
            f"{W}-00001-of-00002.safetensors {W}-00002-of-00002.safetensors {W}.safetensors.index.json",
            None,
            f"{W}-00001-of-00002.safetensors {W}-00002-of-00002.safetensors {W}.safetensors.index.json",
        ),
        (
            f"{W}.safetensors {W}.fp16-00001-of-00001.safetensors {W}.safetensors.index.fp16.json",
            "fp16",
            f"{W}.fp16-00001-of-00001.safetensors {W}.safetensors.index.fp16.json",
        ),
    ],
)
def test_variants_and_shards(unet: str, variant: str | None, wanted: str) -> None:
    main, chosen = choose("x/y", [*FOLDER, *unet.split()], variant=variant)
    assert main == "."
    assert sorted(path for path in chosen if path.startswith(W)) == sorted(wanted.split())
    assert set(FOLDER) < set(chosen)


def test_variants_that_are_not_there() -> None:
    with pytest.raises(NotFound, match=r"'fp8'.*fp16, plain"):
        choose("x/y", [*FOLDER, f"{W}.fp16.safetensors"], variant="fp8")
    with pytest.raises(InvalidInput, match="--variant: ema, fp16, plain"):
        choose("x/y", [*FOLDER, f"{W}.fp16.safetensors", f"{W}.ema.safetensors"])
    with pytest.raises(InvalidInput, match="Leave it out"):
        choose("x/y", ["a.safetensors"], variant="fp16")
    with pytest.raises(PullFailed, match="no unet/"):
        choose("x/y", [*FOLDER, f"{W}.bin"])


@pytest.mark.parametrize("path", ["../x.safetensors", "/etc/x", "a/../../x", "a\\b", "C:x", "a//b", "a/\n/b"])
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(PullFailed, match="leads elsewhere"):
        choose("x/y", ["a.safetensors", path])

"""`impasto pull`, `list`, `remove`, `folders`, and names of what was pulled in the other commands."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import impasto
from impasto.cli import main
from impasto.cli.reproduce import _named
from impasto.errors import InvalidRecipe
from impasto.pictures import infotext, png
from impasto.pictures.metadata import Said
from impasto.weights import facts, files
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_file, save_folder
from impasto.weights.store import Store
from tests.weights import tiny
from tests.weights.hubs import COMMIT, Hub, Repo, running
from tests.weights.stored import put

ABOUT = About(name="tiny", settings=Settings(steps=1))
LICENCE = "Do no harm.\n" + "And so on.\n" * 40


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    save_folder(path / "folder", tiny.networks(), ABOUT)
    save_file(path / "one.safetensors", tiny.networks(), ABOUT)
    files.save(path / "lora.safetensors", {"lora_unet_x.lora_down.weight": torch.ones(1)})
    return path


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(facts, "SETTLED", -1)
    return Store()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, models: Path) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        content = {path.relative_to(models / "folder").as_posix(): path for path in (models / "folder").rglob("*")}
        shown = {name: path.read_bytes() for name, path in content.items() if path.is_file()}
        server.repos["someone/sd"] = Repo({**shown, "LICENSE": LICENCE.encode()}, {"license": "openrail"})
        yield server


def say(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Sit at the terminal and give the `answers`."""
    stdin = io.StringIO("\n".join(answers) + "\n")
    stdin.isatty = lambda: True  # type: ignore[method-assign]  # a terminal, for this test
    monkeypatch.setattr(sys, "stdin", stdin)


def test_pulled_generated_and_reproduced_by_name(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "someone/sd", "--yes"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "sd\n"
    assert COMMIT in captured.err
    assert "Licence: openrail" in captured.err
    hub.repos.clear()
    for name in ("sd", "someone/sd"):
        assert main(["generate", "fox", "--model", name, "--seed", "1"]) == 0
    first, second = (tmp_path / line for line in capsys.readouterr().out.split())
    assert png.read_recipe(first).model_digest == impasto.load("sd").digest
    with Image.open(first) as one, Image.open(second) as other:
        assert one.tobytes() == other.tobytes()
    assert main(["convert", "sd", "one.safetensors", "--to", "ldm"]) == 0
    assert impasto.load("./one.safetensors").digest == impasto.load("sd").digest


def test_pulling_again_says_so(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "someone/sd", "--yes"]) == 0
    hub.asked.clear()
    assert main(["pull", "someone/sd"]) == 0  # nothing to agree to
    assert len(hub.asked) == 1
    assert capsys.readouterr().out == "sd\nsd\n"


@pytest.mark.usefixtures("hub")
def test_the_licence_is_shown_and_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "someone/sd"]) == 2
    assert "--yes" in capsys.readouterr().err
    say(monkeypatch, "n")
    assert main(["pull", "someone/sd"]) == 1
    shown = capsys.readouterr()
    assert "Do no harm." in shown.err
    assert "17 lines more in LICENSE" in shown.err
    assert list(store) == []
    say(monkeypatch, "y")
    assert main(["pull", "someone/sd"]) == 0
    assert [stored.entry.licence.file for stored in store] == ["LICENSE"]


def test_no_licence_is_said_aloud(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repos["someone/sd"].card.clear()
    del hub.repos["someone/sd"].files["LICENSE"]
    assert main(["pull", "someone/sd", "--yes"]) == 0
    assert "gives nobody the right" in capsys.readouterr().err


def test_refusals_are_one_message_and_a_code(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "someone/else"]) == 2
    hub.repos["someone/sd"].error, hub.repos["someone/sd"].status = "GatedRepo", 403
    assert main(["pull", "someone/sd", "--yes"]) == 1
    err = capsys.readouterr().err
    assert err.count("Error: ") == 2
    assert "gated" in err


def test_what_there_is(store: Store, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = put(store, models / "one.safetensors", "sd")
    put(store, models / "lora.safetensors", "style", "adapter")
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "other.safetensors").hardlink_to(models / "one.safetensors")
    (tmp_path / "tool" / "bad.safetensors").write_bytes(b"x" * 5 + b"\0\0\0{}")
    assert main(["folders", "add", "tool"]) == 0
    assert "with 1 that can be used" in capsys.readouterr().err
    assert main(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {"glyph", "sd", "style", "other", "bad"} - ({"glyph"} - rows.keys())
    assert (rows["sd"]["short"], rows["sd"]["origin"]) == (stored.entry.short, "someone/sd@0123456")
    assert rows["bad"]["problem"]
    assert main(["list", "--kind", "adapter"]) == 0
    shown = capsys.readouterr().out
    assert "style" in shown
    assert "sd " not in shown
    assert main(["folders", "list"]) == main(["folders", "remove", "tool"]) == main(["list", "--json"]) == 0
    assert "other" not in capsys.readouterr().out
    assert main(["list", "--folder", "tool", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["bad", "other"]


def test_everything_is_verified_when_asked(store: Store, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = put(store, models / "one.safetensors", "sd")
    assert main(["list", "--verify"]) == 0
    with stored.path.open("ab") as file:
        file.write(b"x")
    assert main(["list"]) == 0
    assert main(["list", "--verify"]) == 1
    assert "is not what was put there" in capsys.readouterr().out
    for words in (["generate", "fox", "--model", "sd"], ["inspect", "sd"], ["convert", "sd", "x", "--to", "ldm"]):
        assert main(words) == 1
        assert "impasto pull someone/sd" in capsys.readouterr().err


def test_removing_asks_and_says_what_is_left_alone(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, models / "one.safetensors", "sd")
    put(store, models / "lora.safetensors", "style", "adapter", base="someone/sd")
    assert main(["remove", "sd"]) == 2
    assert "--yes" in capsys.readouterr().err
    say(monkeypatch, "n")
    assert main(["remove", "sd"]) == 1
    assert "left without it: adapter style" in capsys.readouterr().err
    assert len(list(store)) == 2
    assert main(["remove", "sd", "--yes"]) == 0
    say(monkeypatch, "y")
    assert main(["remove", "style"]) == 0
    assert list(store) == []
    assert main(["remove", "sd"]) == 2
    assert "There is none yet" in capsys.readouterr().err


def test_inspect_shows_what_is_kept(store: Store, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, models / "folder", "sd")
    assert main(["inspect", "sd"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("someone/sd", "as they were pulled", "stable-diffusion-v1"))
    put(store, models / "lora.safetensors", "style", "adapter")
    assert main(["inspect", "style", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stored"]["name"] == "style"
    assert main(["inspect", "nothing"]) == 2


OFFLINE = """
import socket, sys
from impasto import offline
from impasto.cli import main
from impasto.errors import Offline

{before}
code = main(sys.argv[1:])
refused = 0
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), 1),
    lambda: socket.getaddrinfo("example.invalid", 80),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
):
    try:
        attempt()
    except Offline:
        refused += 1
listening = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listening.getsockname()).close()  # this machine is no network
print(code, refused)
"""

NO_SOCKETS = """
def refuse(*_, **__):
    raise AssertionError("a socket was made")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
sys.addaudithook(lambda event, _: refuse() if event.startswith("socket.") and event != "socket.gethostname" else None)
"""


AFTERWARDS = """
model, picture = sys.argv[sys.argv.index("--model") + 1], sys.argv[sys.argv.index("-o") + 1]
print([main(words) for words in (sys.argv[1:], ["verify", picture], ["lineage", picture], ["verify", model])])
"""


def test_offline_is_kept_by_the_interpreter(store: Store, models: Path) -> None:
    put(store, models / "folder", "sd")
    words = ["generate", "fox", "--model", "sd", "--offline", "--seed", "1"]
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE.format(before=""), *words], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["fox-1.png", "0", "3"]
    pulled = subprocess.run(
        [sys.executable, "-m", "impasto", "--offline", "pull", "someone/sd"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (pulled.returncode, "forbids the network" in pulled.stderr) == (1, True)


def test_a_picture_of_another_program_finds_its_model_by_the_hash_of_its_file(store: Store, models: Path) -> None:
    stored = put(store, models / "one.safetensors", "sd")

    def named(text: str) -> str:
        return _named(Said(infotext=infotext.read(f"fox\nSteps: 2, Sampler: Euler, Size: 8x8, {text}")), Path("x.png"))

    assert named(f"Model hash: {stored.entry.short}, Model: theirs") == str(stored.path)
    assert named("Model hash: 0123456789, Model: sd, Version: Impasto 1") == str(stored.path)
    Path("sd.safetensors").touch()
    for text in (
        "Model hash: 0123456789, Model: sd",  # whatever anybody calls so
        "Model hash: sd, Model: sd",
        "Model: ./sd.safetensors, Version: Impasto 1",
    ):
        with pytest.raises(InvalidRecipe, match="Give it with --model"):
            named(text)


def test_after_a_pull_nothing_opens_a_socket(store: Store, models: Path) -> None:
    """Making, verifying and tracing back, from a folder and from a pickle, in a process that cannot use sockets."""
    put(store, models / "folder", "sd")
    save_file(Path("whole.safetensors"), tiny.stable_diffusion(), ABOUT)
    torch.save(dict(files.load(Path("whole.safetensors"))), "one.ckpt")
    code = "import socket, sys\nfrom impasto.cli import main\n" + NO_SOCKETS + AFTERWARDS
    for model in ("sd", "one.ckpt"):
        words = [
            "generate",
            "fox",
            "--model",
            model,
            "--seed",
            "1",
            "-o",
            f"{model}.png",
            "--steps",
            "1",
            "--size",
            "64",
        ]
        run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert run.stderr == ""
        assert run.stdout.splitlines()[-1] == "[0, 0, 0, 3]"  # it has no receipt, so that something is not known of it

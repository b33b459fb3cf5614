"""Releases on their way to a hub on this machine that speaks the routes of the real one."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from impasto.cli import main
from impasto.errors import InvalidInput, PushFailed
from impasto.release import check
from impasto.release.push import blob, push
from impasto.rights.identity import Identity
from tests.weights import hubs
from tests.weights.hubs import COMMIT, LARGE, Hub, Repo

REPO = "ada/tiny"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's library uses `data=`


class Uploads:
    """What the hub takes: git's small files in a commit, large ones beforehand, by their hash."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.kept, self.spoiled, self.refused = hub, dict[str, bytes](), "", 0

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.refused:
            return self.refused, {"error": "You are not Ada."}
        if path == "/api/repos/create":
            said = json.loads(body)
            name = f"{said['organization']}/{said['name']}"
            there = name in self.hub.repos
            self.hub.repos.setdefault(name, Repo({}))
            return 409 if there else 200, {"url": f"{self.hub.address}/{name}", "error": "there"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path):
            return 200, (self.modes(body) if found[2] == "preupload" else self.commit(found[1], body))
        return 200, self.batch(json.loads(body))

    def modes(self, body: bytes) -> dict[str, Any]:
        files = json.loads(body)["files"]
        modes = [(one["path"], "lfs" if one["size"] >= LARGE else "regular") for one in files]
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}

    def batch(self, said: dict[str, Any]) -> dict[str, Any]:
        def action(oid: str) -> dict[str, Any]:
            return {"upload": {"href": f"{self.hub.address}/upload/{oid}", "header": {}}}

        objects = [{"oid": one["oid"], "size": one["size"], "actions": action(one["oid"])} for one in said["objects"]]
        return {"transfer": "basic", "objects": objects}

    def commit(self, name: str, body: bytes) -> dict[str, Any]:
        files = self.hub.repos[name].files
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.kept[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        if self.spoiled:
            files[self.spoiled] += b"!"
        return {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.address}/{name}/commit/{COMMIT}"}


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with hubs.running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        taken = Uploads(hub)

        def answer(self: Any, status: int, content: Any) -> None:
            self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def body(self: Any) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def post(self: Any) -> None:
            answer(self, *taken.post(self.path.partition("?")[0], body(self)))

        def put(self: Any) -> None:
            taken.kept[self.path.rpartition("/")[2]] = body(self)
            answer(self, 200, {})

        ask = hubs._Handler.do_GET

        def get(self: Any) -> None:
            if found := re.match(r"/api/models/([^/]+/[^/]+)/tree/", self.path):
                files = hub.repos[found[1]].files
                listed = [{"type": "file", "path": n, "size": len(c), "oid": blob(c)} for n, c in files.items()]
                answer(self, 200, listed)
            else:
                ask(self)

        for name, method in {"do_POST": post, "do_PUT": put, "do_GET": get}.items():
            monkeypatch.setattr(hubs._Handler, name, method, raising=False)
        yield taken


def test_a_release_arrives_as_it_is(uploads: Uploads, released: Path, maker: Identity, tmp_path: Path) -> None:
    uploads.hub.repos[REPO] = Repo({"old.ckpt": b"pickled", ".gitattributes": b"* text\n"})
    assert push(released, REPO) == f"{uploads.hub.address}/{REPO}/commit/{COMMIT}"
    for name, content in uploads.hub.repos[REPO].files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert check.verify(tmp_path, maker.root).state == "holds"
    assert uploads.kept  # the weights went ahead


def test_what_did_not_arrive_is_told(uploads: Uploads, released: Path) -> None:
    for name in ("README.md", "NOTICE", "unet/diffusion_pytorch_model.safetensors"):
        uploads.spoiled = name
        with pytest.raises(PushFailed, match=f"{REPO} has not what was sent: {name}"):
            push(released, REPO)


def test_a_changed_release_is_not_sent(uploads: Uploads, released: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(released, tmp_path / "copy"))
    (folder / "LICENSE").write_text("Do what you like.")
    with pytest.raises(InvalidInput, match=r"nothing was sent(?s:.*)The file 'LICENSE' was changed"):
        push(folder, REPO)
    assert uploads.hub.repos == {}


def test_who_may_not(uploads: Uploads, released: Path) -> None:
    uploads.refused = 403
    with pytest.raises(PushFailed, match="hf auth login"):
        push(released, REPO)
    with pytest.raises(InvalidInput, match="not a repository's name"):
        push(released, "a/b/c")


def test_no_hub(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PushFailed, match="forbids the network"):
        push(released, REPO)


def test_the_command(uploads: Uploads, released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "push", str(released), REPO]) == 0
    assert capsys.readouterr().out == f"{uploads.hub.address}/{REPO}/commit/{COMMIT}\n"

"""Who may speak to the server, and what no answer ever says."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from impasto.errors import InvalidInput, NotFound
from impasto.server.app import create_app
from impasto.server.listening import listen
from impasto.server.security import PROTECTED, new_token
from impasto.server.service import FolderTaken, Service
from impasto.server.settings import Limits, Settings
from impasto.server.worker import said_of, without_paths

TOKEN = "a-token-of-more-than-16"
LIMITS = Limits(max_upload_bytes=50_000, max_body_bytes=4_000, max_queue=2)
WRONG = ("wrong", TOKEN[:-1], TOKEN + "x", "", "é" * 16)


class Caller:
    """Speaks to an application whose queue nobody works on."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, method: str, path: str, host: str = "127.0.0.1:8080", **more: Any) -> httpx2.Response:
        async def call() -> httpx2.Response:
            transport = httpx2.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(call())


def caller(tmp_path: Path, model: str, **more: Any) -> Caller:
    return Caller(create_app(Settings(data=tmp_path, models=(model,), device="cpu", limits=LIMITS, **more)))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Caller]:
    return caller(tmp_path_factory.mktemp("local"), tiny_model)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Caller]:
    names = {"host": "0.0.0.0", "names": ("studio.example",), "token": TOKEN}
    return caller(tmp_path_factory.mktemp("remote"), tiny_model, **names)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:8080", "LOCALHOST:8080"])
def test_the_server_goes_by_its_own_names(local: Caller, host: str) -> None:
    assert local("GET", "/api/health", host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:1", "10.0.0.7", "a"]
)
@pytest.mark.parametrize("path", ["/api/jobs", "/", "/api/health", "/metrics"])
def test_a_name_that_was_pointed_here_is_not_answered(local: Caller, host: str, path: str) -> None:
    answer = local("GET", path, host)
    assert (answer.status_code, code(answer)) == (403, "unknown_host")


def test_a_missing_or_broken_host_is_not_answered(local: Caller) -> None:
    for host in ("", "[", "@@@", "x]y"):
        assert local("GET", "/api/health", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8080"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"origin": "https://127.0.0.1:8080"}, False),
        ({"origin": "http://localhost:8080"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, False),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/jobs"), ("POST", "/api/jobs"), ("DELETE", "/api/x")])
def test_other_sites_pages_are_not_answered(
    local: Caller, method: str, path: str, headers: dict[str, str], ours: bool
) -> None:
    answer = local(method, path, headers=headers)
    assert (answer.status_code == 403 and code(answer) == "cross_site") != ours


def test_a_link_on_another_page_leads_to_the_studio_only(local: Caller) -> None:
    follows = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    framed = {**follows, "sec-fetch-dest": "iframe"}
    assert local("GET", "/", headers=follows).status_code == 200
    assert local("GET", "/", headers=framed).status_code == 403
    assert local("POST", "/", headers=follows).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_forms_of_other_pages_cannot_say_json(local: Caller, kind: str) -> None:
    answer = local("POST", "/api/jobs", content=b'{"prompt": "a fox"}', headers={"content-type": kind})
    assert 400 <= answer.status_code < 500
    assert local("GET", "/api/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("path", ["/api/jobs", "/metrics", "/openapi.json", "/v1/models", "/sdapi/v1/options", "/mcp"])
def test_where_others_can_reach_it_the_token_is_needed(remote: Caller, path: str) -> None:
    assert path.startswith(PROTECTED)
    answer = remote("GET", path)
    assert (answer.status_code, code(answer)) == (401, "token_needed")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    for wrong in WRONG:
        assert remote("GET", path, headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401
    assert remote("GET", path, headers=bearer()).status_code != 401


def test_every_way_to_bring_the_token(remote: Caller) -> None:
    for headers in (bearer(), basic("anybody", TOKEN), basic(TOKEN, ""), {"cookie": f"a=b; impasto_token={TOKEN}"}):
        assert remote("GET", "/api/jobs", headers=headers).status_code == 200
    broken = (
        {"authorization": "Basic %%%"},
        {"authorization": "Basic"},
        {"authorization": "Bearer"},
        basic(TOKEN, "x"),
    )
    for headers in (*broken, {"cookie": "impasto_token=x"}, {"cookie": "\\"}, {"authorization": "Basic /w=="}):
        assert remote("GET", "/api/jobs", headers=headers).status_code == 401


def test_login_keeps_the_token_where_no_script_sees_it(remote: Caller, local: Caller) -> None:
    assert code(remote("POST", "/api/login", json={"token": "wrong"})) == "wrong_token"
    assert code(local("POST", "/api/login", json={"token": ""})) == "wrong_token"
    cookie = remote("POST", "/api/login", json={"token": TOKEN}).headers["set-cookie"]
    assert f"impasto_token={TOKEN}" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    foreign = remote("POST", "/api/login", json={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert code(foreign) == "cross_site"


def test_addresses_cannot_be_rebound_and_names_have_to_be_known(remote: Caller) -> None:
    for host, status in (("10.1.2.3:8080", 200), ("studio.example", 200), ("evil.example", 403)):
        assert remote("GET", "/api/jobs", host, headers=bearer()).status_code == status


def test_health_and_the_page_itself_need_no_token(remote: Caller) -> None:
    for path in ("/api/health", "/"):
        assert remote("GET", path).status_code == 200


def test_browsers_are_told_to_be_careful(local: Caller) -> None:
    page, api = local("GET", "/"), local("GET", "/api/jobs")
    for answer in (page, api):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert api.headers["cache-control"] == "no-store"
    assert "unsafe" not in page.headers["content-security-policy"]


def test_bodies_are_bounded_however_they_come(local: Caller) -> None:
    large = b'{"prompt": "' + b"x" * 5_000 + b'"}'

    async def pieces() -> Any:
        for _ in range(50):
            yield b"x" * 1000

    kind = {"content-type": "application/json"}
    assert local("POST", "/api/jobs", content=large, headers=kind).status_code == 413
    assert local("POST", "/api/jobs", content=pieces(), headers=kind).status_code == 413
    for path in ("/api/uploads", "/api/recall"):
        answer = local("POST", path, files={"file": ("x.png", b"x" * 70_000)})
        assert answer.status_code == 413
        assert local("POST", path, files={"file": ("x.png", b"x" * 50_001)}).status_code == 413
        assert local("POST", path, files={"file": ("x.png", b"x" * 4_000)}).status_code == 422


def test_a_form_has_one_file(local: Caller) -> None:
    files = [("file", ("x.png", b"x")), ("file", ("y.png", b"y"))]
    assert local("POST", "/api/uploads", files=files).status_code == 400


@pytest.mark.parametrize(
    "path", ["/../settings.py", "/..%2f..%2fapp.py", "/assets/../../__init__.py", "//etc/passwd", "/%00"]
)
def test_no_file_but_the_page_s_own_is_served(local: Caller, path: str) -> None:
    answer = local("GET", path)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/pictures/{id}/file",
        "/api/pictures/{id}/thumbnail",
        "/api/jobs/{id}",
        "/api/jobs/{id}/preview",
        "/api/models/{id}/origin",
        "/api/uploads/{id}/file",
    ],
)
@pytest.mark.parametrize(
    "id_", ["..%2f..%2flock.sqlite", "p", "x" * 5000, "p" + "0" * 19 + "é", "p" + "0" * 20 + "%00", "*"]
)
def test_ids_are_never_paths(local: Caller, path: str, id_: str) -> None:
    answer = local("GET", path.replace("{id}", id_))
    assert answer.status_code in (404, 422)
    assert answer.json().keys() == {"error"}


def test_a_full_queue_says_so(tmp_path: Path, tiny_model: str) -> None:
    call = caller(tmp_path, tiny_model)
    answers = [call("POST", "/api/jobs", json={"prompt": "a fox"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert code(answers[2]) == "queue_full"
    assert int(answers[2].headers["retry-after"]) > 0


def test_errors_do_not_say_where_things_are(tmp_path: Path) -> None:
    model, home = tmp_path / "models" / "my model.safetensors", Path("/home/somebody")
    error = NotFound(f"Cannot read {model}: gone. See '{home}/notes.txt', (/etc/passwd), C:\\Users\\x and a/b.")
    code_, message = said_of(error, {model: "the model"})
    assert code_ == "not_found"
    assert message == "Cannot read the model: gone. See '...', (...), ... and a/b."
    assert without_paths("fine / and well, 3/4", {}) == "fine / and well, 3/4"
    for unforeseen in (KeyError("/home/somebody/x"), OSError(2, "gone", "/home/somebody/x")):
        assert "somebody" not in said_of(unforeseen, {})[1]
    for memory in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")):
        assert said_of(memory, {})[0] == "out_of_memory"


def test_a_bug_says_nothing_but_that_it_is_one(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = caller(tmp_path, tiny_model)

    def broken(*_: object) -> None:
        raise RuntimeError("secret in /home/somebody")

    monkeypatch.setattr(Service, "jobs", broken)
    answer = call("GET", "/api/jobs")
    assert (answer.status_code, code(answer)) == (500, "unexpected")
    assert "somebody" not in answer.text


def test_no_address_but_loopback_without_a_token(tmp_path: Path, tiny_model: str) -> None:
    settings = Settings(data=tmp_path, models=(tiny_model,), host="0.0.0.0", device="cpu")
    with pytest.raises(InvalidInput, match="needs a token"):
        listen(create_app(settings), settings, "info", said=print)
    assert len({new_token() for _ in range(9)}) == 9
    assert len(new_token()) >= 43
    with pytest.raises(InvalidInput, match="token"):
        Settings.parse({"data": tmp_path, "token": "short"}, "The settings")


def test_one_server_a_folder(tmp_path: Path, tiny_model: str) -> None:
    settings = Settings(data=tmp_path, models=(tiny_model,), device="cpu")
    service = Service(settings)
    with pytest.raises(FolderTaken, match="Another server"):
        Service(settings)
    service.stop()
    Service(settings).stop()

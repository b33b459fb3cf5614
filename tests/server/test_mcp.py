"""The tools, called by the SDK's own client: over stdio, over HTTP, and with a service of their own."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from impasto.server import mcp
from impasto.server.mcp import Own, Place, fixed, mcp_server, over
from impasto.server.settings import Settings
from tests.server.running import PATIENCE, TOKEN, Running, model_folder

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")


@pytest.fixture(scope="module")
def server(house: Running) -> Running:
    return house


def run(server: Running, use: Any, place: Place | None = None) -> Any:
    """Call `use` with a client of the tools that reach `server` over HTTP."""

    async def main() -> Any:
        async with over(None, server.url, None) as http:
            tools = mcp_server(fixed(http), place or Place(files=True, url=server.url))
            async with Client(tools) as client:
                return await use(client)

    return anyio.run(main)


def told(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    (text,) = [content for content in result.content if isinstance(content, TextContent)]
    data: dict[str, Any] = json.loads(text.text)
    return data


def shown(result: CallToolResult) -> list[Image.Image]:
    contents = [content for content in result.content if isinstance(content, ImageContent)]
    return [Image.open(io.BytesIO(base64.b64decode(content.data))) for content in contents]


def refused(result: CallToolResult) -> str:
    assert result.is_error
    return " ".join(content.text for content in result.content if isinstance(content, TextContent))


def test_the_tools_say_what_they_take(server: Running) -> None:
    tools = {tool.name: tool for tool in run(server, lambda client: client.list_tools()).tools}
    assert tools.keys() == mcp.TOOLS.keys()
    for tool in tools.values():
        assert tool.description
        assert tool.annotations
        for name, field in tool.input_schema["properties"].items():
            assert "context" not in name
            assert field.get("description") or name == "limit", (tool.name, name)
    assert tools["list_models"].annotations.read_only_hint  # type: ignore[union-attr]


def test_a_picture_is_made_shown_found_and_recalled(server: Running, tmp_path: Path) -> None:
    steps: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        assert (total, bool(message)) == (1.0, True)
        steps.append(done)

    async def use(client: Client) -> None:
        asked = {"prompt": "a violet fox", "count": 2, "seed": 7, "steps": 10, "wait_seconds": 600}
        made = await client.call_tool("generate", asked, progress_callback=progress)
        assert [image.size for image in shown(made)] == [(64, 64)] * 2
        pictures = told(made)["pictures"]
        assert [picture["seed"] for picture in pictures] == [7, 8]
        path = Path(pictures[0]["file"])
        assert path.parent == tmp_path
        assert path.read_bytes() == base64.b64decode(made.content[0].data)  # type: ignore[union-attr]
        recalled = told(await client.call_tool("recall", {"image": pictures[1]["id"]}))
        assert recalled["recipe"]["seed"] == 8
        from_file = told(await client.call_tool("recall", {"image": str(path)}))
        assert (from_file["source"], from_file["request"]["prompt"]) == ("impasto", "a violet fox")
        found = told(await client.call_tool("find_pictures", {"search": "violet"}))
        assert {one["id"] for one in found["pictures"]} == {one["id"] for one in pictures}
        (again,) = shown(await client.call_tool("show_picture", {"picture": pictures[0]["id"]}))
        assert again.tobytes() == shown(made)[0].tobytes()
        status = told(await client.call_tool("job_status", {"job": told(made)["job"]}))
        assert status["state"] == "done"
        larger = await client.call_tool("upscale", {"picture": pictures[0]["id"], "scale": 1.5, "wait_seconds": 600})
        assert [image.size for image in shown(larger)] == [(96, 96)]

    run(server, use, Place(files=True, output=tmp_path, url=server.url))
    assert steps == sorted(steps)
    assert len(steps) > 1


def test_a_picture_is_edited_by_id_by_file_and_as_data(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    PICTURE.save(path)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 32))
    data = io.BytesIO()
    mask.save(data, format="PNG")
    uri = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"

    async def use(client: Client) -> None:
        edited = await client.call_tool("edit", {"image": str(path), "prompt": "a fox", "mask": uri, "seed": 1})
        (image,) = shown(edited)
        assert image.convert("RGB").crop((0, 48, 64, 64)).tobytes() == PICTURE.crop((0, 48, 64, 64)).tobytes()
        again = {"image": told(edited)["pictures"][0]["id"], "prompt": "a fox", "strength": 0.9}
        assert len(shown(await client.call_tool("edit", again))) == 1

    run(server, use)


def test_what_takes_long_is_asked_for_again_and_can_be_cancelled(server: Running) -> None:
    async def use(client: Client) -> None:
        asked = {"prompt": "slow", "steps": 150, "count": 16, "wait_seconds": 0.1}
        begun = told(await client.call_tool("generate", asked))
        assert begun["state"] in ("queued", "running")
        assert "job_status" in begun["next"]
        assert (
            told(await client.call_tool("job_status", {"job": begun["job"], "wait_seconds": 0}))["job"] == begun["job"]
        )
        assert told(await client.call_tool("cancel_job", {"job": begun["job"]}))["state"] == "cancelled"

    run(server, use)


def test_models_and_whose_works_they_learned_from(server: Running) -> None:
    async def use(client: Client) -> None:
        model = told(await client.call_tool("list_models"))["models"][0]
        assert (model["id"], model["defaults"]["steps"], model["defaults"]["width"]) == ("tiny", 2, 64)
        assert told(await client.call_tool("origin"))["corpus"] is None

    run(server, use)


def test_refusals_say_what_is_wrong(server: Running) -> None:
    async def use(client: Client) -> list[str]:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("generate", {"prompt": "a fox", "steps": 100_000}),
            ("generate", {"prompt": "a fox", "model": "nothing"}),
            ("edit", {"prompt": "a fox", "image": "/no/such/file.png"}),
            ("edit", {"prompt": "a fox", "image": "data:text/plain;base64,AAAA"}),
            ("job_status", {"job": "../../metrics"}),
            ("job_status", {"job": "j00000000000000000000"}),
            ("generate", {}),
        ]
        return [refused(await client.call_tool(name, fields)) for name, fields in calls]

    said = run(server, use)
    words = ("steps", "nothing", "No such file", "not a picture", "not an id", "no job", "prompt")
    assert [word for word, text in zip(words, said, strict=True) if word not in text] == []


def test_paths_are_read_only_where_client_and_tools_are_on_one_machine(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    PICTURE.save(path)

    async def use(client: Client) -> None:
        for tool in ("edit", "recall"):
            fields = {"image": str(path), **({"prompt": "a fox"} if tool == "edit" else {})}
            assert "not read here" in refused(await client.call_tool(tool, fields))

    run(server, use, Place())


@pytest.mark.parametrize("which", ["house", "guarded"])
def test_the_server_has_the_tools_at_mcp(request: pytest.FixtureRequest, which: str) -> None:
    running_: Running = request.getfixturevalue(which)
    url, headers = f"{running_.url}/mcp", {"authorization": f"Bearer {TOKEN}"}

    async def main() -> None:
        http = httpx2.AsyncClient(headers=headers, timeout=PATIENCE)
        async with http, Client(streamable_http_client(url, http_client=http)) as client:
            made = await client.call_tool("generate", {"prompt": "a fox", "width": 64, "height": 64})
            assert len(shown(made)) == 1
            assert "not read here" in refused(await client.call_tool("recall", {"image": "/etc/passwd"}))

    anyio.run(main)
    if which == "guarded":
        assert httpx2.post(url, json={}).status_code == 401
    assert httpx2.post(url, json={}, headers={**headers, "origin": "https://example.com"}).status_code == 403


def test_a_service_of_its_own_starts_when_asked_and_gives_way_to_another(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "mcp", models=(model_folder(tmp_path),), device="cpu", threads=1)

    async def main() -> None:
        first, second = Own(settings), Own(settings)
        try:
            async with Client(mcp_server(first.connect, Place())) as client:
                assert len((await client.list_tools()).tools) == len(mcp.TOOLS)
                assert not (tmp_path / "mcp").exists()
                assert told(await client.call_tool("list_models"))["models"]
            async with Client(mcp_server(second.connect, Place())) as client:
                assert len(shown(await client.call_tool("generate", {"prompt": "a fox"}))) == 1
            assert (tmp_path / "mcp-2").is_dir()
        finally:
            first.stop()
            second.stop()

    anyio.run(main)


def test_tools_are_seen_before_torch_is_there() -> None:
    code = "import sys, impasto.server.mcp; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_impasto_mcp_speaks_over_standard_input_and_output(server: Running) -> None:
    words = ["-m", "impasto", "mcp", "--server", server.url]

    async def main() -> None:
        async with Client(stdio_client(StdioServerParameters(command=sys.executable, args=words))) as client:
            assert client.server_info.name == "impasto"
            made = await client.call_tool("generate", {"prompt": "a fox", "width": 64, "height": 64})
            assert told(made)["pictures"][0]["url"].startswith(server.url)

    anyio.run(main)

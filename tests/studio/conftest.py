"""The studio in a real browser, on a real server with a tiny model."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import write_adapter
from tests.adapters import random
from tests.server.running import Running, running
from tests.weights import tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 180_000
"""Milliseconds; a loaded machine is no failure."""

HUNG = ".work > .bare .hung"
"""The picture that is large on the stage."""

ELSEWHERE = "studio.test"
"""A name under which the browser finds this machine: to it a place like any other, without what loopback alone may."""

# A browser on a machine without a screen, that looks for nothing outside.
QUIET = [
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str | None:
    """Return where Chromium is on this machine, if it is."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("IMPASTO_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")  # no longer: Playwright keeps an event loop running in this thread, which others need
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium, or name it in IMPASTO_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("studio")
    with running(folder, adapters=(adapters(folder / "loras"),), embeddings=(words(folder / "words"),)) as server:
        yield server


def adapters(folder: Path) -> str:
    """Write two adapters, of which one has a picture and a word."""
    folder.mkdir()
    told = {"modelspec.title": "Thick Ink", "modelspec.trigger_phrase": "inked"}
    write_adapter(random.adapter(seed=1, name="ink"), folder / "ink.safetensors", metadata=told)
    write_adapter(random.adapter(seed=2, name="wash"), folder / "wash.safetensors")
    Image.radial_gradient("L").save(folder / "ink.png")
    return str(folder)


def words(folder: Path) -> str:
    """Write an embedding."""
    vectors = torch.ones(1, tiny.networks().spec.text.hidden_size)
    write_embedding(Embedding("moss", vectors), folder / "moss.safetensors")
    return str(folder)


DROP = """async ([bytes, name]) => {
  const data = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([data], name, { type: 'image/png' }))
  window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }))
}"""


class Studio:
    """The page, as somebody uses it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        self.known: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _console(self, message: Any) -> None:
        # A preview that is asked for just as its job ends is no longer there; the picture takes its place.
        place = message.location.get("url", "")
        if message.type == "error" and "/preview" not in place:
            self.wrong.append(f"{message.text} ({place})")

    def open(self, draft: dict[str, Any] | None = None, view: dict[str, Any] | None = None) -> None:
        """Open the page, with what was written and chosen there before."""
        kept = {"impasto.draft": draft or {}, "impasto.view": view or {}}
        self.page.goto(self.url + "/api/health")
        for key, state in kept.items():
            value = json.dumps({"state": state, "version": 2 if key == "impasto.draft" else 0})
            self.page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, value])
        self.page.goto(self.url)
        self.page.wait_for_selector("#prompt")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def drop(self, data: bytes, name: str) -> None:
        """Drop a PNG file onto the page."""
        self.page.evaluate(DROP, [base64.b64encode(data).decode(), name])

    def make(self) -> None:
        self.known = self.pictures()
        self.button("Make").click()

    def pictures(self) -> list[str]:
        """Return the ids of the pictures in the library, which the stage may show before a new one is there."""
        told = self.page.evaluate("fetch('/api/pictures?limit=100').then((answer) => answer.json())")
        return [picture["id"] for picture in told["pictures"]]

    def made(self) -> str:
        """Wait for the one picture of the job on the stage, which was not in the library before; returns its id."""
        found = self.page.wait_for_function(
            """([hung, known]) => {
                const image = document.querySelector(hung)
                const id = image?.getAttribute('src')?.match(/^\\/api\\/pictures\\/([^/]+)/)?.[1]
                const done = document.querySelector('.stage .work .actions')
                const there = done && image?.complete && image.naturalWidth > 0
                return id && !known.includes(id) && there ? id : null
            }""",
            arg=[HUNG, self.known],
        )
        return str(found.json_value())


@pytest.fixture
def studio(browser: Browser, server: Running) -> Iterator[Studio]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    studio = Studio(context.new_page(), server.url)
    yield studio
    context.close()
    for state in ("queued", "running"):
        for job in server.service.jobs(state, 50, None):
            server.service.cancel(job.id)
    assert not studio.wrong, "what the browser's console said"

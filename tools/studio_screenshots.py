"""Take the pictures of the studio for the documentation: the real page, on a real server, with pictures it made.

    python tools/studio_screenshots.py [--model glyph] [--output docs/images]

Starts `impasto serve` on a free port with a folder of its own, asks for the pictures over its API, and photographs the
page in Chromium. Needs the extras that the server and its tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PROMPTS = (
    *("red apple", "cat face", "hamburger", "tulip", "automobile", "cactus", "soccer ball", "sunglasses", "pig face"),
    *(
        "mushroom",
        "lemon",
        "cookie",
        "top hat",
        "eggplant",
        "red heart on a green background",
        "pear on a blue background",
    ),
)
HERO, COUNT = "tiger face", 4
PATIENCE_SECONDS = 1800


@contextmanager
def served(model: str) -> Iterator[str]:
    """Run a server; yields its url."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "impasto", "serve", "--model", model, "--data", folder, "--port", "0"]
        server = subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.PIPE, text=True)
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait(60)


def asked(url: str, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """Return the server's answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def made(url: str) -> None:
    """Fill the gallery, and star some of it; the last job is the one that the stage shows."""
    for number, prompt in enumerate(PROMPTS):
        asked(url, "/api/jobs", {"prompt": prompt, "seed": number})
    last = asked(url, "/api/jobs", {"prompt": HERO, "count": COUNT, "seed": 100})
    until = time.monotonic() + PATIENCE_SECONDS
    while (job := asked(url, f"/api/jobs/{last['id']}"))["state"] not in ("done", "failed"):
        print(f"\r{job['state']}, {job['progress']:.0%}   ", end="", flush=True)
        if time.monotonic() > until:
            raise SystemExit(f"The pictures were not made within {PATIENCE_SECONDS} s.")
        time.sleep(1)
    print()
    if job["state"] == "failed":
        raise SystemExit(f"The pictures could not be made: {job['error']}.")
    for picture in asked(url, "/api/pictures?limit=20")["pictures"][COUNT::4]:
        asked(url, f"/api/pictures/{picture['id']}", {"starred": True}, "PATCH")


def opened(browser: Browser, url: str, size: dict[str, int], light: str) -> Page:
    """Open the page with the last job on its stage."""
    job = asked(url, "/api/jobs?limit=1")["jobs"][0]
    page = browser.new_context(viewport=size, color_scheme=light, device_scale_factor=2).new_page()
    page.goto(url + "/api/health")
    for key, version, state in (
        ("draft", 2, {"prompt": HERO, "count": COUNT}),
        ("view", 0, {"job": job["id"], "full": False}),
    ):
        kept = json.dumps({"state": state, "version": version})
        page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [f"impasto.{key}", kept])
    page.goto(url)
    page.locator(".works img").nth(COUNT - 1).wait_for()
    return page


def shot(page: Page, path: Path) -> None:
    """Photograph the page once everything on it has come, in few enough colours for a repository."""
    page.wait_for_load_state("load")
    # A picture further down the page is not fetched before it is scrolled to: those are not waited for.
    page.evaluate(
        "Promise.race([new Promise((done) => setTimeout(done, 5000)), Promise.all("
        "[...document.images].filter((i) => i.offsetParent).map((i) => i.decode().catch(() => 0)))])"
    )
    page.wait_for_timeout(600)
    page.screenshot(path=path)
    print(path)


def take(browser: Browser, url: str, folder: Path) -> None:
    """Take all of them."""
    page = opened(browser, url, DESKTOP, "light")
    shot(page, folder / "studio-make.png")
    page.locator(".works .tile").first.click()
    page.wait_for_selector(".origin .makers")
    shot(page, folder / "studio-origin.png")
    page.get_by_role("button", name="Send to edit").click()
    page.wait_for_selector(".sheet img")
    box = page.locator(".sheet").bounding_box()
    assert box
    points = [(0.3, 0.25), (0.5, 0.18), (0.7, 0.25), (0.72, 0.4)]
    page.mouse.move(*at(box, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(box, *point), steps=12)
    page.mouse.up()
    shot(page, folder / "studio-edit.png")
    dark = opened(browser, url, DESKTOP, "dark")
    dark.get_by_role("link", name="Gallery").click()
    dark.locator(".wall .tile").nth(8).wait_for()
    shot(dark, folder / "studio-gallery.png")
    phone = opened(browser, url, PHONE, "dark")
    shot(phone, folder / "studio-phone.png")


def at(box: Any, x: float, y: float) -> tuple[float, float]:
    """Return the point of the window that lies at these shares of `box`."""
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def main() -> None:
    """Take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="glyph")
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    said = parser.parse_args()
    said.output.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("IMPASTO_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no Chromium here: apt-get install chromium, or name it in IMPASTO_CHROMIUM.")
    with served(said.model) as url, sync_playwright() as playwright:
        made(url)
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        take(browser, url, said.output)
        browser.close()


if __name__ == "__main__":
    main()

"""What is in the package is built from these sources, small, and asks nobody else for anything."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import impasto

PAGE = Path(impasto.__file__).parent / "studio" / "page"
SOURCES = Path(__file__).parents[2] / "studio"
ROOTS = (
    "index.html",
    "package-lock.json",
    "package.json",
    "public",
    "sources.ts",
    "src",
    "tsconfig.json",
    "vite.config.ts",
)
MOST_BYTES = 1_000_000


def digest() -> str:
    """Return the digest of the page's sources, as `studio/sources.ts` makes it."""
    roots = (SOURCES / root for root in ROOTS)
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    total = hashlib.sha256()
    for name, path in sorted((path.relative_to(SOURCES).as_posix(), path) for path in files):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def test_the_page_is_built_from_these_sources() -> None:
    built = (PAGE / "sources.sha256").read_text(encoding="utf-8").strip()
    assert built == digest(), "studio/ has changed since the page was built: cd studio && npm ci && npm run build"


@pytest.mark.slow
def test_building_it_again_gives_the_same_page(tmp_path: Path) -> None:
    npx = shutil.which("npx")
    if npx is None or not (SOURCES / "node_modules").is_dir():
        pytest.skip("the page's tools are not installed: cd studio && npm ci")
    command = [npx, "vite", "build", "--outDir", str(tmp_path / "page"), "--logLevel", "error"]
    subprocess.run(command, cwd=SOURCES, check=True, timeout=300)
    again = {
        path.relative_to(tmp_path / "page"): path.read_bytes()
        for path in (tmp_path / "page").rglob("*")
        if path.is_file()
    }
    assert again == {path.relative_to(PAGE): path.read_bytes() for path in PAGE.rglob("*") if path.is_file()}


def test_the_page_is_small_and_has_no_source_maps() -> None:
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert {path.suffix for path in files} <= {".html", ".js", ".css", ".svg", ".sha256", ".txt"}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    html = re.sub(r"<!--.*?-->", "", (PAGE / "index.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"<style|\son\w+=|\sstyle=", html) == []
    fetched = re.findall(r"""(?:src|href)=["']([^"']+)""", html)
    styles = "".join(path.read_text(encoding="utf-8") for path in PAGE.rglob("*.css"))
    fetched += re.findall(r"""url\(["']?([^"')]+)""", styles)
    assert fetched
    assert all((PAGE / address.lstrip("/")).is_file() or (PAGE / "assets" / address).is_file() for address in fetched)
    assert "@import" not in styles


def test_the_licences_of_what_is_built_in_are_there() -> None:
    """Of the libraries that the page names itself, and of what those need."""
    told = (PAGE / "licences.txt").read_text(encoding="utf-8")
    needed = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert [name for name in needed if f"## {name}" not in told] == []
    assert "Permission is hereby granted" in told
    assert "Apache License" in told


def test_the_lock_file_names_no_registry() -> None:
    lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock

"""Packages of the npm registry, fetched with its own client at a pinned version and checked against a pinned digest."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from impasto.errors import SourceUnavailable


@contextmanager
def packed(package: str, version: str, integrity: str, archive: Path | None = None) -> Iterator[Path]:
    """Yield the path of the package's tarball: `archive` when given, else fetched into a temporary folder.

    Args:
        package: name on the registry, such as `@iconify/json`.
        version: exact version.
        integrity: `sha512-<base64>` as the registry states it (`npm view PACKAGE@VERSION dist.integrity`).
        archive: a tarball that is there already.

    Raises:
        SourceUnavailable: no npm client, the fetch failed, or the tarball is not the one that was pinned.
    """
    if archive is not None:
        check(archive, integrity)
        yield archive
        return
    with tempfile.TemporaryDirectory(prefix="impasto-npm-") as folder:
        tarball = _fetch(f"{package}@{version}", Path(folder))
        check(tarball, integrity)
        yield tarball


def check(tarball: Path, integrity: str) -> None:
    """Raise SourceUnavailable unless `tarball` has the sha512 digest `integrity`."""
    try:
        with tarball.open("rb") as file:
            state = hashlib.sha512()
            while piece := file.read(1 << 20):
                state.update(piece)
    except OSError as error:
        raise SourceUnavailable(f"Cannot read {tarball}: {error}") from error
    found = f"sha512-{base64.b64encode(state.digest()).decode()}"
    if found != integrity:
        raise SourceUnavailable(f"{tarball} is not what the plan pins: it has {found}, the plan says {integrity}.")


def _fetch(spec: str, folder: Path) -> Path:
    client = shutil.which("npm")
    if client is None:
        raise SourceUnavailable(
            f"npm is needed to fetch {spec}. Install Node.js, or give the tarball with --source-archive."
        )
    command = [client, "pack", spec, "--pack-destination", str(folder), "--ignore-scripts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tarballs = sorted(folder.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        raise SourceUnavailable(f"`{' '.join(command[1:3])}` failed: {done.stderr.strip()[-500:]}")
    return tarballs[0]

from __future__ import annotations

import os
from pathlib import Path

import pytest

from impasto.corpus.sources.npm import packed
from impasto.errors import SourceUnavailable
from tests.corpus.icons import collection, package


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm that copies a tarball and notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "npm"
    script.write_text(
        '#!/bin/sh\necho "$@" > "$(dirname "$0")/arguments"\ncp "$(dirname "$0")/icons.tgz" "$4/icons.tgz"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def test_the_client_is_asked_for_the_exact_version(client: Path) -> None:
    integrity = package(client / "icons.tgz", collection("aa", {}))
    with packed("@iconify/json", "1.2.3", integrity) as tarball:
        assert tarball.read_bytes() == (client / "icons.tgz").read_bytes()
    assert not tarball.exists()
    assert (client / "arguments").read_text().startswith("pack @iconify/json@1.2.3 --pack-destination ")


def test_another_tarball_is_refused(client: Path) -> None:
    package(client / "icons.tgz", collection("aa", {}))
    with pytest.raises(SourceUnavailable, match="not what the plan pins"), packed("icons", "1.2.3", "sha512-x"):
        pass


def test_a_failing_client_is_reported(client: Path) -> None:
    (client / "npm").write_text("#!/bin/sh\necho E404 not found >&2\nexit 1\n")
    with pytest.raises(SourceUnavailable, match="E404 not found"), packed("icons", "1.2.3", "sha512-x"):
        pass


def test_without_a_client_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceUnavailable, match="--source-archive"), packed("icons", "1.2.3", "sha512-x"):
        pass


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="Cannot read"), packed("icons", "1", "sha512-x", tmp_path / "no.tgz"):
        pass

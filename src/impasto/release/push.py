"""The way of a release to a hub: whole, nothing else beside it, and what arrived compared with what was sent."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto.errors import InvalidInput, PushFailed
from impasto.release import check
from impasto.schema import file_digest
from impasto.weights.hub import LIBRARY, PUSH, endpoint, told


def push(folder: Path, repo: str, *, private: bool = False, message: str | None = None) -> str:
    """Put the release in `folder` into the repository `repo`, in one commit, and return the commit's address.

    The repository is made if there is none; what is in it and not in the release is taken out.

    Args:
        folder: of a release in which nothing was changed.
        repo: OWNER/NAME.
        private: whether a new repository is to be seen by its owner only.
        message: of the commit.

    Raises:
        InvalidInput: something in the release was changed, or it is none; the repository's name is none.
        PushFailed: the hub cannot be reached, does not let this person in, or has not what was sent.
    """
    from huggingface_hub import HfApi

    report = check.verify(folder)
    if wrong := report.of("changed"):
        listing = "".join(f"\n  {finding.text}" for finding in wrong)
        raise InvalidInput(f"{folder} is not the release that was signed; nothing was sent.{listing}")
    api = HfApi(endpoint=endpoint(), **LIBRARY)
    with told(repo, PUSH):
        api.create_repo(repo, private=private or None, exist_ok=True)
        name = dict(report.says).get("name", folder.name)
        words = message or f"Release of {name}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*commit a data file")  # the manifest of the corpus is meant
            commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=words, delete_patterns="*")
        info = api.model_info(repo, revision=commit.oid, files_metadata=True)
    if differing := sorted(_differing(folder, info)):
        raise PushFailed(f"{repo} has not what was sent: {', '.join(differing[:10])}. Push again.")
    return str(commit.commit_url)


def _differing(folder: Path, info: Any) -> Iterator[str]:
    """Yield the files that the hub has otherwise than `folder`, by the hashes that it tells."""
    there = {one.rfilename: one for one in info.siblings or ()}
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    yield from there.keys() ^ here.keys()
    for name in there.keys() & here.keys():
        lfs = there[name].lfs
        if lfs and f"sha256:{lfs['sha256']}" != file_digest(here[name]):
            yield name
        if not lfs and there[name].blob_id != blob(here[name].read_bytes()):
            yield name


def blob(content: bytes) -> str:
    """Return the name that git has for `content`."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

"""Where the files of pictures are: named by ids, in folders of a few hundred."""

from __future__ import annotations

import hashlib
from pathlib import Path


def picture_id(job: str, row: int) -> str:
    """Return the id of picture `row` of `job`: always the same, so that a picture made again takes its own place."""
    return f"p{hashlib.sha256(f'{job}/{row}'.encode()).hexdigest()[:20]}"


def place(folder: Path, id_: str, ending: str) -> Path:
    """Return where the file of `id_` is in `folder`."""
    return folder / id_[1:3] / f"{id_}.{ending}"

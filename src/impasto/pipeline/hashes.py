"""By what other programs know the files of a model: the beginnings of their SHA-256, as A1111 shows them.

Hashing a file of gigabytes takes seconds, once: what was found is remembered for as long as the file stays as it is
(`weights.facts`), and for a file of the store it is known from when it was put there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from impasto.pictures.infotext import Hashes, short
from impasto.weights.load import LoadedModel, Networks

LEGACY = (0x100000, 0x10000)
"""Where in a file the part is that A1111 hashed until the end of 2022, and how many bytes it has."""


def of(networks: Networks) -> Hashes:
    """Return by what A1111 knows the files that `networks` came from; nothing of what is in memory only."""
    if not isinstance(networks, LoadedModel):
        return Hashes()
    checkpoint = networks.checkpoint
    own, vae = checkpoint.file_digest, checkpoint.substitute
    theirs = vae.file_digest if vae else None
    return Hashes(
        model=short(own) if own else None,
        vae=short(theirs) if theirs else None,
        vae_name=vae.name if vae else None,
    )


def legacy(path: Path) -> str:
    """Return the 8 digits by which A1111 knew the file at `path` until the end of 2022."""
    with path.open("rb") as file:
        file.seek(LEGACY[0])
        return hashlib.sha256(file.read(LEGACY[1])).hexdigest()[:8]

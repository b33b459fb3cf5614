"""Drawings of shapes, each from its number, and corpora of them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw

from impasto.corpus import merkle, store
from impasto.corpus.dedup import fingerprint
from impasto.corpus.policy import Policy
from impasto.corpus.record import Caption, Consent, Image, Licence, Maker, Row, Source
from impasto.schema import bytes_digest

SIDE = 64
POLICY = 'name = "shapes"\nbases = ["licence"]\nlicences = ["CC0-1.0"]\n'


def drawing(number: int) -> Pillow.Image:
    """Return RGBA shapes in random colours and places."""
    draw_from = random.Random(number)
    image = Pillow.new("RGBA", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = draw_from.randrange(6, 34), draw_from.randrange(6, 34)
        box = (x, y, x + draw_from.randrange(8, 24), y + draw_from.randrange(8, 24))
        colour = (draw_from.randrange(200), draw_from.randrange(200), draw_from.randrange(200), 255)
        (draw.rectangle if draw_from.random() < 0.5 else draw.ellipse)(box, colour)
    return image


def ground(image: Pillow.Image, colour: str) -> Pillow.Image:
    """Return `image` on `colour`, RGB."""
    laid = Pillow.new("RGBA", image.size, colour)
    laid.alpha_composite(image)
    return laid.convert("RGB")


def corpus_of(folder: Path, train: Iterable[int], held_out: Iterable[int]) -> None:
    """Write the corpus of the drawings with these numbers."""
    files: dict[str, bytes] = {}
    rows = [_row(number, "train", files) for number in train] + [_row(n, "held-out", files) for n in held_out]
    manifest = store.Manifest(
        name="shapes",
        root=merkle.root([merkle.leaf_hash(row.leaf()) for row in store.canonical_order(rows)]),
        refused_root=store.refused_root(()),
        rows=len(rows),
        refused=0,
        images_bytes=sum(map(len, files.values())),
        size=SIDE,
        policy=_policy().digest,
        plan=bytes_digest(b""),
        builder={},
    )
    store.write(folder, manifest, {"plan.toml": "", "policy.toml": POLICY}, rows, (), files.items())


def _policy() -> Policy:
    return Policy(name="shapes", bases=("licence",), licences=("CC0-1.0",))


def _row(number: int, split: str, files: dict[str, bytes]) -> Row:
    image, data = drawing(number), io.BytesIO()
    image.save(data, "PNG")
    name = bytes_digest(data.getvalue())
    files[name] = data.getvalue()
    return Row(
        source=Source(collection="shapes", version="1", key=f"shape-{number}", file="shapes.json"),
        maker=Maker(name=f"Maker {number % 5}"),
        licence=Licence(spdx="CC0-1.0"),
        consent=Consent(basis="licence"),
        caption=Caption(text=f"shape {number}", source="human"),
        concept=f"shape-{number}",
        image=Image(
            id=name,
            phash=fingerprint(image).phash,
            width=SIDE,
            height=SIDE,
            bytes=len(data.getvalue()),
            media_type="image/png",
            ink=0.5,
        ),
        split="train" if split == "train" else "held-out",
    )

"""What content credentials cost a picture: milliseconds and bytes, beside saving and making it.

python benchmarks/credentials.py [--side 512] [--rounds 15]

Times are of the processor (not of a loaded disk), medians over rounds in which saving and signing take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from impasto.pictures import metadata
from impasto.pictures.origin import pixels_digest
from impasto.receipt import CorpusUse, Receipt
from impasto.recipe import FromPicture, Recipe
from impasto.rights import credentials, identity, verify
from impasto.rights.credentials import Made

DIGEST = "sha256:" + "0" * 64
RECEIPT = Receipt(
    kind="base",
    name="glyph",
    corpora=(CorpusUse(root=DIGEST, selection=DIGEST, rows=1, policy=DIGEST),),
    code="benchmark",
)
MOST_MILLISECONDS, MOST_BYTES = 10, 4096


def main() -> None:
    """Print a line for each format and kind of picture, and whether both limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    image, me = drawing(options.side), identity.make()
    worst = [0.0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("png", "jpg", "webp"):
            for edited in (False, True):
                path = Path(folder, f"picture.{ending}")
                made = Made(image, recipe(image, edited=edited), [RECEIPT])
                figures = measured(path, made, me, options.rounds)
                kind = "edited" if edited else "made"
                print(
                    f"{ending:4} {kind:6} save {figures[0]:6.1f} ms, sign {figures[1]:5.1f} ms "
                    f"({figures[1] / figures[0]:4.0%} of saving), verify {figures[2]:5.1f} ms, {figures[3]:,} bytes"
                )
                worst = [max(worst[0], figures[1]), max(worst[1], figures[3])]
    kept = "kept" if worst[0] <= MOST_MILLISECONDS and worst[1] <= MOST_BYTES else "NOT KEPT"
    print(f"at most {worst[0]:.1f} ms of {MOST_MILLISECONDS} and {worst[1]:,} bytes of {MOST_BYTES:,}: {kept}")


def drawing(side: int) -> Image.Image:
    """Return a picture with areas, edges and some noise, `side` pixels wide and high."""
    y, x = np.mgrid[:side, :side] / side
    levels = np.stack([x, y, (np.hypot(x - 0.5, y - 0.5) < 0.3).astype(float)], -1) * 255
    noise = np.random.default_rng(0).normal(0, 4, levels.shape)
    return Image.fromarray((levels + noise).clip(0, 255).astype(np.uint8))


def recipe(image: Image.Image, *, edited: bool) -> Recipe:
    """Return a recipe of such a picture."""
    start = FromPicture(image=pixels_digest(image), strength=0.5) if edited else None
    return Recipe(
        model_name="glyph",
        model_digest=DIGEST,
        prompt="a red fox in the snow, watercolour",
        negative_prompt="blurry",
        seed=1,
        sampler="dpmpp_2m",
        schedule="karras",
        steps=25,
        guidance=7.5,
        width=image.width,
        height=image.height,
        start=start,
    )


def measured(path: Path, made: Made, me: identity.Identity, rounds: int) -> tuple[float, float, float, int]:
    """Return milliseconds to save, to sign and to verify, and how many bytes larger the file is."""
    taken: list[tuple[float, float, float]] = []
    larger = 0
    for _ in range(rounds + 1):
        save = milliseconds(lambda: metadata.save(made.image, path, made.recipe))
        before = path.stat().st_size
        sign = milliseconds(lambda: credentials.sign(path, made, me))
        larger = max(larger, path.stat().st_size - before)
        taken.append((save, sign, milliseconds(lambda: verify.picture(path, me.root))))
    save, sign, check = (statistics.median(times) for times in zip(*taken[1:], strict=True))  # the first one warms up
    return save, sign, check, larger


def milliseconds(work: Callable[[], object]) -> float:
    """Return the processor's time that `work` takes."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


if __name__ == "__main__":
    main()

"""How often the soft binding of pictures is found again, after what happens to pictures on the web.

python benchmarks/watermark.py [MODEL] [--pictures 50] [--steps 25] [--back 50] [--prompts FILE]

For each picture a twin without a mark is made from the same seed. TPR is the share of marked pictures in which the mark
of their recipe is found. The rate of false ones, 1e-6, is no measurement but a bound that holds for any picture without
a mark (`rights.watermark.read`); beside it, how many twins were taken for marked, and the share of the signs that the
code found has right. A crop keeps its place: where in a picture a part was is not searched for.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import impasto
from impasto.pipeline import Model
from impasto.rights import inversion
from impasto.rights.binding import SCHEME, code_of
from impasto.rights.watermark import Mark

PROMPTS = ("a red fox", "a house by the sea", "a green apple", "an owl at night", "a blue car", "two cups of tea")
Attack = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return `image` as it comes back from a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def webp(image: Image.Image, quality: int) -> Image.Image:
    """Return `image` as it comes back from a lossy WebP file."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, share: float) -> Image.Image:
    """Return `image` in another size; the search puts it back."""
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Return the middle of `image` with `share` of its area where it was, the rest grey."""
    sides = [round(side * share**0.5) for side in image.size]
    x, y = ((whole - part) // 2 for whole, part in zip(image.size, sides, strict=True))
    result = Image.new("RGB", image.size, (128, 128, 128))
    result.paste(image.crop((x, y, x + sides[0], y + sides[1])), (x, y))
    return result


def noisy(image: Image.Image, spread: float) -> Image.Image:
    """Return `image` with normal noise of a standard deviation of `spread` levels."""
    levels = np.asarray(image, float) + np.random.default_rng(0).normal(0, spread, (image.height, image.width, 3))
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


ATTACKS: dict[str, Attack] = {
    "none": lambda image: image,
    "JPEG 90": lambda image: jpeg(image, 90),
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 50": lambda image: jpeg(image, 50),
    "WebP 75": lambda image: webp(image, 75),
    "half size": lambda image: resized(image, 0.5),
    "size x 1.5": lambda image: resized(image, 1.5),
    "crop 80 % in place": lambda image: cropped(image, 0.8),
    "crop 50 % in place": lambda image: cropped(image, 0.5),
    "noise 5 levels": lambda image: noisy(image, 5),
    "noise 15 levels": lambda image: noisy(image, 15),
    "blur 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "brighter by 30 %": lambda image: image.point(lambda level: min(255, round(level * 1.3))),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def main() -> None:
    """Make the pictures, and print a line an attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="glyph")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--back", type=int, default=50, help="steps on the way back to noise")
    parser.add_argument("--prompts", type=Path, help="a file with one prompt a line")
    options = parser.parse_args()
    prompts = options.prompts.read_text(encoding="utf-8").split("\n") if options.prompts else list(PROMPTS)
    model = impasto.load(options.model)
    made = list(pairs(model, [prompt for prompt in prompts if prompt.strip()], options.pictures, options.steps))
    print(f"{model.name} {model.digest}: {len(made)} pictures, {options.steps} steps, {options.back} back")
    print(f"{'attack':20} {'TPR at FPR 1e-6':>16} {'false':>6} {'signs':>6} {'seconds':>8}")
    for name, attack in ATTACKS.items():
        start = time.perf_counter()
        marked = [(code, found(model, attack(image), image.size, options.back)) for code, image, _ in made]
        seconds = (time.perf_counter() - start) / len(made)
        plain = [found(model, attack(twin), twin.size, options.back) for _, _, twin in made]
        right = sum(mark.found and mark.code == code for code, mark in marked) / len(made)
        wrong = sum(mark.found for mark in plain)
        signs = statistics.mean(mark.agreement for _, mark in marked)
        print(f"{name:20} {right:>16.3f} {wrong:>6} {signs:>6.3f} {seconds:>8.1f}", flush=True)


def pairs(model: Model, prompts: list[str], count: int, steps: int) -> Iterator[tuple[int, Image.Image, Image.Image]]:
    """Yield (code, marked picture, its twin without a mark)."""
    for seed in range(count):
        prompt = prompts[seed % len(prompts)]
        marked, twin = (
            model.generate(prompt, seed=seed, steps=steps, soft_binding=binding)[0] for binding in (SCHEME, None)
        )
        yield code_of(marked.recipe), marked.image, twin.image
        print(f"\r{seed + 1} of {count} pictures made", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def found(model: Model, image: Image.Image, size: tuple[int, int], steps: int) -> Mark:
    """Return what is found in `image`, which was made in `size`."""
    return inversion.find(model, image, size, steps)


if __name__ == "__main__":
    main()

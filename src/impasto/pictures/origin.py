"""Where a picture was made, and how much of that its file tells."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field

from impasto.errors import InvalidInput
from impasto.recipe import Recipe
from impasto.schema import Digest, Frozen, bytes_digest

Telling = Literal["full", "private", "none"]
"""What a file says of its recipe: everything; that there is one, sealed (`Commitment`); nothing."""


class Origin(Frozen):
    """What may change a pixel although the recipe is the same, and what the pixels were."""

    impasto: str = Field(description="version that made the picture")
    torch: str = Field(description="version of torch")
    device: str = Field(description="kind of device: cpu, cuda, mps")
    processor: str = Field(default="", description="name of the processor")
    threads: Annotated[int, Field(ge=1)] = Field(default=1, description="that torch used on the CPU")
    batch: Annotated[int, Field(ge=1)] = Field(default=1, description="pictures that were made together")
    pixels: Digest | None = Field(default=None, description="`pixels_digest` of the picture as it was made")


class Commitment(Frozen):
    """A sealed recipe: the file shows `seal`, its maker keeps the rest and can show later that it was this recipe.

    The nonce is what keeps a recipe from being found by trying prompts and seeds until the digest fits.
    """

    format: Literal["impasto-commitment/1"] = "impasto-commitment/1"
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    recipe: Recipe

    @classmethod
    def to(cls, recipe: Recipe) -> Commitment:
        """Return a commitment to `recipe` with a nonce drawn at random."""
        return cls(nonce=secrets.token_hex(32), recipe=recipe)

    @property
    def seal(self) -> str:
        """What can be shown without telling anything: the digest of the nonce followed by the canonical recipe."""
        return bytes_digest(bytes.fromhex(self.nonce) + self.recipe.canonical())


def pixels_digest(image: Image.Image) -> str:
    """Return the digest of what `image` shows, whatever file it is in: its mode, size and pixels.

    Pictures in modes other than L, RGB and RGBA count as their RGB or, where something is transparent, RGBA form.
    """
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    head = f"{image.mode} {image.width}x{image.height}\n".encode()
    return bytes_digest(head + image.tobytes())


def check_telling(telling: str) -> None:
    """Raise InvalidInput unless `telling` is one of `full`, `private`, `none`."""
    if telling not in ("full", "private", "none"):
        raise InvalidInput(f"{telling!r} is not a way to keep metadata. Choose one of: full, private, none.")

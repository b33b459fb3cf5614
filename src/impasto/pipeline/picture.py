"""A picture, and how far it is while it is being made."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from impasto.pictures import metadata
from impasto.pictures.canvas import Canvas
from impasto.pictures.infotext import Hashes
from impasto.pictures.origin import Commitment, Origin, Telling
from impasto.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels, what determined them, and where.

    Attributes:
        image: the pixels.
        recipe: what determined them.
        origin: where they were made.
        hashes: by what A1111 knows the files that it was made with.
    """

    image: Image.Image
    recipe: Recipe
    origin: Origin
    hashes: Hashes = field(default_factory=Hashes)

    def save(self, path: str | os.PathLike[str], telling: Telling = "full") -> Commitment | None:
        """Write a PNG, JPEG or WebP file, by the ending of `path`, with the recipe inside.

        Args:
            path: of the file.
            telling: `full` writes the recipe; `private` a seal of it, whose opening is returned for the maker to keep;
                `none` nothing.

        Raises:
            InvalidInput: no such format, or one that has no room for that much text.
        """
        return metadata.save(
            self.image, Path(path), self.recipe, origin=self.origin, telling=telling, hashes=self.hashes
        )


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a batch of pictures stands after a step.

    Attributes:
        recipes: of the batch.
        step: how many steps are done, from 1.
        steps: how many there are.
        latents: (B, C, H, W) as they are now; after the last step those of the pictures.
        x0: (B, C, H, W) latents of the pictures as the step's beginning foresaw them; for previews.
        canvas: that the pictures are painted on, where there is one.
        made: the pictures, where the step is the last of `Model.make`.
    """

    recipes: tuple[Recipe, ...]
    step: int
    steps: int
    latents: Tensor
    x0: Tensor
    canvas: Canvas | None = None
    made: tuple[Picture, ...] = ()

    @property
    def done(self) -> bool:
        """Whether this was the last step."""
        return self.step == self.steps

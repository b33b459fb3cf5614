"""The judge's network: what a picture shows is seen from afar, in whose style it is drawn from near by.

Two residual trunks with pre-activation (He et al. 1603.05027) and group norms. The one for concepts looks at the whole
picture, made small. The one for styles looks at pieces in full size and sees only a small neighbourhood at a time (as
Brendel & Bethge 1904.00760 do), so that it goes by line, shading and palette, not by who draws which thing how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads


@dataclass(frozen=True, eq=False)
class Opinion:
    """What the judge says of B pictures.

    Attributes:
        features: (B, D), of length 1: one half from the whole picture, one from its pieces.
        concepts: (B, K) scores, in the order of the judge's concepts.
        styles: (B, S) scores, in the order of its styles.
    """

    features: Tensor
    concepts: Tensor
    styles: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Opinion]) -> Opinion:
        """Return one opinion on the pictures of all `parts`."""
        names = ("features", "concepts", "styles")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.way_around = nn.Conv2d(inside, outside, 1, stride) if inside != outside or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        h = F.silu(self.norm1(x))
        h = self.conv2(F.silu(self.norm2(self.conv1(h))))
        return torch.add(self.way_around(x), h)


class Trunk(nn.Module):
    """Pictures (B, 3, H, W) to vectors (B, widths[-1]): blocks at falling resolution, then the mean over all places."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        levels, inside = [], widths[0]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for stride in [1 if level == 0 else 2] + [1] * (count - 1):
                levels.append(Block(inside, width, stride))
                inside = width
        self.levels = nn.Sequential(*levels)
        self.norm = nn.LayerNorm(inside)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the vectors of `pictures`."""
        pooled: Tensor = self.norm(F.silu(self.levels(self.stem(pictures))).mean((2, 3)))
        return pooled


class JudgeNetwork(nn.Module):
    """Both trunks, each with its scores."""

    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], near: Sequence[int], counts: tuple[int, int]
    ) -> None:
        """Build for `counts` (concepts, styles); `near` are the widths of the trunk for styles, a block each."""
        super().__init__()
        self.whole, self.near = Trunk(widths, blocks), Trunk(near, [1] * len(near))
        self.concepts, self.styles = nn.Linear(widths[-1], counts[0]), nn.Linear(near[-1], counts[1])

    def forward(self, wholes: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of concepts for `wholes` (B, 3, S, S) and scores of styles for `pieces` (P, 3, S, S)."""
        return self.concepts(self.whole(wholes)), self.styles(self.near(pieces))

    def opinion(self, wholes: Tensor, pieces: Tensor) -> Opinion:
        """Return the opinion on pictures from `wholes` (B, 3, S, S) and five `pieces` (B, 5, 3, S, S) of each."""
        whole, near = self.whole(wholes), self.near(pieces.flatten(0, 1)).unflatten(0, pieces.shape[:2])
        features = torch.cat([F.normalize(whole, dim=1), F.normalize(near.mean(1), dim=1)], 1)
        return Opinion(F.normalize(features, dim=1), self.concepts(whole), self.styles(near).mean(1))


def ranks(scores: Tensor, asked: Tensor) -> Tensor:
    """Return how many of the scores (B, K) of each picture are higher than that of the class `asked` (B,)."""
    return (scores > scores.gather(1, asked[:, None])).sum(1)

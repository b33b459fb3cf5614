"""Linear previews."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.pipeline.previews import fitted


def test_a_linear_code_is_found() -> None:
    torch.manual_seed(0)
    mix = torch.randn(6, 3)

    def encode(picture: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,dc->bdhw", F.avg_pool2d(picture, 8), mix) + 0.5

    projection = fitted(encode, 64)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    (preview,) = projection(encode(picture))
    wanted = ((F.avg_pool2d(picture, 8)[0] / 2 + 0.5) * 255).round()
    got = torch.from_numpy(np.array(preview)).permute(2, 0, 1).float()
    assert (got - wanted).abs().max() <= 6


def test_latents_that_are_no_numbers_do_no_harm() -> None:
    projection = fitted(lambda picture: F.avg_pool2d(picture, 8), 32)
    assert projection(torch.full((2, 3, 4, 4), torch.nan))[0].size == (4, 4)

"""How much each noise level counts in training: factors on `Denoiser.loss`, looked up by name in `WEIGHTINGS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from impasto.diffusion.denoisers import Denoiser


def uniform(denoiser: Denoiser, t: Tensor) -> Tensor:  # noqa: ARG001 (the signature all weightings share)
    """Count every step the same, in the network's own target (Ho et al. 2006.11239 Eq. 14, L_simple)."""
    return torch.ones_like(t, dtype=torch.float32)


def min_snr(denoiser: Denoiser, t: Tensor, gamma: float = 5.0) -> Tensor:
    """Weigh the error of x0 by `min(snr, gamma)`, whatever the network predicts (Hang et al. 2303.09556 section 3.4).

    That is `min(snr, gamma) / snr` for eps and `min(snr, gamma) / (snr + 1)` for v.
    """
    snr = denoiser.schedule.snr(t)
    return snr.clamp(max=gamma) / denoiser.error_ratio(snr)


Weighting = Callable[[Denoiser, Tensor], Tensor]
"""`(denoiser, t (B,) int64) -> (B,)` float32 factors."""

WEIGHTINGS: dict[str, Weighting] = {
    "uniform": uniform,
    "min-snr": min_snr,
}

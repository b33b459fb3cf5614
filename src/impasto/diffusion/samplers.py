"""How the noise comes off, step by step: each sampler a generator that its caller drives, listed in `SAMPLERS`.

A sampler starts from `x` with noise of level `sigmas[0]` and visits the falling `sigmas`, which mostly end in 0. It
keeps nothing between calls and changes none of its arguments. Gradients are recorded if the caller lets them: sample
under `torch.inference_mode()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from impasto.diffusion import multistep, ode, sde
from impasto.diffusion.step import Denoise, Noise, Step

__all__ = ["SAMPLERS", "Denoise", "Noise", "Sampler", "Step"]

Sampler = Callable[..., Iterator[Step]]
"""`(denoise, x (B, C, H, W), sigmas (N + 1,), noise, **options) -> N steps`; options have defaults."""

SAMPLERS: dict[str, Sampler] = {
    "euler": ode.euler,
    "euler_ancestral": sde.euler_ancestral,
    "heun": ode.heun,
    "dpm_2": ode.dpm_2,
    "dpm_2_ancestral": sde.dpm_2_ancestral,
    "lms": multistep.lms,
    "dpmpp_2s_ancestral": sde.dpmpp_2s_ancestral,
    "dpmpp_2m": multistep.dpmpp_2m,
    "dpmpp_sde": sde.dpmpp_sde,
    "dpmpp_2m_sde": sde.dpmpp_2m_sde,
    "dpmpp_3m_sde": sde.dpmpp_3m_sde,
    "ddpm": sde.ddpm,
    "ddim": sde.ddim,
    "plms": multistep.plms,
    "unipc": multistep.unipc,
    "deis": multistep.deis,
    "lcm": sde.lcm,
    "restart": sde.restart,
}

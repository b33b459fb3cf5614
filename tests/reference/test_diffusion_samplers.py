"""Samplers against k-diffusion and diffusers, step by step, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from itertools import pairwise, product
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor
from torch.nn.functional import conv2d

from impasto.diffusion.denoisers import EpsDenoiser
from impasto.diffusion.multistep import deis, lms, plms, unipc
from impasto.diffusion.samplers import SAMPLERS, Step
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.diffusion.sde import ddim, ddpm, lcm, restart, restart_intervals

SCHEDULE = NoiseSchedule.scaled_linear()
SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
KERNEL = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) / 6
CONTEXT = torch.full((1, 1, 1), 0.3)
STEPS = (1, 2, 5, 20)
LEVELS = [*product(["normal", "karras"], STEPS), ("karras", 50), *((name, 12) for name in list(SIGMAS)[2:])]
TOLERANCE = 1e-5  # of the noised picture's scale, 1 + sigma: float32 cannot keep 1e-5 beside a noise of 14.6
ALIASES = {
    "ddim": "euler",  # with eta 0 and in x = x0 + sigma * noise, DDIM is Euler (2010.02502 Eq. 14)
    "ddpm": "euler_ancestral",  # and DDPM is ancestral sampling
}
NOT_IN_K_DIFFUSION = ("plms", "unipc", "deis", "lcm", "restart")

Draw = Callable[[Any, Any], Tensor]


def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """The noise that is left if the clean picture is a squashed mix of neighbours: nonlinear, its own at each t."""
    x0 = (conv2d(x, KERNEL.to(x), padding=1) + 0.002 * t.view(-1, 1, 1, 1) + context.mean()).tanh()
    sigma = SCHEDULE.sigma(t).view(-1, 1, 1, 1)
    return ((sigma**2 + 1).sqrt() * x - x0) / sigma


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return EpsDenoiser(network, SCHEDULE)(x, sigma, CONTEXT)


numpy_warnings = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
"""Some schedulers of diffusers hand tensors to numpy functions."""


def replay(seed: int, like: Tensor) -> Draw:
    """Noise that is the same for whoever asks first, second ..."""
    generator = torch.Generator().manual_seed(seed)
    return lambda _sigma, _sigma_next: torch.randn(like.shape, generator=generator)


def start(sigma: Tensor) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7)).to(sigma) * sigma


def peer_steps(peer: SimpleNamespace, name: str, sigmas: Tensor, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield k-diffusion's `(x after the step, x0)`, in the precision of `sigmas`; its callback sees `x` before each."""
    before, predicted, x = [], [], start(sigmas[0])

    def seen(state: dict[str, Any]) -> None:
        before.append(state["x"])
        predicted.append(state["denoised"])

    function = getattr(peer.sampling, f"sample_{ALIASES.get(name, name)}")
    if "noise_sampler" in signature(function).parameters:
        options["noise_sampler"] = replay(3, x)
    result = function(denoise, x, sigmas, callback=seen, disable=True, **options)
    return zip([*before[1:], result], predicted, strict=True)


def differences(ours: Iterable[Step], theirs: Iterable[tuple[Tensor, Tensor]], sigmas: Tensor) -> Iterator[float]:
    """Yield, for each step, the largest difference in x and in x0, in units of `1 + sigma`."""
    for step, before, (their_x, their_x0) in zip(ours, sigmas[:-1].tolist(), theirs, strict=True):
        yield (step.x - their_x).abs().max().item() / (1 + step.sigma)
        yield (step.x0 - their_x0).abs().max().item() / (1 + before)


@pytest.mark.parametrize(("schedule", "steps"), LEVELS)
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in NOT_IN_K_DIFFUSION])
def test_k_diffusion(k_diffusion: SimpleNamespace, name: str, schedule: str, steps: int) -> None:
    if steps == 1 and name in ("dpmpp_2m_sde", "dpmpp_3m_sde"):
        pytest.skip("k-diffusion's multistep SDE samplers read `h` before it is set when there is one step")
    sigmas = SIGMAS[schedule](SCHEDULE, steps).double()
    x = start(sigmas[0])
    ours = SAMPLERS[name](denoise, x, sigmas, replay(3, x))
    assert max(differences(ours, peer_steps(k_diffusion, name, sigmas), sigmas)) <= TOLERANCE


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("schedule", ["normal", "karras"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in NOT_IN_K_DIFFUSION])
def test_k_diffusion_in_float32(k_diffusion: SimpleNamespace, name: str, schedule: str, steps: int) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, steps)
    x = start(sigmas[0])
    ours = SAMPLERS[name](denoise, x, sigmas, replay(3, x))
    # In float32 the peer loses digits of its own where it subtracts levels that differ much, or little.
    lost = {("dpm_2_ancestral", 5): 3e-4, ("dpmpp_3m_sde", 20): 2e-5}.get((name, steps), TOLERANCE)
    assert max(differences(ours, peer_steps(k_diffusion, name, sigmas), sigmas)) <= lost


@pytest.mark.parametrize("schedule", ["normal", "karras"])
@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("euler_ancestral", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpm_2_ancestral", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpmpp_2s_ancestral", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpmpp_sde", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpmpp_2m_sde", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpmpp_2m_sde", {"solver": "heun"}, {"solver_type": "heun"}),
        ("dpmpp_2m_sde", {"solver": "heun", "eta": 0.0}, {"solver_type": "heun", "eta": 0.0}),
        ("dpmpp_3m_sde", {"eta": 0.4, "s_noise": 1.1}, {}),
        ("dpmpp_3m_sde", {"eta": 0.0}, {}),
        ("lms", {"order": 2}, {}),
        ("lms", {"order": 3}, {}),
    ],
)
def test_options_of_k_diffusion(
    k_diffusion: SimpleNamespace, name: str, options: dict[str, Any], theirs: dict[str, Any], schedule: str
) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, 20).double()
    x = start(sigmas[0])
    ours = SAMPLERS[name](denoise, x, sigmas, replay(3, x), **options)
    assert max(differences(ours, peer_steps(k_diffusion, name, sigmas, **(theirs or options)), sigmas)) <= TOLERANCE


def diffusers_steps(scheduler: Any, sigmas: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `(x after the step, x0)` of a multistep scheduler of diffusers on the levels `sigmas`, in our scale."""
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas = sigmas.double()
    x_t = start(sigmas[0]) / (sigmas[0] ** 2 + 1).sqrt()
    for t, (sigma, sigma_next) in zip(scheduler.timesteps, pairwise(sigmas), strict=True):
        x0 = denoise(x_t * (sigma**2 + 1).sqrt(), sigma.expand(2))
        x_t = scheduler.step(x0, t, x_t).prev_sample
        yield x_t * (sigma_next**2 + 1).sqrt(), x0


@numpy_warnings
@pytest.mark.parametrize(("schedule", "steps"), LEVELS)
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_against_diffusers(order: int, variant: Literal["bh1", "bh2"], schedule: str, steps: int) -> None:
    scheduler = UniPCMultistepScheduler(
        solver_order=order, solver_type=variant, prediction_type="sample", final_sigmas_type="zero"
    )
    # With bh1 the peer multiplies an infinite step by 0 on the way to 0; there x is x0 in every order.
    sigmas = SIGMAS[schedule](SCHEDULE, steps + (variant == "bh1"))
    sigmas = sigmas[:-1] if variant == "bh1" else sigmas
    x = start(sigmas[0])
    ours = list(unipc(denoise, x, sigmas, replay(3, x), order=order, variant=variant))
    # The peer corrects x after the network has seen it: its x is the one that its next step starts from.
    assert max(differences(ours, diffusers_steps(scheduler, sigmas), sigmas)) <= TOLERANCE


@numpy_warnings
@pytest.mark.parametrize(("schedule", "steps"), LEVELS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_against_diffusers(order: int, schedule: str, steps: int) -> None:
    scheduler = DEISMultistepScheduler(solver_order=order, prediction_type="sample")
    sigmas = SIGMAS[schedule](SCHEDULE, steps + 1)[:-1]  # the peer takes the logarithm of the last level
    x = start(sigmas[0])
    ours = deis(denoise, x, sigmas, replay(3, x), order=order)
    assert max(differences(ours, diffusers_steps(scheduler, sigmas), sigmas)) <= TOLERANCE


@numpy_warnings
@pytest.mark.parametrize("schedule", SIGMAS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_against_diffusers(order: int, schedule: str) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, 20)
    scheduler = LMSDiscreteScheduler(prediction_type="sample")
    scheduler.set_timesteps(20)
    scheduler.sigmas, scheduler.is_scale_input_called = sigmas.double(), True
    x = start(sigmas[0])
    for step, t, before in zip(lms(denoise, x, sigmas, replay(3, x), order), scheduler.timesteps, sigmas, strict=False):
        x = scheduler.step(denoise(x, before.expand(2)), t, x, order=order).prev_sample
        assert (step.x - x).abs().max() <= TOLERANCE * (1 + step.sigma)


@pytest.mark.parametrize("steps", [2, 5, 10, 20, 30, 50])
@pytest.mark.parametrize("to_one", [True, False])
def test_plms_against_diffusers(to_one: bool, steps: int) -> None:
    scheduler = PNDMScheduler(**SD, skip_prk_steps=True, set_alpha_to_one=to_one, steps_offset=1)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    times = scheduler.timesteps.unique().flip(0)
    end = torch.zeros(1) if to_one else schedule.sigmas[:1]
    sigmas = torch.cat([schedule.sigmas[times], end]).double()
    x = start(sigmas[0])
    x_t = x / (sigmas[0] ** 2 + 1).sqrt()
    found = []
    for t in scheduler.timesteps:
        x_t = scheduler.step(network(x_t, t.float().expand(2), CONTEXT), t, x_t).prev_sample
        found.append(x_t)
    ours = plms(lambda x, sigma: EpsDenoiser(network, schedule)(x, sigma, CONTEXT), x, sigmas, replay(3, x))
    # The peer's first step is two of its calls.
    for step, theirs in zip(ours, found[1:], strict=True):
        assert (step.x / (step.sigma**2 + 1) ** 0.5 - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_lcm_against_diffusers(steps: int) -> None:
    scheduler = LCMScheduler(**SD, prediction_type="sample")
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    sigmas = torch.cat([schedule.sigmas[scheduler.timesteps], torch.zeros(1)])

    def consistent(x: Tensor, sigma: Tensor) -> Tensor:
        """What the peer makes of x0: the paper's boundary scalings with its factor of 10 on t."""
        t, x0 = schedule.timestep(sigma)[0].double() * 10, EpsDenoiser(network, schedule)(x, sigma, CONTEXT)
        return 0.25 / (t**2 + 0.25) * x / (sigma[0] ** 2 + 1).sqrt() + t / (t**2 + 0.25).sqrt() * x0

    x = start(sigmas[0])
    x_t = x / (sigmas[0] ** 2 + 1).sqrt()
    generator = torch.Generator().manual_seed(3)
    ours = lcm(consistent, x, sigmas, replay(3, x))
    for step, t, sigma in zip(ours, scheduler.timesteps, sigmas, strict=False):
        x0 = EpsDenoiser(network, schedule)(x_t * (sigma**2 + 1).sqrt(), sigma.expand(2), CONTEXT)
        x_t = scheduler.step(x0, t, x_t, generator=generator).prev_sample
        assert (step.x / (step.sigma**2 + 1) ** 0.5 - x_t).abs().max() <= TOLERANCE


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddpm_against_diffusers(spacing: str, steps: int) -> None:
    scheduler = DDPMScheduler(**SD, prediction_type="sample", timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    sigmas = torch.cat([schedule.sigmas[scheduler.timesteps], torch.zeros(1)])
    x = start(sigmas[0])
    x_t = x / (sigmas[0] ** 2 + 1).sqrt()
    generator = torch.Generator().manual_seed(3)
    ours = ddpm(lambda x, sigma: EpsDenoiser(network, schedule)(x, sigma, CONTEXT), x, sigmas, replay(3, x))
    for step, t, sigma in zip(ours, scheduler.timesteps, sigmas, strict=False):
        x0 = EpsDenoiser(network, schedule)(x_t * (sigma**2 + 1).sqrt(), sigma.expand(2), CONTEXT)
        x_t = scheduler.step(x0, t, x_t, generator=generator).prev_sample
        assert (step.x / (step.sigma**2 + 1) ** 0.5 - x_t).abs().max() <= TOLERANCE


@pytest.mark.parametrize("steps", [7, 20, 36, 50])
def test_restart_is_k_diffusions_heun_between_its_rises(k_diffusion: SimpleNamespace, steps: int) -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, steps).double()
    x = theirs = start(sigmas[0])
    draw = replay(3, x)
    runs: list[list[float]] = [[]]
    for sigma, sigma_next in restart_intervals(sigmas.tolist()):
        if runs[-1] and sigma > runs[-1][-1]:
            runs.append([])
        runs[-1] = [*(runs[-1] or [sigma]), sigma_next]
    for before, levels in zip([None, *runs], runs, strict=False):
        if before:
            theirs = theirs + draw(None, None) * (levels[0] ** 2 - before[-1] ** 2) ** 0.5
        theirs = k_diffusion.sampling.sample_heun(denoise, theirs, torch.tensor(levels).double(), disable=True)
    *_, last = restart(denoise, x, sigmas, replay(3, x))
    assert len(runs) == {7: 1, 20: 2, 36: 3, 50: 3}[steps]
    assert (last.x - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_against_diffusers(spacing: str, eta: float, steps: int) -> None:
    scheduler = DDIMScheduler(**SD, timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    sigmas = torch.cat([schedule.sigmas[scheduler.timesteps], torch.zeros(1)])
    x = start(sigmas[0])
    x_t = x / (sigmas[0] ** 2 + 1).sqrt()
    draw = replay(3, x)
    ours = ddim(lambda x, sigma: EpsDenoiser(network, schedule)(x, sigma, CONTEXT), x, sigmas, replay(3, x), eta=eta)
    for step, t in zip(ours, scheduler.timesteps, strict=True):
        noise = draw(None, None) if eta and step.sigma else torch.zeros_like(x)
        out = network(x_t, t.float().expand(2), CONTEXT)
        x_t = scheduler.step(out, t, x_t, eta=eta, variance_noise=noise).prev_sample
        assert (step.x / (step.sigma**2 + 1) ** 0.5 - x_t).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2"])
def test_going_back_up_before_each_step(k_diffusion: SimpleNamespace, name: str) -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # k-diffusion draws this noise from torch's own generator
        theirs = getattr(k_diffusion.sampling, f"sample_{name}")(
            denoise, start(sigmas[0]), sigmas, disable=True, s_churn=2.0, s_tmin=0.0, s_tmax=99.0, s_noise=1.1
        )
        torch.manual_seed(3)
        options = {"s_churn": 2.0, "s_tmax": 99.0, "s_noise": 1.1}
        *_, last = SAMPLERS[name](
            denoise, start(sigmas[0]), sigmas, lambda *_: torch.randn_like(start(sigmas[0])), **options
        )
    assert (last.x - theirs).abs().max() <= TOLERANCE
    *_, without = SAMPLERS[name](denoise, start(sigmas[0]), sigmas, replay(3, theirs), s_churn=2.0, s_tmin=99.0)
    *_, plain = SAMPLERS[name](denoise, start(sigmas[0]), sigmas, replay(3, theirs))
    assert torch.equal(without.x, plain.x)

"""What other tools call a way of sampling, and what it is here: one table a tool, read by `find`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from torch import Tensor

from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule, without_penultimate
from impasto.errors import InvalidInput, NotFound

Option = float | str


@dataclass(frozen=True)
class Sampling:
    """A way of sampling, as a tool means it.

    Attributes:
        sampler: name in `SAMPLERS`.
        schedule: name in `SIGMAS`.
        options: of the sampler, by their names as its arguments.
        without_penultimate: whether one more level than needed is laid out and the last above 0 left out.
        unit_variance: whether the first noise has variance 1 in the network's own scale, `sqrt(1 + sigma^2)` here,
            instead of `sigma^2`.
    """

    sampler: str
    schedule: str
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    without_penultimate: bool = False
    unit_variance: bool = False

    def sigmas(self, schedule: NoiseSchedule, steps: int) -> Tensor:
        """Return the noise levels to visit, (N + 1,) float32; N is mostly `steps`."""
        levels = SIGMAS[self.schedule]
        return (without_penultimate(levels) if self.without_penultimate else levels)(schedule, steps)

    def start(self, sigma: float) -> float:
        """Return how strong the first noise is when sampling begins at level `sigma`."""
        return float((1 + sigma**2) ** 0.5) if self.unit_variance else sigma


def _s(
    sampler: str, schedule: str = "normal", discard: bool = False, unit: bool = False, **options: Option
) -> Sampling:
    return Sampling(sampler, schedule, MappingProxyType(options), discard, unit)


# The schedule is what `Automatic` means there since 1.9. In brackets: what the names are in older files and in its API.
A1111: dict[str, Sampling] = {
    "DPM++ 2M": _s("dpmpp_2m", "karras"),
    "DPM++ SDE": _s("dpmpp_sde", "karras"),
    "DPM++ 2M SDE": _s("dpmpp_2m_sde", "exponential"),
    "DPM++ 2M SDE Heun": _s("dpmpp_2m_sde", "exponential", solver="heun"),
    "DPM++ 2S a": _s("dpmpp_2s_ancestral", "karras"),
    "DPM++ 3M SDE": _s("dpmpp_3m_sde", "exponential", discard=True),
    "Euler a": _s("euler_ancestral"),
    "Euler": _s("euler"),
    "LMS": _s("lms"),
    "Heun": _s("heun"),
    "DPM2": _s("dpm_2", "karras", discard=True),
    "DPM2 a": _s("dpm_2_ancestral", "karras", discard=True),
    "Restart": _s("restart", "karras"),
    "DDIM": _s("ddim", "compvis", unit=True),
    "PLMS": _s("plms", "compvis", unit=True),
    "UniPC": _s("unipc", "sgm_uniform_lowest", unit=True),
    "LCM": _s("lcm", "lcm"),
}

A1111_ALIASES = {
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "k_dpmpp_2s_a": "DPM++ 2S a",
    "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_euler_a": "Euler a",
    "k_euler_ancestral": "Euler a",
    "Euler ancestral": "Euler a",
    "k_euler": "Euler",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
    "k_lcm": "LCM",
}

A1111_SCHEDULES = {
    "Uniform": "normal",
    "Normal": "normal",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "polyexponential",
    "SGM Uniform": "sgm_uniform",
    "KL Optimal": "kl_optimal_lowest",
    "Align Your Steps": "align_your_steps_whole",
    "Simple": "simple",
    "DDIM": "ddim_uniform",
    "Beta": "beta_sigma",
}

# Before 1.9 the schedule was the end of the name, and of its short forms.
A1111_SUFFIXES = {" karras": "karras", " exponential": "exponential", "_ka": "karras", "_exp": "exponential"}

COMFYUI: dict[str, Sampling] = {
    **{
        name: _s(name, unit=True)
        for name in (
            "euler",
            "euler_ancestral",
            "heun",
            "lms",
            "dpmpp_2s_ancestral",
            "dpmpp_sde",
            "dpmpp_2m",
            "dpmpp_2m_sde",
            "dpmpp_3m_sde",
            "ddpm",
            "lcm",
            "ddim",
        )
    },
    "dpm_2": _s("dpm_2", discard=True, unit=True),
    "dpm_2_ancestral": _s("dpm_2_ancestral", discard=True, unit=True),
    "dpmpp_sde_gpu": _s("dpmpp_sde", unit=True),
    "dpmpp_2m_sde_gpu": _s("dpmpp_2m_sde", unit=True),
    "dpmpp_2m_sde_heun": _s("dpmpp_2m_sde", unit=True, solver="heun"),
    "dpmpp_2m_sde_heun_gpu": _s("dpmpp_2m_sde", unit=True, solver="heun"),
    "dpmpp_3m_sde_gpu": _s("dpmpp_3m_sde", unit=True),
    "uni_pc": _s("unipc", discard=True, unit=True, variant="bh1"),
    "uni_pc_bh2": _s("unipc", discard=True, unit=True, variant="bh2"),
}

COMFYUI_SCHEDULES = {
    name: name
    for name in ("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "kl_optimal")
}

# The schedules are those of the classes' defaults with what Stable Diffusion's scheduler_config.json says of them.
DIFFUSERS: dict[str, Sampling] = {
    "EulerDiscreteScheduler": _s("euler"),
    "EulerAncestralDiscreteScheduler": _s("euler_ancestral"),
    "HeunDiscreteScheduler": _s("heun"),
    "KDPM2DiscreteScheduler": _s("dpm_2"),
    "KDPM2AncestralDiscreteScheduler": _s("dpm_2_ancestral"),
    "LMSDiscreteScheduler": _s("lms"),
    "DPMSolverSDEScheduler": _s("dpmpp_sde"),
    "DPMSolverMultistepScheduler": _s("dpmpp_2m", "linspace_multistep", unit=True),
    "DDPMScheduler": _s("ddpm", "leading", unit=True),
    "DDIMScheduler": _s("ddim", "leading_lowest", unit=True),
    "PNDMScheduler": _s("plms", "leading_lowest", unit=True),
    "UniPCMultistepScheduler": _s("unipc", "linspace_multistep", unit=True, order=2, variant="bh2"),
    "DEISMultistepScheduler": _s("deis", "linspace_multistep", unit=True, order=2),
    "LCMScheduler": _s("lcm", "lcm", unit=True),
}

MODEL_OPTIONS = frozenset(
    {
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
        "clip_sample_range",
        "sample_max_value",
        "dynamic_thresholding_ratio",
    }
)
"""Options of diffusers' schedulers that are the model's, or without effect when what they belong to is off."""

IMPASTO: dict[str, Sampling] = {name: _s(name) for name in SAMPLERS}

TOOLS: dict[str, dict[str, Sampling]] = {
    "impasto": IMPASTO,
    "a1111": {**A1111, **{alias: A1111[name] for alias, name in A1111_ALIASES.items()}},
    "comfyui": COMFYUI,
    "diffusers": DIFFUSERS,
}
"""By the tool whose names they are. Where tools share a name, the first is meant unless one is asked for."""

SCHEDULES: dict[str, dict[str, str]] = {
    "impasto": {name: name for name in SIGMAS},
    "a1111": A1111_SCHEDULES,
    "comfyui": COMFYUI_SCHEDULES,
    "diffusers": {},
}


def find(name: str, schedule: str | None = None, tool: str | None = None) -> Sampling:
    """Return what `name` means.

    Args:
        name: of a sampler, such as `dpmpp_2m`, `DPM++ 2M Karras`, `k_euler_a` or `DDIMScheduler`; case does not matter.
        schedule: of noise levels, such as `karras` or `SGM Uniform`; None or `Automatic` is the tool's own for it.
        tool: one of `TOOLS`, to read names as that tool does; None reads them as any.

    Raises:
        NotFound: no tool knows the name; lists the closest, and all.
    """
    if tool is not None and tool not in TOOLS:
        raise _unknown("tool", tool, TOOLS)
    tools = TOOLS if tool is None else {tool: TOOLS[tool]}
    for its, names in tools.items():
        if (sampling := _read(name, names, suffixes=its == "a1111")) is not None:
            return sampling if _automatic(schedule) else replace(sampling, schedule=_schedule(str(schedule), its, tool))
    raise _unknown("sampler", name, (known for names in tools.values() for known in names))


def from_diffusers(name: str, options: Mapping[str, Any] | None = None) -> Sampling:
    """Return what the scheduler class `name` of diffusers with `options` (of its config) means.

    Raises:
        NotFound: no such class is understood.
        InvalidInput: an option, or a value of one, that is not.
    """
    sampling = find(name, tool="diffusers")
    own = dict(sampling.options)
    rest = {
        key: value for key, value in (options or {}).items() if key not in MODEL_OPTIONS and not key.startswith("_")
    }
    sde = rest.pop("algorithm_type", "dpmsolver++") == "sde-dpmsolver++"
    if sampling.sampler == "dpmpp_2m" and sde:
        sampling, own = replace(sampling, sampler="dpmpp_2m_sde"), {"solver": "midpoint"}
    wrong = [f"{key}={value!r}" for key, value in rest.items() if not _takes(sampling, key, value)]
    if wrong:
        raise InvalidInput(f"{name} with {', '.join(wrong)} is not understood here. Leave it out, or choose otherwise.")
    if "solver_order" in rest and "order" in own:
        own["order"] = int(rest["solver_order"])
    for key in ("variant", "solver"):
        if "solver_type" in rest and key in own:
            own[key] = str(rest["solver_type"])
    # The classes that begin with noise of level sigma otherwise begin with that of variance 1 at leading timesteps.
    unit = sampling.unit_variance or rest.get("timestep_spacing") == "leading"
    return replace(sampling, schedule=_spaced(sampling, rest), options=MappingProxyType(own), unit_variance=unit)


def _takes(sampling: Sampling, key: str, value: Any) -> bool:
    """Whether the value of an option of diffusers has a meaning here."""
    orders = {"unipc": (1, 2, 3), "deis": (1, 2, 3)}.get(sampling.sampler, (2,))
    types = {"unipc": ("bh1", "bh2"), "deis": ("logrho",), "dpmpp_2m_sde": ("midpoint", "heun")}
    choices: dict[str, tuple[Any, ...]] = {
        "solver_order": orders,
        "solver_type": types.get(sampling.sampler, ("midpoint",)),
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": (1,),
        "set_alpha_to_one": (True, False),
        "final_sigmas_type": ("zero",),
        "use_karras_sigmas": (True, False, None),
        "use_exponential_sigmas": (True, False, None),
        "use_beta_sigmas": (True, False, None),
        "interpolation_type": ("linear",),
        "timestep_type": ("discrete",),
        "clip_sample": (False,),
        "thresholding": (False,),
        "skip_prk_steps": (True,),
        "lower_order_final": (True,),
        "euler_at_final": (False,),
        "variance_type": (None, "fixed_small"),
        "original_inference_steps": (50,),
        "timestep_scaling": (10.0,),
    }
    return value in choices.get(key, ())


def _spaced(sampling: Sampling, options: Mapping[str, Any]) -> str:
    for key, name in (("karras", "karras"), ("exponential", "exponential"), ("beta", "beta_sigma")):
        if options.get(f"use_{key}_sigmas"):
            return name
    own, _, kind = sampling.schedule.partition("_")
    spacing = options.get("timestep_spacing", own)
    if own == "normal":
        return "normal" if spacing in ("normal", "linspace") else str(spacing)
    if (kind == "lowest" and options.get("set_alpha_to_one")) or (kind == "multistep" and spacing == "trailing"):
        kind = ""
    name = f"{spacing}_{kind}" if kind else str(spacing)
    if name not in SIGMAS:
        raise InvalidInput(
            f"{spacing} timesteps with set_alpha_to_one=False are not understood here. Choose otherwise."
        )
    return name


def _read(name: str, names: Mapping[str, Sampling], suffixes: bool) -> Sampling | None:
    folded = {known.casefold(): sampling for known, sampling in names.items()}
    key = name.strip().casefold()
    if key in folded:
        return folded[key]
    for suffix, schedule in A1111_SUFFIXES.items() if suffixes else ():
        if key.endswith(suffix) and (stem := key.removesuffix(suffix)) in folded:
            return replace(folded[stem], schedule=schedule)
    return None


def _automatic(schedule: str | None) -> bool:
    return schedule is None or schedule.strip().casefold() == "automatic"


def _schedule(name: str, its: str, asked: str | None) -> str:
    """Look the schedule up where the sampler was found, and if no tool was asked for in the others as well."""
    tools = [its] if asked else [its, *(tool for tool in SCHEDULES if tool != its)]
    for tool in tools:
        folded = {known.casefold(): schedule for known, schedule in SCHEDULES[tool].items()}
        if name.strip().casefold() in folded:
            return folded[name.strip().casefold()]
    raise _unknown("schedule", name, (known for tool in tools for known in SCHEDULES[tool]))


def _unknown(what: str, name: str, choices: Iterable[str]) -> NotFound:
    known = {choice.casefold(): choice for choice in choices}
    close = [known[key] for key in get_close_matches(name.casefold(), known, n=3)]
    hint = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    return NotFound(f"{NotFound.among(what, name, known.values())}{hint}")

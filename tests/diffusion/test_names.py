"""Names of other tools: every row leads to what there is, and what people write is understood."""

from __future__ import annotations

from inspect import signature

import pytest
import torch

from impasto.diffusion.names import A1111_SCHEDULES, SCHEDULES, TOOLS, Sampling, find, from_diffusers
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.errors import InvalidInput, NotFound

SCHEDULE = NoiseSchedule.scaled_linear()
ROWS = [(tool, name) for tool, names in TOOLS.items() for name in names]


@pytest.mark.parametrize(("tool", "name"), ROWS)
def test_every_name_leads_to_a_sampler_with_such_options(tool: str, name: str) -> None:
    for written in (name, name.upper(), f" {name} "):
        sampling = find(written, tool=tool)
        assert sampling == TOOLS[tool][name]
    assert set(sampling.options) <= set(signature(SAMPLERS[sampling.sampler]).parameters)
    sigmas = sampling.sigmas(SCHEDULE, 10)
    x = torch.zeros(1, 1, 2, 2) + sampling.start(sigmas[0].item())
    steps = SAMPLERS[sampling.sampler](lambda x, _: x / 2, x, sigmas, lambda _a, _b: x, **sampling.options)
    assert len(list(steps)) == 10


@pytest.mark.parametrize("tool", SCHEDULES)
def test_every_schedule_exists(tool: str) -> None:
    assert set(SCHEDULES[tool].values()) <= set(SIGMAS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_own_names_mean_themselves(name: str) -> None:
    assert find(name).sampler == name
    assert find(name, "simple") == Sampling(name, "simple")


@pytest.mark.parametrize(
    ("written", "sampler", "schedule"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M", "dpmpp_2m", "karras"),
        ("k_dpmpp_2m_ka", "dpmpp_2m", "karras"),
        ("k_dpmpp_2s_a_ka", "dpmpp_2s_ancestral", "karras"),
        ("DPM++ 3M SDE Exponential", "dpmpp_3m_sde", "exponential"),
        ("k_dpmpp_3m_sde_exp", "dpmpp_3m_sde", "exponential"),
        ("Euler a", "euler_ancestral", "normal"),
        ("euler A", "euler_ancestral", "normal"),
        ("k_euler_a", "euler_ancestral", "normal"),
        ("LMS Karras", "lms", "karras"),
        ("uni_pc", "unipc", "normal"),
        ("DDIMScheduler", "ddim", "leading_lowest"),
    ],
)
def test_what_people_write(written: str, sampler: str, schedule: str) -> None:
    found = find(written)
    assert (found.sampler, found.schedule) == (sampler, schedule)


def test_the_four_ways_to_say_one_thing() -> None:
    ways = [
        find("DPM++ 2M Karras"),
        find("DPM++ 2M", "Karras"),
        find("dpmpp_2m", "karras", tool="comfyui"),
        from_diffusers("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ]
    assert {(way.sampler, way.schedule) for way in ways} == {("dpmpp_2m", "karras")}
    assert [way.unit_variance for way in ways] == [False, False, True, True]


@pytest.mark.parametrize("label", A1111_SCHEDULES)
def test_schedules_of_a1111(label: str) -> None:
    assert find("Euler a", label, tool="a1111").schedule == A1111_SCHEDULES[label]
    assert find("DPM++ 2M", "Automatic").schedule == "karras"


def test_one_label_means_what_each_tool_means_by_it() -> None:
    assert find("Euler", "Beta", tool="a1111").schedule == "beta_sigma"
    assert find("euler", "beta", tool="comfyui").schedule == "beta"


def test_a_level_is_left_out_where_the_tool_does() -> None:
    plain, shorter = find("dpm_2").sigmas(SCHEDULE, 5), find("dpm_2", tool="comfyui").sigmas(SCHEDULE, 5)
    assert len(plain) == len(shorter) == 6
    assert torch.equal(shorter[:-1], SIGMAS["normal"](SCHEDULE, 6)[:-2])
    assert shorter[-1] == 0


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("DPMSolverMultistepScheduler", {}, ("dpmpp_2m", "linspace_multistep", {})),
        (
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "solver_type": "heun"},
            ("dpmpp_2m_sde", "karras", {"solver": "heun"}),
        ),
        (
            "UniPCMultistepScheduler",
            {"solver_order": 3, "solver_type": "bh1", "timestep_spacing": "trailing"},
            ("unipc", "trailing", {"order": 3, "variant": "bh1"}),
        ),
        ("DEISMultistepScheduler", {"timestep_spacing": "leading"}, ("deis", "leading_multistep", {"order": 2})),
        ("DDIMScheduler", {"set_alpha_to_one": True, "steps_offset": 1}, ("ddim", "leading", {})),
        ("DDIMScheduler", {"timestep_spacing": "trailing", "_class_name": "x"}, ("ddim", "trailing_lowest", {})),
        ("UniPCMultistepScheduler", {}, ("unipc", "linspace_multistep", {"order": 2, "variant": "bh2"})),
        ("PNDMScheduler", {"set_alpha_to_one": False, "skip_prk_steps": True}, ("plms", "leading_lowest", {})),
        ("EulerDiscreteScheduler", {"use_beta_sigmas": True, "beta_start": 0.1}, ("euler", "beta_sigma", {})),
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, ("euler", "trailing", {})),
        ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}, ("euler", "normal", {})),
        ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}, ("euler", "exponential", {})),
    ],
)
def test_options_of_diffusers(name: str, options: dict[str, object], expected: tuple[str, str, object]) -> None:
    found = from_diffusers(name, options)
    assert (found.sampler, found.schedule, dict(found.options)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"solver_order": 3},
        {"use_lu_lambdas": True},
        {"steps_offset": 0},
        {"final_sigmas_type": "sigma_min"},
        {"thresholding": True},
    ],
)
def test_options_that_are_not_understood_are_refused(options: dict[str, object]) -> None:
    ((key, value),) = options.items()
    with pytest.raises(InvalidInput, match=f"{key}={value!r}"):
        from_diffusers("DPMSolverMultistepScheduler", options)


def test_timesteps_that_would_stand_still_are_refused() -> None:
    with pytest.raises(InvalidInput, match="linspace timesteps with set_alpha_to_one=False"):
        from_diffusers("DDIMScheduler", {"timestep_spacing": "linspace"})
    assert from_diffusers("DDIMScheduler", {"timestep_spacing": "linspace", "set_alpha_to_one": True}).schedule


def test_unknown_names_list_the_closest_and_all() -> None:
    with pytest.raises(NotFound, match=r"Unknown sampler 'DPM\+\+ 2N'.*k_dpmpp_2m.*Did you mean 'DPM\+\+ 2M'"):
        find("DPM++ 2N")
    with pytest.raises(NotFound, match="Unknown sampler 'DPM adaptive'"):
        find("DPM adaptive")
    with pytest.raises(NotFound, match=r"Unknown schedule 'karas'.*Did you mean 'karras'"):
        find("euler", "karas")
    with pytest.raises(NotFound, match="Unknown schedule 'SGM Uniform'"):
        find("euler", "SGM Uniform", tool="comfyui")
    with pytest.raises(NotFound, match=r"Unknown tool 'comfy'.*Did you mean 'comfyui'"):
        find("euler", tool="comfy")
    with pytest.raises(NotFound, match="Unknown sampler 'DPMSolverMultistep'"):
        from_diffusers("DPMSolverMultistep")

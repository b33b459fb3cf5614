"""Infotext as A1111 writes it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto import __version__
from impasto.diffusion.names import A1111 as A1111_SAMPLERS
from impasto.diffusion.names import A1111_SCHEDULES, COMFYUI, COMFYUI_SCHEDULES, find
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.pictures import comfyui, infotext
from impasto.pictures.infotext import Hashes
from impasto.recipe import Recipe

FOX: dict[str, Any] = {
    "model_name": "glyph",
    "model_digest": "sha256:" + "ab" * 32,
    "prompt": "a red fox",
    "seed": 965400086,
    "sampler": "dpmpp_2m",
    "schedule": "karras",
    "steps": 20,
    "guidance": 7,
    "width": 512,
    "height": 768,
}

# How A1111 reads the last line back.
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def test_the_whole_text() -> None:
    recipe = Recipe(**FOX, negative_prompt="blurry,\ndark")
    assert infotext.write(recipe) == (
        "a red fox\n"
        "Negative prompt: blurry,\ndark\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, "
        f"Model hash: ababababab, Model: glyph, RNG: CPU, Version: Impasto {__version__}"
    )


def test_no_line_for_an_empty_negative_prompt() -> None:
    assert "Negative" not in infotext.write(Recipe(**FOX))


@pytest.mark.parametrize(("guidance", "text"), [(7.0, "7"), (7.5, "7.5"), (0.1, "0.1"), (100.0, "100"), (0.0, "0")])
def test_guidance(guidance: float, text: str) -> None:
    assert f"CFG scale: {text}," in infotext.write(Recipe(**{**FOX, "guidance": guidance}))


@pytest.mark.parametrize("name", ["a, b", "a: b", 'a "b"', 'say "a", b', "two\nlines", "plain"])
def test_values_survive_the_reader(name: str) -> None:
    line = infotext.write(Recipe(**{**FOX, "model_name": name})).removeprefix("a red fox\n")
    assert "\n" not in line
    pairs = dict(PAIR.findall(line))
    value = pairs["Model"]
    assert value == name or infotext.json.loads(value) == name
    assert pairs["Version"] == f"Impasto {__version__}"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_and_schedules_come_back(sampler: str) -> None:
    assert sampler in infotext.SAMPLER_NAMES
    for schedule in SIGMAS:
        found = infotext.read(infotext.write(Recipe(**{**FOX, "sampler": sampler, "schedule": schedule})))
        assert found is not None
        chosen = infotext.choices(found)
        assert (chosen["sampler"], chosen["schedule"]) == (sampler, schedule)


def test_pairs_without_a_value_and_alone() -> None:
    text = infotext.assemble("a fox", "", {"Steps": 20, "VAE": None, "Tiling": "Tiling", "Model": "a, b"})
    assert text == 'a fox\nSteps: 20, Tiling, Model: "a, b"'


LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)
WORDS = st.lists(LINES.filter(lambda line: not line.startswith(infotext.NEGATIVE)), max_size=3).map(
    lambda lines: "\n".join(lines).strip("\n")
)
KEYS = st.text("abcdefghij XYZ-/", min_size=2, max_size=12).filter(lambda key: key.strip() == key and key[0].isalpha())
# A1111's own reader drops the blanks around a value that is not quoted.
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda value: value.strip() == value and value[0] not in '"{['
)


@given(WORDS, WORDS, st.dictionaries(KEYS, VALUES, min_size=3, max_size=8))
def test_what_is_written_is_read(prompt: str, negative: str, pairs: dict[str, str]) -> None:
    pairs = {key: value for key, value in pairs.items() if key != value}
    text = infotext.assemble(prompt, negative, {**pairs, "Steps": 20, "Seed": 1, "Size": "8x8"})
    found = infotext.read(text)
    assert found is not None
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert found.parameters == {**pairs, "Steps": "20", "Seed": "1", "Size": "8x8"}


@given(st.text(max_size=200))
def test_any_text_is_read_or_not(text: str) -> None:
    infotext.read(text)
    dict(infotext.pairs(text))


A1111 = """masterpiece, a castle (on a hill:1.2),
sunset <lora:add_detail:0.8>
Negative prompt: blurry, (worst quality:2),
text
Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 965400086, Size: 512x768, \
Model hash: fe4efff1e1, Model: sd-v1-4, Denoising strength: 0.55, Clip skip: 2, \
Hires upscale: 2, Hires upscaler: Latent, \
Lora hashes: "add_detail: 7c6bad76eb54, other: 0123456789ab", Version: v1.10.1""".replace("\\\n", "")


def test_a1111() -> None:
    found = infotext.read(A1111)
    assert found is not None
    assert found.program == "A1111"
    assert found.prompt == "masterpiece, a castle (on a hill:1.2),\nsunset <lora:add_detail:0.8>"
    assert found.negative_prompt == "blurry, (worst quality:2),\ntext"
    assert found.parameters["Lora hashes"] == "add_detail: 7c6bad76eb54, other: 0123456789ab"
    assert found.parameters["Clip skip"] == "2"
    assert infotext.choices(found) == {
        "negative_prompt": "blurry, (worst quality:2),\ntext",
        "seed": 965400086,
        "steps": 30,
        "guidance": 7.5,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "width": 512,
        "height": 768,
        "noise": "a1111-nv",
        "hires": {"width": 1024, "height": 1536, "upscaler": "latent", "strength": 0.55},
        "prompt_rules": "a1111",
        "clip_skip": 2,
    }
    assert infotext.beyond(found) == []
    assert infotext.from_picture(found) is None


def test_civitai_writes_json_without_quotes() -> None:
    text = (
        "a cat\nNegative prompt: dog\nSteps: 25, Sampler: Euler a, CFG scale: 7, Seed: 12, Size: 512x512, "
        'Hashes: {"model": "abc", "lora:x": "def"}, Civitai resources: [{"type":"checkpoint","modelVersionId":128713},'
        '{"type":"lora","weight":0.8,"modelName":"a, b: c"}], Civitai metadata: {}'
    )
    found = infotext.read(text)
    assert found is not None
    assert found.program == "Civitai"
    assert found.parameters["Civitai metadata"] == "{}"
    assert infotext.json.loads(found.parameters["Civitai resources"])[1]["modelName"] == "a, b: c"
    assert infotext.json.loads(found.parameters["Hashes"]) == {"model": "abc", "lora:x": "def"}
    assert infotext.choices(found)["sampler"] == "euler_ancestral"
    assert infotext.choices(found)["schedule"] == "normal"


def test_stable_diffusion_cpp() -> None:
    text = (
        "a cat\nSteps: 20, CFG scale: 7.000000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 512x512, "
        "Model: sd-v1-4.safetensors, RNG: cuda, Sampler: euler_a karras, Version: stable-diffusion.cpp, "
        'SDCPP: {"sample": {"steps": 20, "a": [1, 2]}, "text": "x: y, z"}'
    )
    found = infotext.read(text)
    assert found is not None
    assert found.program == "stable-diffusion.cpp"
    chosen = infotext.choices(found)
    assert (chosen["guidance"], chosen["sampler"], chosen["schedule"]) == (7.0, "euler_ancestral", "karras")
    assert infotext.json.loads(found.parameters["SDCPP"])["sample"]["steps"] == 20


@pytest.mark.parametrize(
    ("sampler", "schedule", "ours"),
    [
        ("DPM++ 2M Karras", "", ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("Euler a", "Automatic", ("euler_ancestral", "normal")),
        ("DPM++ 2M SDE", "Automatic", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M SDE Exponential", "", ("dpmpp_2m_sde", "exponential")),
        ("Euler", "", ("euler", "")),
        ("DDIM", "", ("ddim", "")),
        ("Magic", "Odd", ("Magic", "Odd")),
    ],
)
def test_names_of_samplers(sampler: str, schedule: str, ours: tuple[str, str]) -> None:
    assert infotext.solver(sampler, schedule) == ours


@pytest.mark.parametrize(
    "text",
    ["", "a cat", "a cat, Steps: 3", "a\nSteps: 1, Seed: 2", "{" * 100_000, "Steps: {" + "[" * 50_000, "a: " * 99_999],
    ids=lambda text: text[:12],
)
def test_what_is_no_infotext(text: str) -> None:
    assert infotext.read(text) is None


def test_values_that_are_no_numbers_are_left_out() -> None:
    text = "a\nSteps: many, Seed: " + "9" * 10_000 + ", CFG scale: x, Size: big, Sampler: Euler"
    found = infotext.read(text)
    assert found is not None
    assert infotext.choices(found).keys() == {
        *("negative_prompt", "seed", "sampler", "schedule", "noise", "prompt_rules")
    }


def test_second_passes_and_variations_come_back() -> None:
    choices: dict[str, Any] = {
        "hires": {"width": 1024, "height": 1536, "upscaler": "latent-bicubic", "strength": 0.5, "steps": 9,
                  "sampler": "heun", "schedule": "normal"},
        "variation": {"seed": 3, "strength": 0.25, "width": 256, "height": 512},
        "seamless": "xy",
        "noise": "a1111-nv",
    }  # fmt: skip
    text = infotext.write(Recipe(**FOX, **choices))
    assert (
        "Variation seed strength: 0.25, Seed resize from: 256x512, Denoising strength: 0.5, RNG: NV, Tiling: True"
        in text
    )
    assert "Hires upscale: 2, Hires steps: 9, Hires upscaler: Latent (bicubic), Hires sampler: Heun" in text
    found = infotext.read(text)
    assert found is not None
    assert {key: infotext.choices(found)[key] for key in choices} == choices
    odd = infotext.write(Recipe(**FOX, hires={"width": 1024, "height": 1024}))
    assert "Hires resize: 1024x1024" in odd


def test_masks() -> None:
    digest = "sha256:" + "1" * 64
    mask = {"image": digest, "invert": True, "content": "noise", "area": "masked", "padding": 16}
    text = infotext.write(Recipe(**FOX, start={"image": digest, "strength": 0.6}, mask=mask))
    assert "Denoising strength: 0.6, RNG" in text
    assert (
        "Mask blur: 4, Mask mode: Inpaint not masked, Inpaint area: Only masked, Masked area padding: 16, "
        "Masked content: latent noise, Version" in text
    )


DETAILS = """a castle
Steps: 30, Sampler: %s, Schedule type: %s, CFG scale: 7, Seed: 1, Size: 512x512, Denoising strength: 0.5, \
Clip skip: 2, ENSD: 31337, Hires upscale: 2, Hires steps: 9, Hires upscaler: Latent (bicubic antialiased), \
Hires sampler: DPM2, Hires prompt: "a castle, night", Hires negative prompt: day, Emphasis: No norm, Eta: 0.7, \
Eta DDIM: 0.3, Sigma churn: 0.2, Sigma tmax: 0.0, Sigma noise: 1.1, UniPC order: 2, Schedule rho: 5, \
SGM noise multiplier: True, Discard penultimate sigma: True, Noise Schedule: Zero Terminal SNR, Refiner: x, \
Version: v1.10.1""".replace("\\\n", "")


@pytest.mark.parametrize(
    ("schedule", "sampler", "options"),
    [
        ("Karras", "DPM++ 2M", {"sigma_max": 10, "sigma_min": 0.1, "rho": 5}),
        ("Polyexponential", "Euler", {"sigma_max": 10, "sigma_min": 0.1, "rho": 5}),
        ("Exponential", "Euler", {"sigma_max": 10, "sigma_min": 0.1}),
        ("KL Optimal", "Euler", {"sigma_max": 10, "sigma_min": 0.1}),
        ("Beta", "Euler", {"sigma_max": 10, "sigma_min": 0.1}),
        ("Uniform", "Euler", {}),
        ("Align Your Steps", "Euler", {}),
        ("Karras", "DDIM", {}),
    ],
)
def test_what_is_said_of_a_schedule_is_followed_where_it_counts(
    schedule: str, sampler: str, options: dict[str, float]
) -> None:
    text = (
        f"a\nSteps: 9, Sampler: {sampler}, Schedule type: {schedule}, Schedule max sigma: 10, Schedule min sigma: 0.1, "
    )
    found = infotext.read(f"{text}Schedule rho: 5, NGMS: 2.5, Version: v1.10.1")
    assert found is not None
    assert infotext.choices(found).get("schedule_options", {}) == options
    keys = {"sigma_max": "Schedule max sigma", "sigma_min": "Schedule min sigma", "rho": "Schedule rho"}
    assert infotext.beyond(found) == [key for name, key in keys.items() if name not in options] + ["NGMS"]


def test_a_level_under_which_there_is_no_negative_prompt() -> None:
    found = infotext.read("a\nSteps: 9, Sampler: Euler, NGMS: 2.5, NGMS all steps: True, Version: v1.10.1")
    assert found is not None
    low = infotext.choices(found)["guidance_interval"]["low"]
    assert 2.49999 < low < 2.5  # at the level itself it is still there
    assert infotext.beyond(found) == []
    spacing = {"schedule": "karras", "schedule_options": {"rho": 5, "sigma_min": 0.1}}
    text = infotext.write(Recipe(**{**FOX, **spacing, "guidance_interval": {"low": 2.5}}))
    assert "Schedule min sigma: 0.1, Schedule rho: 5, NGMS: 2.5, NGMS all steps: True, Version" in text
    again = infotext.choices(infotext.read(text))
    assert (again["schedule_options"], again["guidance_interval"]["low"]) == (spacing["schedule_options"], low)
    assert "NGMS" not in infotext.write(Recipe(**{**FOX, "guidance_interval": {"low": 1, "high": 5}}))


def test_every_detail_that_a1111_writes_is_read() -> None:
    found = infotext.read(DETAILS % ("Euler a", "Karras"))
    assert found is not None
    chosen = infotext.choices(found)
    assert infotext.beyond(found) == ["Refiner"]
    assert chosen["schedule_options"] == {"rho": 5}
    assert {key: chosen[key] for key in ("clip_skip", "noise_delta", "emphasis", "zero_snr", "prompt_rules")} == {
        "clip_skip": 2,
        "noise_delta": 31337,
        "emphasis": "no_norm",
        "zero_snr": "a1111",
        "prompt_rules": "a1111",
    }
    assert chosen["sampler_options"] == {"eta": 0.7, "s_noise": 1.1}
    assert (chosen["first_noise"], chosen["discard_penultimate"]) == ("unit", True)
    assert chosen["hires"] == {
        **{"width": 1024, "height": 1024, "upscaler": "latent-bicubic-antialiased", "strength": 0.5, "steps": 9},
        **{"sampler": "dpm_2", "schedule": "karras", "discard_penultimate": True},
        **{"sampler_options": {"s_churn": 0.2, "s_noise": 1.1}},
        **{"prompt": "a castle, night", "negative_prompt": "day"},
    }


@pytest.mark.parametrize("sampler", A1111_SAMPLERS)
def test_a1111s_names_mean_what_they_mean_elsewhere(sampler: str) -> None:
    for schedule in (*A1111_SCHEDULES, "Automatic", ""):
        named = f", Schedule type: {schedule}" if schedule else ""
        found = infotext.read(f"a\nSteps: 5, Seed: 1, Sampler: {sampler}{named}, Size: 8x8")
        assert found is not None
        chosen = infotext.choices(found)
        fixed = chosen["sampler"] in infotext.FIXED
        meant = find(sampler, "Automatic" if fixed else schedule or "Uniform", "a1111")
        assert (chosen["sampler"], chosen["schedule"]) == (meant.sampler, meant.schedule)
        assert chosen.get("discard_penultimate", False) == meant.without_penultimate
        unit = chosen.get("first_noise", "unit" if meant.sampler == "ddim" else "sigma") == "unit"
        assert unit == meant.unit_variance
        assert chosen.get("sampler_options", {}) == dict(meant.options)


@pytest.mark.parametrize("sampler", [name for name in COMFYUI if not name.endswith("_gpu")])
def test_comfyuis_names_mean_what_they_mean_elsewhere(sampler: str) -> None:
    for schedule in COMFYUI_SCHEDULES:
        inputs = {"steps": 5, "cfg": 7, "seed": 1, "sampler_name": sampler, "scheduler": schedule, "positive": ["2", 0]}
        found = comfyui.read(infotext.json.dumps({"1": {"class_type": "KSampler", "inputs": inputs}}))
        assert found is not None
        chosen, meant = infotext.choices(found), find(sampler, schedule, "comfyui")
        assert (chosen["sampler"], chosen["schedule"]) == (meant.sampler, meant.schedule)
        assert chosen.get("discard_penultimate", False) == meant.without_penultimate
        assert chosen.get("first_noise", "unit" if meant.sampler == "ddim" else "sigma") == "unit"
        assert chosen.get("sampler_options", {}) == dict(meant.options)


def test_every_field_that_a1111_has_comes_back() -> None:
    choices: dict[str, Any] = {
        "clip_skip": 2,
        "noise_delta": 31337,
        "emphasis": "ignore",
        "zero_snr": "a1111",
        "sampler": "dpmpp_2m_sde",
        "schedule": "beta_sigma",
        "sampler_options": {"solver": "heun", "eta": 0.5},
        "discard_penultimate": True,
        "first_noise": "unit",
        "hires": {"width": 1024, "height": 1536, "strength": 0.5, "prompt": "night", "negative_prompt": "day"},
    }
    adapters = [{"name": "ink: a", "identity": "sha256:" + "1" * 64}]
    embeddings = [{"name": "glow", "identity": "sha256:" + "2" * 64}]
    recipe = Recipe(**{**FOX, **choices, "noise": "a1111-cpu", "adapters": adapters, "embeddings": embeddings})
    parts = {"ink: a": "0123456789ab", "glow": "ba9876543210", "other": "0" * 12}
    text = infotext.write(recipe, Hashes(parts, model="fe4efff1e1", vae="735e4c3a44", vae_name="a, b.vae.pt"))
    assert 'Model hash: fe4efff1e1, Model: glyph, VAE hash: 735e4c3a44, VAE: "a, b.vae.pt",' in text
    assert "Sampler: DPM++ 2M SDE Heun, Schedule type: Beta," in text
    assert "Denoising strength: 0.5, Clip skip: 2, ENSD: 31337, RNG: CPU, Hires upscale: 2," in text
    assert 'Lora hashes: "ink a: 0123456789ab", TI hashes: "glow: ba9876543210", Noise Schedule' in text
    found = infotext.read(text)
    assert found is not None
    chosen = infotext.choices(found)
    assert chosen["noise"] == "a1111-cpu"
    assert {key: chosen[key] for key in choices} == {**choices, "hires": {**choices["hires"], "upscaler": "latent"}}


def test_pictures_from_pictures_are_told_apart() -> None:
    found = infotext.read("a\nSteps: 5, Seed: 1, Sampler: Euler, Denoising strength: 0.4, Version: v1.10.1")
    assert found is not None
    assert infotext.from_picture(found) == 0.4

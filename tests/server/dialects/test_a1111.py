from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from impasto.diffusion import names
from impasto.errors import ImpastoError, InvalidInput, NotFound
from impasto.server.dialects import a1111, a1111_answers, a1111_options
from impasto.server.dialects.a1111 import ImageSaid, Said, choices
from impasto.server.dialects.a1111_options import Checkpoint, Options
from impasto.server.requests import GenerateRequest

GLYPH = Checkpoint("glyph", "Glyph", "sha256:" + "ab" * 32)
OTHER = Checkpoint("other", "sd-v1-4", "sha256:" + "cd" * 32)
KNOWN = (GLYPH, OTHER)


def request(**fields: Any) -> dict[str, Any]:
    return choices(Said(**fields), Options())


def image_request(**fields: Any) -> dict[str, Any]:
    return choices(ImageSaid(init_images=["AAAA"], **fields), Options())


def test_what_is_left_out_is_the_models_own() -> None:
    assert request(prompt="a fox") == {"prompt": "a fox", "count": 1, "noise": "a1111-nv", "prompt_rules": "a1111"}


def test_the_request_that_open_webui_sends() -> None:
    sent = {"prompt": "a fox", "batch_size": 2, "width": 512, "height": 512, "steps": 20, "negative_prompt": "blurry"}
    asked = request(**sent)
    assert (asked["count"], asked["width"], asked["steps"], asked["negative_prompt"]) == (2, 512, 20, "blurry")


SILLYTAVERN = {
    "url": "http://localhost:8080",
    "auth": "name:a-secret-that-is-long",
    "prompt": "a fox",
    "negative_prompt": "",
    "sampler_name": "DPM++ 2M",
    "scheduler": "karras",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 768,
    "restore_faces": False,
    "enable_hr": True,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "override_settings": {"CLIP_stop_at_last_layers": 2, "sd_vae": None},
    "override_settings_restore_afterwards": True,
    "clip_skip": 2,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}


def test_the_request_that_sillytavern_sends() -> None:
    said = Said(**SILLYTAVERN)
    asked = choices(said, Options().changed(said.settings, KNOWN))
    assert asked["hires"] == {"width": 1024, "height": 1536, "upscaler": "latent", "strength": 0.7}
    assert (asked["sampler"], asked["schedule"], asked["tool"]) == ("DPM++ 2M", "Karras", "a1111")
    assert asked["clip_skip"] == 2
    ignored = a1111.ignored(said)
    assert {"auth", "url", "save_images"} <= set(ignored)
    assert "secret" not in repr(ignored)


@pytest.mark.parametrize("schedule", [None, "automatic", "Karras", "sgm_uniform"])
def test_names_of_samplers_and_schedules(schedule: str | None) -> None:
    label = {None: None, "automatic": None, "sgm_uniform": "SGM Uniform"}.get(schedule, schedule)
    for name in (*names.A1111, *names.A1111_ALIASES, "DPM++ 2M Karras", "k_dpmpp_2m_ka", "dpmpp_2m"):
        asked = request(sampler_name=name, scheduler=schedule)
        tool = None if name == "dpmpp_2m" else "a1111"
        assert asked.get("tool") == tool
        found = names.find(asked["sampler"], asked.get("schedule"), asked.get("tool"))
        assert found == names.find(name, label, tool)


def test_the_old_field_for_samplers_and_unknown_names() -> None:
    assert request(sampler_index="Euler a")["sampler"] == "Euler a"
    assert request(sampler_name="Heun", sampler_index="Euler a")["sampler"] == "Heun"
    with pytest.raises(NotFound, match=r"DPM\+\+ 2X.*DPM\+\+ 2M"):
        request(sampler_name="DPM++ 2X")
    with pytest.raises(NotFound, match="steep"):
        request(sampler_name="Euler", scheduler="steep")


def test_eta_reaches_the_samplers_that_have_it() -> None:
    assert "sampler_options" not in request(sampler_name="Euler a", eta=1.0, s_noise=1)
    assert "sampler_options" not in request(sampler_name="Euler", eta=1.0)
    assert request(sampler_name="DDIM", eta=1.0)["sampler_options"] == {"eta": 1.0}
    assert request(sampler_name="DPM++ 2M SDE Heun", eta=0.5)["sampler_options"] == {"solver": "heun", "eta": 0.5}


def test_every_listed_name_is_understood() -> None:
    for sampler in a1111_answers.samplers():
        for name in (sampler["name"], *sampler["aliases"]):
            request(sampler_name=name)
    for scheduler in a1111_answers.schedulers():
        for name in (scheduler["name"], scheduler["label"]):
            request(sampler_name="Euler", scheduler=name)


def test_seeds_and_variations() -> None:
    assert "seed" not in request(seed=-1)
    assert request(seed=5)["seed"] == 5
    assert request(subseed=7, subseed_strength=0.25)["variation"] == {"seed": 7, "strength": 0.25}
    assert request(subseed_strength=0.25)["variation"]["seed"] >= 0
    assert request(seed_resize_from_w=511, seed_resize_from_h=256)["variation"] == {"width": 504, "height": 256}
    assert "variation" not in request(subseed=7)
    assert request(batch_size=2, n_iter=3)["count"] == 6


def test_sides_are_whole_latents_and_tiling_is_seamless() -> None:
    asked = request(width=515, height=100, tiling=True)
    assert (asked["width"], asked["height"], asked["seamless"]) == (512, 96, "xy")
    with pytest.raises(InvalidInput, match="width 4"):
        request(width=4)


HIRES = {"enable_hr": True, "width": 512, "height": 384, "denoising_strength": 0.5}


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1024, 768)),
        ({"hr_scale": 1.5}, (768, 576)),
        ({"hr_scale": 9, "hr_resize_x": 1024}, (1024, 768)),
        ({"hr_resize_y": 1152}, (1536, 1152)),
        ({"hr_resize_x": 768, "hr_resize_y": 576}, (768, 576)),
    ],
)
def test_the_size_of_a_second_pass(fields: dict[str, Any], size: tuple[int, int]) -> None:
    hires = request(**HIRES, **fields)["hires"]
    assert (hires["width"], hires["height"]) == size


def test_second_passes() -> None:
    assert "hires" not in request(**{**HIRES, "enable_hr": False})
    assert request(enable_hr=True)["hires"] == {"scale": 2.0, "upscaler": "latent", "strength": 0.75}
    full = request(
        **HIRES,
        sampler_name="Euler",
        hr_second_pass_steps=9,
        hr_upscaler="Lanczos",
        hr_sampler_name="DPM++ 2M",
        hr_scheduler="Karras",
        hr_prompt="a wolf",
    )["hires"]
    second = {"steps": 9, "upscaler": "lanczos", "sampler": "DPM++ 2M", "schedule": "Karras", "prompt": "a wolf"}
    assert full == {"width": 1024, "height": 768, "strength": 0.5, **second}
    same = request(**HIRES, sampler_name="Euler", hr_sampler_name="Use same sampler", hr_scheduler="Use same scheduler")
    assert "sampler" not in same["hires"]
    first = request(**HIRES, firstphase_width=256, firstphase_height=192)
    assert (first["width"], first["height"], first["hires"]["width"]) == (256, 192, 512)
    for mode in a1111.MODES:
        assert request(**HIRES, hr_upscaler=mode)["hires"]["upscaler"] == a1111.MODES[mode]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"styles": ["oil"]}, "styles.*oil"),
        ({"restore_faces": True}, "restore_faces"),
        ({"refiner_checkpoint": "xl"}, "refiner_checkpoint"),
        ({"script_name": "X/Y/Z plot"}, "script_name"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": True}]}}}, "alwayson_scripts 'ControlNet'"),
        ({"s_churn": 0.5}, "s_churn"),
        ({**HIRES, "hr_upscaler": "R-ESRGAN 4x+"}, "R-ESRGAN"),
        ({**HIRES, "hr_checkpoint_name": "xl"}, "[Uu]nknown checkpoint 'xl'"),
        ({**HIRES, "hr_resize_x": 1024, "hr_resize_y": 1024}, "proportions"),
        ({"enable_hr": True, "hr_resize_x": 512}, "width and height"),
        ({**HIRES, "sampler_name": "Euler", "hr_sampler_name": "uni_pc_bh2"}, "two programs"),
    ],
)
def test_what_would_change_the_picture_and_cannot_be_done_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInput, NotFound), match=message):
        request(prompt="a fox", **fields)


def test_all_that_cannot_be_done_is_said_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)styles.*restore_faces"):
        request(styles=["oil"], restore_faces=True)


@pytest.mark.parametrize(
    "scripts", [{}, {"ADetailer": {"args": []}}, {"ADetailer": {"args": [False]}}, {"ControlNet": {}}]
)
def test_scripts_that_are_off_are_passed_over(scripts: dict[str, Any]) -> None:
    assert request(alwayson_scripts=scripts, script_args=[], script_name="None") == request()


def test_pictures_to_begin_with() -> None:
    assert image_request()["start"] == {"strength": 0.75, "counting": "a1111"}
    assert "mask" not in image_request()
    assert 0 < image_request(denoising_strength=0)["start"]["strength"] < 1e-3
    masked = image_request(
        mask="AAAA", mask_blur=8, inpainting_fill=1, inpaint_full_res=False, inpainting_mask_invert=1
    )
    assert masked["mask"] == {"invert": True, "blur": 8, "content": "original", "area": "whole", "padding": 0}
    assert image_request(mask="AAAA", mask_blur_x=2, mask_blur_y=2)["mask"]["blur"] == 2
    assert [image_request(mask="A", inpainting_fill=k)["mask"]["content"] for k in range(4)] == [*a1111.CONTENTS]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize_mode": 3}, "resize_mode 3"),
        ({"initial_noise_multiplier": 1.1}, "initial_noise_multiplier"),
        ({"mask": "A", "mask_blur_x": 1, "mask_blur_y": 2}, "mask_blur_x"),
    ],
)
def test_what_cannot_be_done_with_pictures(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        image_request(**fields)
    with pytest.raises(InvalidInput, match="2 pictures"):
        choices(ImageSaid(init_images=["A", "B"]), Options())


@pytest.mark.parametrize("name", [GLYPH.title, "Glyph", "glyph", "Glyph.safetensors", GLYPH.sha256, GLYPH.sha256[:10]])
def test_checkpoints_are_found_by_any_of_their_names(name: str) -> None:
    assert a1111_options.checkpoint(name, KNOWN) is GLYPH


def test_options_are_what_is_listed_and_can_be_sent_back() -> None:
    options = Options().changed(
        {"sd_model_checkpoint": "sd-v1-4", "randn_source": "CPU", "samples_format": "webp"}, KNOWN
    )
    assert options == Options("other", 1, "a1111-cpu", 0, exact_steps=False, format="webp")
    assert Options().changed(options.listed(OTHER), KNOWN) == options
    assert options.listed(OTHER)["sd_model_checkpoint"] == OTHER.title
    jpeg = Options().changed(
        {"samples_format": "jpg", "CLIP_stop_at_last_layers": 3, "eta_noise_seed_delta": 31337}, KNOWN
    )
    assert (jpeg.format, jpeg.clip_skip, jpeg.noise_delta) == ("jpeg", 3, 31337)
    assert choices(Said(), jpeg)["noise_delta"] == 31337
    exact = Options().changed({"img2img_fix_steps": True}, KNOWN)
    assert choices(ImageSaid(init_images=["A"]), exact)["start"]["counting"] == "exact"


def test_options_that_are_not_understood() -> None:
    with pytest.raises(NotFound, match=r"sd-xl.*Glyph"):
        Options().changed({"sd_model_checkpoint": "sd-xl"}, KNOWN)
    wrong = {"outdir_samples": "/etc", "sd_vae": "x.pt", "randn_source": "TPU", "CLIP_stop_at_last_layers": 0}
    with pytest.raises(InvalidInput, match=r"(?s)outdir_samples.*sd_vae.*randn_source.*CLIP_stop"):
        Options().changed(wrong, KNOWN)


def test_an_infotext_is_recalled_and_what_is_sent_besides_wins() -> None:
    text = "a wolf\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, CFG scale: 5, Seed: 3, Size: 256x256"
    asked = request(infotext=text, steps=4, prompt="a fox")
    assert (asked["prompt"], asked["steps"], asked["seed"], asked["guidance"]) == ("a fox", 4, 3, 5)
    assert request(infotext=text)["prompt"] == "a wolf"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(ImageSaid.model_fields)), JSON, max_size=6))
def test_whatever_is_said_is_understood_or_refused(fields: dict[str, Any]) -> None:
    with suppress(ValidationError, ImpastoError):  # and nothing else
        said = ImageSaid.model_validate({"init_images": ["AAAA"], **fields})
        asked = choices(said, Options().changed(said.settings, KNOWN))
        start = {**asked.pop("start"), "image": "u" + "0" * 20}
        mask = {**asked.pop("mask"), "image": "u" + "1" * 20} if "mask" in asked else None
        GenerateRequest.parse({**asked, "start": start, "mask": mask}, "The request")


def test_png_info_takes_sizes_apart() -> None:
    text = "a wolf\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, Seed: 3, Size: 256x128"
    assert a1111_answers.parameters(text) == {
        **{"Prompt": "a wolf", "Negative prompt": "fog", "Steps": "9", "Sampler": "Euler a", "Seed": "3"},
        **{"Size-1": "256", "Size-2": "128"},
    }
    assert a1111_answers.parameters("a wolf") == {}


@pytest.mark.parametrize(
    ("fields", "size", "crop"),
    [
        ({}, (80, 40), False),
        ({"upscaling_resize": 0.01}, (1, 1), False),
        ({"resize_mode": 1, "upscaling_resize_w": 30, "upscaling_resize_h": 30}, (30, 30), True),
        (
            {"resize_mode": 1, "upscaling_resize_w": 30, "upscaling_resize_h": 30, "upscaling_crop": False},
            (60, 30),
            False,
        ),
    ],
)
def test_sizes_of_extras(fields: dict[str, Any], size: tuple[int, int], crop: bool) -> None:
    assert a1111.Extras(**fields).size((40, 20)) == (size, crop)


def test_extras_refuse_models_that_are_not_here() -> None:
    with pytest.raises(NotFound, match=r"ESRGAN.*Lanczos"):
        a1111.Extras(upscaler_1="ESRGAN_4x").size((8, 8))
    with pytest.raises(InvalidInput, match="gfpgan_visibility"):
        a1111.Extras(gfpgan_visibility=0.5).size((8, 8))

"""A1111's API, spoken by webuiapi and by requests as Open WebUI and SillyTavern send them."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from webuiapi import HiResUpscaler, WebUIApi

import impasto
from impasto.pictures import infotext
from impasto.pictures.metadata import read
from impasto.pipeline.reproduction import as_many_threads
from impasto.recipe import Recipe
from impasto.server.adapters import AdapterInfo
from tests.server.dialects.test_a1111 import SILLYTAVERN
from tests.server.running import TOKEN, Running

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (16, 16, 48, 48))
LONG = {"prompt": "slow", "steps": 150, "batch_size": 8, "seed": 1}


@pytest.fixture(scope="module")
def server(house: Running) -> Running:
    return house


@pytest.fixture
def api(server: Running) -> WebUIApi:
    return WebUIApi(port=server.port, steps=2)


def raw(server: Running, method: str, path: str, user: str = "", **more: Any) -> httpx2.Response:
    return httpx2.request(
        method, f"{server.url}/sdapi/v1{path}", auth=(user, "x") if user else None, timeout=60, **more
    )


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def test_webuiapi_makes_pictures(api: WebUIApi, server: Running) -> None:
    result = api.txt2img(prompt="a fox", negative_prompt="fog", seed=5, width=64, height=48, cfg_scale=4, batch_size=2)
    assert [image.size for image in result.images] == [(64, 48)] * 2
    assert result.info["all_seeds"] == [5, 6]
    assert (result.info["sampler_name"], result.info["steps"], result.info["cfg_scale"]) == ("Euler a", 2, 4)
    assert result.info["infotexts"] == [image.text["parameters"] for image in result.images]
    assert result.info["infotexts"][0].startswith("a fox\nNegative prompt: fog\nSteps: 2, Sampler: Euler a, ")
    job = server.service.job(result.info["impasto"]["job"])
    recipes = [Recipe.model_validate(recipe) for recipe in job.recipes]
    assert result.info["infotexts"] == [infotext.write(recipe) for recipe in recipes]
    assert (recipes[0].noise, recipes[0].prompt_rules) == ("a1111-nv", "a1111")
    assert "scheduler" in result.parameters


def test_the_same_seed_gives_the_same_picture(api: WebUIApi) -> None:
    one, two, other = (api.txt2img(prompt="a fox", seed=seed, width=64, height=64).image for seed in (5, 5, 6))
    assert (array(one) == array(two)).all()
    assert (array(one) != array(other)).any()


SECOND = {"prompt": "a fox", "seed": 5, "width": 64, "height": 64, "steps": 2, "enable_hr": True, "hr_scale": 1.5}


def test_a_second_pass_by_another_model_is_the_one_that_the_library_makes(server: Running) -> None:
    answers = [
        raw(server, "POST", "/txt2img", json={**SECOND, **more}).json()
        for more in ({}, {"hr_checkpoint_name": "other"}, {"hr_checkpoint_name": "Use same checkpoint"})
    ]
    alone, followed, same = (opened(answer["images"][0]) for answer in answers)
    assert (array(alone) == array(same)).all()
    assert "Hires checkpoint: other" in json.loads(answers[1]["info"])["infotexts"][0]
    tiny, other = (impasto.load(offered.path) for offered in server.service.shelf)
    job = server.service.job(json.loads(answers[1]["info"])["impasto"]["job"])
    recipe = Recipe.model_validate(job.recipes[0])
    with as_many_threads(1):  # as the server's worker has
        (wanted,) = [picture for step in tiny.followed_by(other).make(recipe) for picture in step.made]
    assert (array(followed) == array(wanted.image)).all()
    assert abs(array(followed) - array(alone)).max() > 20
    again = raw(server, "POST", "/txt2img", json={**SECOND, "hr_checkpoint_name": "nobody"})
    assert again.status_code == 404
    assert "other [" in again.json()["detail"]


def test_webuiapi_second_pass_variation_and_tiling(api: WebUIApi) -> None:
    result = api.txt2img(
        prompt="a fox",
        seed=5,
        width=64,
        height=64,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler=HiResUpscaler.LatentNearest,
        hr_second_pass_steps=1,
        denoising_strength=0.5,
        subseed=9,
        subseed_strength=0.3,
        tiling=True,
        sampler_name="DPM++ 2M",
        scheduler="karras",
        hr_sampler_name="Euler a",
        hr_scheduler="Exponential",
        hr_prompt="a wolf",
    )
    assert result.image.size == (96, 96)
    text = result.info["infotexts"][0]
    for part in (
        "Sampler: DPM++ 2M, Schedule type: Karras",
        "Variation seed: 9, Variation seed strength: 0.3",
        "Denoising strength: 0.5",
        "Hires upscale: 1.5, Hires steps: 1, Hires upscaler: Latent (nearest)",
        "Hires sampler: Euler a",
        "Hires schedule type: Exponential",
        "Hires prompt: a wolf",
        "Tiling: True",
    ):
        assert part in text
    assert (result.info["subseed"], result.info["subseed_strength"]) == (9, 0.3)


def test_webuiapi_begins_with_a_picture(api: WebUIApi, server: Running) -> None:
    result = api.img2img(images=[PICTURE], prompt="a fox", seed=1, steps=4, denoising_strength=0.5, width=64, height=64)
    recipe = Recipe.model_validate(server.service.job(result.info["impasto"]["job"]).recipes[0])
    assert recipe.start
    assert (recipe.start.strength, recipe.start.counting) == (0.5, "a1111")
    assert result.info["denoising_strength"] == 0.5
    assert "init_images" not in result.parameters
    told = api.img2img(images=[PICTURE], width=64, height=64, steps=1, include_init_images=True).parameters
    assert len(told["init_images"]) == 1


@pytest.mark.parametrize("invert", [0, 1])
def test_webuiapi_paints_within_a_mask(api: WebUIApi, invert: int) -> None:
    result = api.img2img(
        images=[PICTURE],
        mask_image=MASK,
        mask_blur=0,
        inpainting_fill=1,
        inpaint_full_res=False,
        inpainting_mask_invert=invert,
        denoising_strength=1,
        seed=1,
        width=64,
        height=64,
    )
    painted = (np.asarray(MASK) > 0) != bool(invert)
    assert (array(result.image)[~painted] == array(PICTURE)[~painted]).all()
    assert (array(result.image)[painted] != array(PICTURE)[painted]).mean() > 0.5


def test_a_mask_drawn_on_glass_and_a_padded_part(api: WebUIApi) -> None:
    glass = Image.new("RGBA", (64, 64))
    glass.paste((0, 0, 0, 255), (20, 20, 40, 40))
    large = PICTURE.resize((128, 96))
    result = api.img2img(images=[large], mask_image=glass.resize((128, 96)), mask_blur=0, width=64, height=64, seed=1)
    assert result.image.size == (128, 96)  # `inpaint_full_res`: the picture keeps its own size
    assert (array(result.image)[:20] == array(large)[:20]).all()


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_resize_modes_make_the_size_that_was_asked_for(api: WebUIApi, mode: int) -> None:
    result = api.img2img(images=[PICTURE.resize((64, 32))], resize_mode=mode, width=64, height=64, steps=1, seed=1)
    assert result.image.size == (64, 64)


def test_webuiapi_lists(api: WebUIApi) -> None:
    assert api.util_get_sampler_names() >= ["DDIM"]
    assert "karras" in api.util_get_scheduler_names()
    assert {"None", "Lanczos"} <= {one["name"] for one in api.get_upscalers()}
    assert {"name": "Latent"} in api.get_latent_upscale_modes()
    models = api.get_sd_models()
    assert [model["model_name"] for model in models] == ["tiny", "other"]
    assert models[0]["title"] == f"tiny [{models[0]['sha256'][:10]}]"
    assert "/" not in json.dumps(models)
    for listing in (
        api.get_sd_vae,
        api.get_loras,
        api.get_hypernetworks,
        api.get_face_restorers,
        api.get_realesrgan_models,
        api.get_prompt_styles,
    ):
        assert listing() == []
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_memory()["ram"]["total"] > api.get_memory()["ram"]["free"] > 0
    assert api.get_cmd_flags()["api"] is True
    assert api.refresh_checkpoints() is None


def test_webuiapi_lists_adapters(api: WebUIApi, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {"consent": None, "size_bytes": 9, "thumbnail": False}
    ink = AdapterInfo(id="ink", name="Ink", kind="lora", base="sd_v1", trigger="inked", **rest)
    moss = AdapterInfo(id="moss", name="moss", kind="embedding", base=None, trigger=None, **rest)
    monkeypatch.setattr("impasto.server.routes.sdapi.offered", lambda _: [ink, moss])
    (lora,) = api.get_loras()
    assert (lora["name"], lora["alias"], lora["path"]) == ("ink", "ink", "ink.safetensors")
    assert lora["metadata"] == {"modelspec.trigger_phrase": "inked", "ss_base_model_version": "sd_v1"}
    assert api.get_embeddings()["loaded"].keys() == {"moss"}


def test_webuiapi_switches_the_model_for_its_caller_alone(server: Running) -> None:
    mine, other = (WebUIApi(port=server.port, steps=1, username=name, password="x") for name in ("mia", "ole"))
    mine.util_set_model("other")
    assert mine.util_get_current_model().startswith("other [")
    assert other.util_get_current_model().startswith("tiny [")
    assert mine.txt2img(prompt="a fox", width=64, height=64).info["sd_model_name"] == "other"
    assert other.txt2img(prompt="a fox", width=64, height=64).info["sd_model_name"] == "tiny"
    once = other.txt2img(width=64, height=64, override_settings={"sd_model_checkpoint": "other"})
    assert once.info["sd_model_name"] == "other"
    assert other.util_get_current_model().startswith("tiny [")
    kept = {"override_settings": {"sd_model_checkpoint": "other"}, "override_settings_restore_afterwards": False}
    other.txt2img(width=64, height=64, **kept)
    assert other.util_get_current_model().startswith("other [")


def test_webuiapi_reads_and_resizes_pictures(api: WebUIApi) -> None:
    made = api.txt2img(prompt="a fox, in snow", seed=3, width=64, height=64).image
    info = api.png_info(made)
    assert info.info == made.text["parameters"]
    assert info.parameters["Prompt"] == "a fox, in snow"
    assert (info.parameters["Seed"], info.parameters["Size-1"]) == ("3", "64")
    assert "impasto" in info.json["items"]
    larger = api.extra_single_image(made, upscaling_resize=1.5, upscaler_1="Lanczos")
    assert larger.image.size == (96, 96)
    assert larger.image.text["parameters"] == made.text["parameters"]
    batch = api.extra_batch_images([made, PICTURE], resize_mode=1, upscaling_resize_w=48, upscaling_resize_h=32)
    assert [image.size for image in batch.images] == [(48, 32)] * 2
    with pytest.raises(RuntimeError, match="R-ESRGAN"):
        api.extra_single_image(made, upscaler_1="R-ESRGAN 4x+")
    with pytest.raises(RuntimeError, match="501"):
        api.interrogate(made)


def test_what_open_webui_sends(server: Running) -> None:
    """It reads `/options`, sends all of it back with another model, and asks with little."""
    user = "open-webui"
    assert raw(server, "GET", "/options", headers={"authorization": ""}).status_code == 200  # as it is without a key
    options = raw(server, "GET", "/options", user).json()
    models = raw(server, "GET", "/sd-models", user).json()
    options["sd_model_checkpoint"] = models[1]["title"]
    assert raw(server, "POST", "/options", user, json=options).status_code == 200
    assert raw(server, "GET", "/options", user).json()["sd_model_checkpoint"] == models[1]["title"]
    asked = {"prompt": "a fox", "batch_size": 1, "width": 64, "height": 64, "steps": 2, "negative_prompt": "fog"}
    answer = raw(server, "POST", "/txt2img", user, json=asked).json()
    assert opened(answer["images"][0]).size == (64, 64)
    assert json.loads(answer["info"])["sd_model_name"] == "other"


def test_what_sillytavern_sends(server: Running) -> None:
    user = "sillytavern"
    assert raw(server, "GET", "/options", user).status_code == 200
    names = [one["name"] for one in raw(server, "GET", "/upscalers", user).json()]
    assert names[0] == "None"
    for listing in ("/sd-vae", "/sd-modules"):
        assert raw(server, "GET", listing, user).json() == []
    assert "forge_preset" not in raw(server, "GET", "/options", user).json()  # or it sends modules that are not here
    title = raw(server, "GET", "/sd-models", user).json()[0]["title"]
    assert raw(server, "POST", "/options", user, json={"sd_model_checkpoint": title}).status_code == 200
    progress = raw(server, "GET", "/progress", user).json()
    assert (progress["progress"], progress["state"]["job_count"]) == (0, 0)
    asked = {**SILLYTAVERN, "width": 64, "height": 64, "steps": 2, "override_settings": {"CLIP_stop_at_last_layers": 2}}
    answer = raw(server, "POST", "/txt2img", user, json=asked)
    assert "secret" not in answer.text
    assert opened(answer.json()["images"][0]).size == (128, 128)
    info = json.loads(answer.json()["info"])
    assert info["clip_skip"] == 2
    assert "auth" in info["impasto"]["ignored"]


class Background:
    """A request that takes long, in a thread of its own."""

    def __init__(self, server: Running, user: str, **fields: Any) -> None:
        self.answer: httpx2.Response | None = None

        def ask() -> None:
            self.answer = raw(server, "POST", "/txt2img", user, json={**LONG, "width": 64, "height": 64, **fields})

        self.thread = threading.Thread(target=ask)
        self.thread.start()

    def result(self) -> dict[str, Any]:
        self.thread.join(60)
        assert self.answer
        answer: dict[str, Any] = self.answer.json()
        return answer


def until(look: Any, wanted: Any) -> Any:
    for _ in range(600):
        if wanted(found := look()):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_progress_and_interrupt_are_each_callers_own(server: Running) -> None:
    mine = Background(server, "mia", force_task_id="task(mine)")
    running_ = until(
        lambda: raw(server, "GET", "/progress", "mia").json(), lambda it: it["progress"] > 0 and it["current_image"]
    )
    assert (running_["current_task"], running_["state"]["job_count"]) == ("task(mine)", 8)
    assert running_["state"]["sampling_steps"] == 150
    assert opened(running_["current_image"]).size[0] > 0
    assert raw(server, "GET", "/progress?skip_current_image=true", "mia").json()["current_image"] is None
    others = raw(server, "GET", "/progress", "ole").json()
    assert (others["progress"], others["state"]["job_count"]) == (0, 0)
    assert raw(server, "POST", "/interrupt", "ole").json() == {}
    assert raw(server, "POST", "/interrupt?id_task=other", "mia").json() == {}
    assert raw(server, "GET", "/progress?id_task=task(mine)", "mia").json()["progress"] > 0
    assert raw(server, "POST", "/interrupt", "mia").json() == {}
    answer = mine.result()
    info = json.loads(answer["info"])
    assert len(answer["images"]) == len(info["infotexts"]) < 8
    assert server.service.job(info["impasto"]["job"]).state == "cancelled"


def test_a_job_whose_client_goes_away_is_cancelled_unless_it_is_to_be_saved(server: Running) -> None:
    for save, state in ((False, "cancelled"), (True, "running")):
        known = {job.id for job in server.service.jobs()}
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(
                f"{server.url}/sdapi/v1/txt2img",
                json={**LONG, "width": 64, "height": 64, "save_images": save},
                timeout=1,
            )
        (job,) = {job.id for job in server.service.jobs()} - known
        assert until(lambda job=job: server.service.job(job).state, lambda it: it != "queued") in (
            "running",
            "cancelled",
        )
        until(lambda job=job: server.service.job(job).state, lambda it, state=state: it == state)
        time.sleep(1 if save else 0)
        assert server.service.job(job).state == state
    server.service.cancel(job)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/txt2img", {"steps": 0}, 422, "steps"),
        ("/txt2img", {"steps": 100_000}, 422, "steps"),
        ("/txt2img", {"width": 100_000}, 422, "width"),
        ("/txt2img", {"batch_size": "many"}, 422, "batch_size"),
        ("/txt2img", {"sampler_name": "DPM++ 9M"}, 404, "DPM\\+\\+ 9M"),
        ("/txt2img", {"alwayson_scripts": {"ControlNet": {"args": [1]}}}, 422, "ControlNet"),
        ("/txt2img", {"override_settings": {"outdir_samples": "/etc"}}, 422, "outdir_samples"),
        ("/options", {"sd_model_checkpoint": "nothing"}, 404, "nothing"),
        ("/img2img", {"init_images": []}, 422, "init_images"),
        ("/img2img", {"init_images": ["http://example.com/a.png"]}, 422, "not fetched"),
        ("/img2img", {"init_images": ["AAAA"]}, 422, "not a picture"),
        ("/img2img", {"init_images": ["%%%"]}, 422, "base64"),
        ("/png-info", {"image": "AAAA"}, 422, "not a picture"),
    ],
)
def test_refusals_name_what_is_wrong(server: Running, path: str, body: Any, status: int, message: str) -> None:
    answer = raw(server, "POST", path, json=body)
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "detail", "body", "errors"}
    assert re.search(message, answer.json()["detail"])


def test_other_formats_carry_the_text_too(server: Running, tmp_path: Any) -> None:
    for kind in ("jpg", "webp"):
        asked = {"prompt": "a fox", "seed": 1, "width": 64, "height": 64, "override_settings": {"samples_format": kind}}
        answer = raw(server, "POST", "/txt2img", json=asked).json()
        path = tmp_path / f"a.{kind}"
        path.write_bytes(base64.b64decode(answer["images"][0]))
        said = read(path)
        assert said.recipe
        assert infotext.write(said.recipe) == json.loads(answer["info"])["infotexts"][0]


def test_pictures_need_not_be_sent(server: Running) -> None:
    answer = raw(server, "POST", "/txt2img", json={"prompt": "a fox", "send_images": False}).json()
    assert answer["images"] == []
    assert json.loads(answer["info"])["width"] == 64  # the model's own


def test_the_token_is_the_password(guarded: Running) -> None:
    assert raw(guarded, "GET", "/options").status_code == 401
    assert raw(guarded, "GET", "/options", "mia").status_code == 401
    api = WebUIApi(port=guarded.port, username="mia", password=TOKEN)
    assert api.get_options()["sd_model_checkpoint"].startswith("tiny [")

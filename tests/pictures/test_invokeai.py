"""What InvokeAI and NovelAI write."""

from __future__ import annotations

import json

import pytest

from impasto.pictures import infotext, invokeai


def test_metadata() -> None:
    found = invokeai.read(
        json.dumps(
            {
                "generation_mode": "txt2img",
                "positive_prompt": "a fox",
                "negative_prompt": "dog",
                "width": 512,
                "height": 768,
                "seed": 3207,
                "rand_device": "cpu",
                "cfg_scale": 7.5,
                "steps": 30,
                "scheduler": "dpmpp_2m_k",
                "model": {"name": "sd-1-4", "hash": "blake3:0123", "base": "sd-1"},
                "app_version": "5.9.0",
            }
        )
    )
    assert found is not None
    assert found.parameters["Model hash"] == "blake3:0123"
    assert infotext.choices(found) == {
        "negative_prompt": "dog",
        "seed": 3207,
        "steps": 30,
        "guidance": 7.5,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "width": 512,
        "height": 768,
        "noise": "a1111-cpu",
    }


def test_old_metadata() -> None:
    image = {"prompt": [{"prompt": "a fox", "weight": 1}], "steps": 50, "cfg_scale": 7.5, "seed": 1, "sampler": "k_lms"}
    found = invokeai.read_old(json.dumps({"model_weights": "sd-1.4", "image": {**image, "width": 8, "height": 16}}))
    assert found is not None
    assert found.prompt == "a fox"
    assert infotext.choices(found)["sampler"] == "lms"


def test_novelai() -> None:
    comment = {"steps": 28, "sampler": "k_euler_ancestral", "seed": 7, "scale": 11.0, "uc": "lowres", "width": 64}
    found = invokeai.read_novelai(json.dumps(comment), "a fox")
    assert found is not None
    assert (found.prompt, found.negative_prompt) == ("a fox", "lowres")
    assert infotext.choices(found)["sampler"] == "euler_ancestral"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "[" * 100_000, '{"image": {}, "positive_prompt": 3, "sampler": 1, "prompt": []}']
)
def test_other_text(text: str) -> None:
    assert invokeai.read(text) is None
    assert invokeai.read_old(text) is None
    assert invokeai.read_novelai(text, "") is None

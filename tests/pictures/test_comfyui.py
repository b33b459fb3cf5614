"""What ComfyUI's graphs say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.pictures import comfyui, infotext, metadata

DEFAULT: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}


def read(graph: Any) -> infotext.Infotext:
    found = comfyui.read(json.dumps(graph))
    assert found is not None
    return found


def test_the_default_graph() -> None:
    found = read(DEFAULT)
    assert (found.prompt, found.negative_prompt, found.program) == ("a bottle", "text, watermark", "ComfyUI")
    assert found.parameters["Model"] == "v1-5-pruned"
    assert "Denoising strength" not in found.parameters
    assert infotext.choices(found) == {
        "negative_prompt": "text, watermark",
        "seed": 156680208700286,
        "steps": 20,
        "guidance": 8.0,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "width": 512,
        "height": 640,
        "noise": "comfyui",
        "first_noise": "unit",
        "emphasis": "comfy",
    }


def test_values_and_texts_that_other_nodes_hold() -> None:
    graph = json.loads(json.dumps(DEFAULT))
    graph["6"]["inputs"]["text"] = ["20", 0]
    graph["20"] = {"class_type": "PrimitiveString", "inputs": {"value": "a ship"}}
    graph["3"]["inputs"]["seed"] = ["21", 0]
    graph["21"] = {"class_type": "Seed", "inputs": {"seed": 5}}
    graph["3"]["inputs"]["positive"] = ["22", 0]
    graph["22"] = {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0], "strength": 1}}
    found = read(graph)
    assert found.prompt == "a ship"
    assert found.parameters["Seed"] == "5"


def test_a_custom_sampler() -> None:
    graph = {
        "1": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {"noise": ["2", 0], "guider": ["3", 0], "sigmas": ["4", 0], "sampler": ["5", 0]},
        },
        "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 9}},
        "3": {"class_type": "BasicGuider", "inputs": {"conditioning": ["6", 0], "model": ["7", 0]}},
        "4": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4, "denoise": 0.5}},
        "5": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
    }
    found = read(graph)
    assert found.prompt == "a fox"
    assert found.parameters == {
        "Steps": "4",
        "Sampler": "Euler",
        "Schedule type": "Simple",
        "Seed": "9",
        "Denoising strength": "0.5",
    }


def test_the_sampler_that_was_saved_is_the_one_of_two() -> None:
    graph = json.loads(json.dumps(DEFAULT))
    graph["30"] = json.loads(json.dumps(graph["3"]))
    graph["30"]["inputs"]["steps"] = 99
    assert read(graph).parameters["Steps"] == "20"


def test_a_graph_that_goes_in_circles() -> None:
    graph = json.loads(json.dumps(DEFAULT))
    graph["6"]["inputs"] = {"text": ["20", 0], "clip": ["6", 0]}
    graph["20"] = {"class_type": "A", "inputs": {"value": ["20", 0]}}
    graph["3"]["inputs"]["seed"] = ["21", 0]
    graph["21"] = {"class_type": "A", "inputs": {"seed": ["3", 0]}}
    found = read(graph)
    assert found.prompt == ""
    assert found.negative_prompt == "text, watermark"


def test_a_long_chain() -> None:
    graph: dict[str, Any] = json.loads(json.dumps(DEFAULT))
    for number in range(100, 5100):
        graph[str(number)] = {"class_type": "Reroute", "inputs": {"conditioning": [str(number + 1), 0]}}
    graph["5100"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "far away"}}
    graph["3"]["inputs"]["positive"] = ["100", 0]
    assert read(graph).prompt == "far away"


@pytest.mark.parametrize(
    "text", ["", "a fox", "[]", "{}", "null", '{"3": {}}', '{"3": 4}', "[" * 100_000, '{"a":' * 9999]
)
def test_what_is_no_graph(text: str) -> None:
    assert comfyui.read(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "2", "3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "1", "steps", "seed"]), inner),
    max_leaves=6,
)
INPUT = JSON | st.tuples(st.sampled_from(["1", "2", "3"]), st.integers(0, 2)).map(list)
INPUTS = st.dictionaries(
    st.sampled_from(["steps", "positive", "negative", "text", "seed", "cfg", "ckpt_name", "guider", "width"]), INPUT
)
NODE = st.fixed_dictionaries(
    {"class_type": st.sampled_from(["KSampler", "SamplerCustom", "SaveImage"]), "inputs": INPUTS}
)


@given(st.dictionaries(st.sampled_from(["1", "2", "3"]), NODE | JSON))
def test_any_graph_is_read_or_not(graph: dict[str, Any]) -> None:
    comfyui.read(json.dumps(graph))


def page() -> dict[str, Any]:
    """The default graph as the page shows it, with an adapter and a clip skip."""
    return {
        "nodes": [
            {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["sd14.safetensors"]},
            {
                "id": 10,
                "type": "LoraLoader",
                "widgets_values": ["styles\\ink.safetensors", 0.8, 0.5],
                "inputs": [{"name": "model", "link": 1}, {"name": "clip", "link": 2}],
            },
            {"id": 11, "type": "CLIPSetLastLayer", "widgets_values": [-2], "inputs": [{"name": "clip", "link": 3}]},
            {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a fox"], "inputs": [{"name": "clip", "link": 4}]},
            {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["dark"], "inputs": [{"name": "clip", "link": 5}]},
            {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 640, 1]},
            {
                "id": 3,
                "type": "KSampler",
                "widgets_values": [42, "randomize", 20, 8, "euler_ancestral", "normal", 1],
                "inputs": [
                    {"name": "model", "link": 6},
                    {"name": "positive", "link": 7},
                    {"name": "negative", "link": 8},
                    {"name": "latent_image", "link": 9},
                ],
            },
            {"id": 9, "type": "SaveImage", "widgets_values": ["ComfyUI"], "inputs": [{"name": "images", "link": 10}]},
        ],
        "links": [
            *([1, 4, 0, 10, 0, "MODEL"], [2, 4, 1, 10, 1, "CLIP"], [3, 10, 1, 11, 0, "CLIP"], [4, 11, 0, 6, 0, "CLIP"]),
            *([5, 11, 0, 7, 0, "CLIP"], [6, 10, 0, 3, 0, "MODEL"], [7, 6, 0, 3, 1, "CONDITIONING"]),
            *([8, 7, 0, 3, 2, "CONDITIONING"], [9, 5, 0, 3, 3, "LATENT"], [10, 3, 0, 9, 0, "IMAGE"]),
        ],
    }


def test_a_page_alone_is_read_too() -> None:
    found = metadata.find({"workflow": json.dumps(page())})
    assert found is not None
    assert (found.prompt, found.negative_prompt) == ("a fox <lora:ink:0.5:0.8>", "dark")
    chosen = infotext.choices(found)
    assert (chosen["sampler"], chosen["schedule"], chosen["steps"], chosen["seed"]) == (
        *("euler_ancestral", "normal"),
        *(20, 42),
    )
    assert (chosen["clip_skip"], chosen["width"], chosen["height"], chosen["guidance"]) == (2, 512, 640, 8)


@pytest.mark.parametrize(
    "change",
    [{"nodes": {}}, {"links": None}, {"nodes": [None, {"id": 1}, {"type": "KSampler"}]}, {"links": [[], [1, {}, 2]]}],
    ids=str,
)
def test_pages_that_are_none_are_nothing(change: dict[str, Any]) -> None:
    found = metadata.find({"workflow": json.dumps({**page(), **change})})
    assert found is None or found.prompt == ""

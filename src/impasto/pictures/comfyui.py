"""What ComfyUI writes into its pictures: the graph that made them, as JSON.

The text `prompt` holds `{node id: {"class_type": ..., "inputs": {...}}}`, where an input is a value or, as
`[node id, output]`, another node's output. The text `workflow` holds what the page shows: a list of nodes with the
values of their widgets in a row, and a list of links. Nothing here follows a graph deeper than it has nodes, or
recursively.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from impasto.pictures.infotext import SAMPLER_NAMES, SCHEDULE_NAMES, Infotext

Node = dict[str, Any]
Graph = dict[str, Node]

TEXT_INPUTS = ("text", "text_g", "text_l", "string", "prompt", "value", "populated_text")
VALUE_INPUTS = ("value", "int", "float", "seed", "noise_seed", "number", "sampler_name", "scheduler")
RENAMED = {"uni_pc": "UniPC", "uni_pc_bh2": "UniPC", "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun"}

CONTROL = "control_after_generate"
SAMPLING = ("steps", "cfg", "sampler_name", "scheduler")
WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", CONTROL, *SAMPLING, "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", CONTROL, *SAMPLING, "start_at_step", "end_at_step"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "RandomNoise": ("noise_seed", CONTROL),
    "CFGGuider": ("cfg",),
    "PrimitiveNode": ("value", CONTROL),
}
"""What the values in a row are called, by the kind of node."""


def read(text: str) -> Infotext | None:
    """Return what the graph `text` says of its picture, or None when it is no such graph."""
    return _read(_graph(text))


def read_workflow(text: str) -> Infotext | None:
    """Return what the page `text` says of its picture, or None when it is no such page."""
    data = _object(text)
    nodes, links = data.get("nodes"), data.get("links")
    if not isinstance(nodes, list) or not isinstance(links, list):
        return None
    sources = {link[0]: [str(link[1]), link[2]] for link in links if _is_link(link)}
    known = [node for node in nodes if isinstance(node, dict) and isinstance(node.get("type"), str) and "id" in node]
    return _read({str(node["id"]): {"class_type": node["type"], "inputs": _inputs(node, sources)} for node in known})


def _is_link(link: Any) -> bool:
    return isinstance(link, list) and len(link) >= 3 and all(isinstance(part, int) for part in link[:3])


def _inputs(node: Node, sources: dict[int, list[Any]]) -> dict[str, Any]:
    """Return the inputs of a page's node as a graph has them."""
    values = node.get("widgets_values")
    row = zip(WIDGETS.get(node["type"], ()), values, strict=False) if isinstance(values, list) else ()
    inputs = {**dict(row), **(values if isinstance(values, dict) else {})}
    entries = node.get("inputs")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _hashable(entry.get("link")) in sources:
            inputs[entry["name"]] = sources[entry["link"]]
    return inputs


def _hashable(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _read(graph: Graph) -> Infotext | None:
    sampler = _last_sampler(graph)
    if sampler is None:
        return None
    parameters = {key: value for key, value in _parameters(graph, sampler) if value not in ("", "None")}
    prompt = " ".join([_words(graph, sampler, "positive"), *_adapters(graph, sampler)]).strip()
    return Infotext(prompt, _words(graph, sampler, "negative"), parameters, program="ComfyUI")


def _adapters(graph: Graph, sampler: Node) -> list[str]:
    """Return the adapters above the sampler as a prompt calls them, in the order in which they are applied."""
    called = []
    for node in _upstream(graph, _own_key(graph, sampler)):
        inputs = node["inputs"]
        name, unet, te = (inputs.get(key) for key in ("lora_name", "strength_model", "strength_clip"))
        if isinstance(name, str) and isinstance(unet, (int, float)):
            stem = name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name
            called.append(f"<lora:{stem}:{te if isinstance(te, (int, float)) else 0}:{unet}>")
    return called[::-1]


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _graph(text: str) -> Graph:
    return {
        key: node
        for key, node in _object(text).items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict) and isinstance(node.get("class_type"), str)
    }


def _last_sampler(graph: Graph) -> Node | None:
    """Return the sampler that made the picture: upstream of what saves it, the nearest; otherwise the last one."""
    savers = [key for key, node in graph.items() if "save" in node["class_type"].lower()] or [*graph][-1:]
    for saver in savers:
        for node in _upstream(graph, saver):
            if _is_sampler(node):
                return node
    return next((node for node in reversed(graph.values()) if _is_sampler(node)), None)


def _is_sampler(node: Node) -> bool:
    inputs = node["inputs"]
    return {"steps", "positive"} <= set(inputs) or str(node["class_type"]).startswith("SamplerCustom")


def _upstream(graph: Graph, start: str) -> Iterator[Node]:
    """Yield the nodes that `start` is made from, itself first, nearest first, each once."""
    waiting, seen = [start], {start}
    for key in waiting:  # grows while it is walked
        node = graph.get(key)
        if node is None:
            continue
        yield node
        for value in node["inputs"].values():
            source = _source(value)
            if source is not None and source not in seen:
                seen.add(source)
                waiting.append(source)


def _source(value: Any) -> str | None:
    linked = isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int))
    return str(value[0]) if linked else None


def _words(graph: Graph, sampler: Node, name: str) -> str:
    """Return the text of the first node that has one on the way up from the sampler's input `name`."""
    source = _source(sampler["inputs"].get(name))
    if source is None and (guider := _source(sampler["inputs"].get("guider"))) in graph:
        inputs = graph[str(guider)]["inputs"]
        source = _source(inputs.get(name) or (inputs.get("conditioning") if name == "positive" else None))
    for node in _upstream(graph, source) if source is not None else ():
        for key in TEXT_INPUTS:
            text = _followed(graph, node["inputs"].get(key), TEXT_INPUTS)
            if isinstance(text, str):
                return text
    return ""


def _followed(graph: Graph, value: Any, names: tuple[str, ...]) -> Any:
    """Return `value`, or what the nodes that it links to hold under one of `names`."""
    for _ in range(len(graph)):
        source = _source(value)
        if source is None:
            return value
        inputs = graph.get(source, {"inputs": {}})["inputs"]
        value = next((inputs[name] for name in names if name in inputs), None)
    return None if isinstance(value, list) else value


def _parameters(graph: Graph, sampler: Node) -> Iterator[tuple[str, str]]:
    """Yield A1111's keys with what the sampler and the nodes above it hold."""
    above = [sampler["inputs"], *(node["inputs"] for node in _upstream(graph, _own_key(graph, sampler)))]

    def find(*names: str) -> str:
        values = (
            _followed(graph, inputs[n], (*names, *VALUE_INPUTS)) for inputs in above for n in names if n in inputs
        )
        return next((str(value) for value in values if isinstance(value, (str, int, float))), "")

    name, schedule = find("sampler_name"), find("scheduler")
    yield "Steps", find("steps")
    yield "Sampler", RENAMED.get(name) or SAMPLER_NAMES.get(name, name)
    yield "UniPC variant", {"uni_pc": "bh1", "uni_pc_bh2": "bh2"}.get(name, "")
    yield "Schedule type", SCHEDULE_NAMES.get(schedule, schedule)
    yield "CFG scale", find("cfg")
    yield "Seed", find("seed", "noise_seed")
    width, height = find("width"), find("height")
    yield "Size", f"{width}x{height}" if width and height else ""
    yield "Model", find("ckpt_name", "unet_name").rpartition(".")[0] or find("ckpt_name", "unet_name")
    last = find("stop_at_clip_layer")
    yield "Clip skip", last.removeprefix("-") if last not in ("", "-1") else ""
    denoise = find("denoise")
    yield "Denoising strength", "" if denoise in ("1", "1.0") else denoise


def _own_key(graph: Graph, wanted: Node) -> str:
    return next(key for key, node in graph.items() if node is wanted)

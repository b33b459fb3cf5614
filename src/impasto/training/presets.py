"""Plans that work unchanged: what a person says, and the model that is taught, become a whole plan.

A model of any size gets the same preset: sizes follow from its resolution, and the learning rate from its width, since
the same step moves a narrow network less (after Yang et al. 2203.03466). Figures are those that the peers'
documentation tells people to use for Stable Diffusion 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from impasto.errors import InvalidPlan, NotFound
from impasto.models.specs import ModelSpec
from impasto.training.teaching import PLANS, TeachingPlan

WIDTH = 1280  # of the UNet that the learning rates below are for
SMALL = 256  # pixels: below this resolution pictures are learned several at a time

LORA: dict[str, Any] = {
    "adapter": {"rank": 16, "modules": ("attention", "feed_forward", "projections")},
    "optimiser": {"learning_rate": 1e-4},
    "min_snr": 5.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "dreambooth": {"optimiser": {"learning_rate": 5e-6}},
    "textual-inversion": {"vectors": 4, "optimiser": {"learning_rate": 5e-3, "weight_decay": 0.0}},
}
"""What is learned, by method; learning rates of networks are for `WIDTH`."""

STAGE = ("size", "batch", "steps")
"""What a person says of the one stage."""

STEPS = {"subject": 500, "style": 1500}
"""How many, by what is learned."""

MORE_STEPS = {"lora": 1.0, "dreambooth": 0.8, "textual-inversion": 3.0}
"""How many times as many a method takes."""


def preset(
    method: str, spec: ModelSpec, said: Mapping[str, Any], plan: Mapping[str, Any] | None = None
) -> TeachingPlan:
    """Return the plan that `method` follows for a model of `spec`.

    Args:
        method: a row of `PRESETS`.
        spec: of the model that is taught.
        said: what a person said, nested as plans are, `{"wording": {"subject": ...}}`; it stands above everything.
        plan: what a plan file says; it stands in place of the preset.

    Raises:
        NotFound: there is no such method.
        InvalidPlan: something that was said cannot be.
    """
    if method not in PRESETS:
        raise NotFound.among("method", method, PRESETS)
    data = merged(dict(plan) if plan else _preset(method, spec, said), said)
    stage = {**data.get("stages", [{}])[0], **{name: data.pop(name) for name in STAGE if name in data}}
    data["stages"] = [stage]
    if not plan:
        every = max(1, stage["steps"] // 5)
        data = {"checkpoint_every": every, "sheet_every": every, "log_every": 10, **data}
    if data.setdefault("kind", method) != method:
        raise InvalidPlan(f"The plan is for {data['kind']!r}, not for {method!r}.")
    wording = data.get("wording", {})
    words = (wording.get("subject") or wording.get("style") or "").split()
    if not words:
        raise InvalidPlan('Say what the pictures show (--subject "zwx fox") or whose style they have (--style NAME).')
    if method == "textual-inversion":
        data = {"word": words[0], "begin": " ".join(words[1:]) or None, **data}
    return PLANS[method].parse(data, "The plan", InvalidPlan)


def _preset(method: str, spec: ModelSpec, said: Mapping[str, Any]) -> dict[str, Any]:
    data = deepcopy(PRESETS[method])
    what = "subject" if said.get("wording", {}).get("subject") else "style"
    small = spec.resolution < SMALL
    steps = round(STEPS[what] * MORE_STEPS[method])
    data["samples"] = {"steps": 20}
    data["stages"] = [{"size": spec.resolution, "batch": 8 if small else 1, "steps": steps}]
    if method != "textual-inversion":
        width = max(spec.unet.block_out_channels)
        data["optimiser"]["learning_rate"] = float(f"{data['optimiser']['learning_rate'] * WIDTH / width:.2g}")
    return data


def merged(data: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with what stands `above` it; tables are merged, all else is replaced."""
    result = dict(data)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old or {}, value) if isinstance(value, Mapping) else value
    return result

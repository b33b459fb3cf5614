"""What clients of OpenAI's images API say, in our terms, and the shapes of its answers.

Facts of the types of the official `openai` client. What the API says of its models' rendering is mapped to what these
models have (`quality` to steps); what has no counterpart here is refused where it would show in the picture, and passed
over and told where it would not. Fields of a request of our own may be sent beside those of the API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from impasto.server.dialects.images import fitting
from impasto.server.requests import RequestRefused

Format = Literal["png", "jpeg", "webp"]
Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]

QUALITIES: dict[str, tuple[float, str]] = {
    "auto": (1, "medium"),
    "low": (0.5, "low"),
    "medium": (1, "medium"),
    "standard": (1, "medium"),
    "high": (2, "high"),
    "hd": (2, "high"),
    "xhigh": (3, "xhigh"),
    "max": (4, "max"),
}
"""By quality: how many times the model's own steps it takes, and what the answer calls it."""

FIDELITIES = {"high": 0.5, "low": 0.75}
"""By `input_fidelity`: how much of the picture an edit gives up."""

MASKED_STRENGTH = 1.0
VARIED_STRENGTH = 0.6

OWN = frozenset(
    {
        "negative_prompt", "seed", "sampler", "schedule", "steps", "guidance", "adapters", "hires", "variation",
        "seamless", "vae_tile", "noise", "clip_skip", "priority", "tool", "sampler_options", "discard_penultimate",
        "first_noise", "noise_delta", "prompt_rules", "emphasis", "guidance_rescale", "guidance_interval", "zero_snr",
        "schedule_options",
    }
)  # fmt: skip
"""Fields of our own requests that may be sent beside those of the API."""

STRUCTURED = ("adapters", "hires", "variation", "sampler_options", "schedule_options", "guidance_interval")
"""Those of them that are not one value, and that a form carries as JSON."""

OF_EDITS = ("strength", "mask_blur", "mask_content", "mask_area", "mask_padding")
"""Such fields for edits; those of masks are those of a request's `mask`."""

WITHOUT_EFFECT = ("style", "moderation", "user", "complexity", "prompt_rewriter")
"""What no picture depends on here; the answer names those that were sent."""

SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class Said(BaseModel):
    """The body of `/v1/images/generations`, and what it has in common with the others."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    prompt: Annotated[str, Field(max_length=20_000)]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: str | None = None
    quality: Quality | None = None
    style: Literal["vivid", "natural"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_format: str | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    prompt_rewriter: Any = None

    @property
    def format(self) -> Format:
        """Of the pictures' files."""
        return "png" if self.output_format is None else self.output_format  # type: ignore[return-value]  # see `parsed`

    @property
    def ignored(self) -> list[str]:
        """Names of what was sent and has no effect."""
        return [key for key in WITHOUT_EFFECT if getattr(self, key) is not None]


class EditSaid(Said):
    """The body of `/v1/images/edits` without its pictures."""

    input_fidelity: Literal["high", "low"] | None = None


class VariationSaid(Said):
    """The body of `/v1/images/variations` without its picture: no words are asked for, but may be sent."""

    prompt: Annotated[str, Field(max_length=20_000)] = ""


SaidT = TypeVar("SaidT", bound=Said)


def parsed(kind: type[SaidT], fields: Mapping[str, Any]) -> SaidT:
    """Return `fields` of a body as a `kind`.

    Raises:
        RequestRefused: a field that the API does not have, a value that it cannot take, or something that cannot be
            done here; names the field.
    """
    try:
        said = kind.model_validate({key: value for key, value in fields.items() if not _left_out(key, value)})
    except ValidationError as problems:
        first = problems.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RequestRefused(f"{field}: {first['msg']} (given: {first['input']!r:.80}).", field) from None
    known = OWN if kind is Said else OWN | set(OF_EDITS)
    for field in said.model_extra or {}:
        if field not in known:
            raise RequestRefused(f"Unknown parameter: {field!r:.80}.", field[:80])
    _check_possible(said)
    return said


def _left_out(key: str, value: Any) -> bool:
    """Whether a field says nothing; a form cannot hold null, and Open WebUI sends a model that nobody chose as ''."""
    return value is None or (key == "model" and value == "")


def _check_possible(said: Said) -> None:
    if said.output_format not in (None, "png", "jpeg", "webp"):
        raise RequestRefused(
            f"output_format {said.output_format!r:.40} is not made here. Choose png, jpeg or webp.", "output_format"
        )
    if said.background == "transparent":
        raise RequestRefused("background 'transparent': pictures are opaque here. Use 'opaque'.", "background")
    if said.stream and (said.n or 1) > 1:
        raise RequestRefused("stream sends one picture as it comes. Ask for n=1, or without stream.", "n")
    if said.stream and said.response_format == "url":
        raise RequestRefused("stream sends pictures themselves. Leave response_format out.", "response_format")
    if said.output_compression is not None and said.format == "png":
        raise RequestRefused("output_compression is for jpeg and webp; a png loses nothing.", "output_compression")


def choices(said: Said, steps: int, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the request for a job that `said` asks for, but for its pictures; what it leaves out is left out.

    Args:
        said: by the client.
        steps: the model's own, that a quality multiplies.
        size: to take where `said` asks for none or for `auto`; None for the model's own.

    Raises:
        RequestRefused: something cannot be done here; names the field.
    """
    own = {key: value for key, value in (said.model_extra or {}).items() if key in OWN}
    factor, _ = QUALITIES[said.quality or "auto"]
    sized = _size(said.size) or size
    request = {
        "model": said.model,
        "prompt": said.prompt,
        "count": said.n or 1,
        "steps": max(1, round(steps * factor)) if factor != 1 else None,
        **(dict(zip(("width", "height"), sized, strict=True)) if sized else {}),
        **own,
    }
    return {key: value for key, value in request.items() if value is not None}


def start(said: Said, masked: bool) -> dict[str, Any]:
    """Return what a request's `start` and `mask` are for an edit or a variation, but for the pictures themselves."""
    extra = said.model_extra or {}
    fidelity = FIDELITIES[getattr(said, "input_fidelity", None) or "low"]
    usual = VARIED_STRENGTH if isinstance(said, VariationSaid) else MASKED_STRENGTH if masked else fidelity
    request: dict[str, Any] = {"start": {"strength": extra.get("strength", usual)}}
    if masked:
        names = ("blur", "content", "area", "padding")
        request["mask"] = {name: extra[f"mask_{name}"] for name in names if f"mask_{name}" in extra}
    return request


def _size(text: str | None) -> tuple[int, int] | None:
    if text in (None, "auto"):
        return None
    match = SIZE.fullmatch(str(text))
    if not match:
        raise RequestRefused(f"size {text!r:.40} is not a size. Write for example 512x512, or auto.", "size")
    return int(match[1]), int(match[2])


def edited_size(said: Said, size: tuple[int, int], resolution: int) -> tuple[int, int] | None:
    """Return the size of an edit of a picture of `size` by a model of `resolution`; None where `said` asks for one."""
    return None if _size(said.size) else fitting(size, resolution)


@dataclass(frozen=True)
class Counted:
    """What a request was made of and made: tokens of text, and positions of latents for pictures.

    Attributes:
        text: tokens of the prompts, as the model's own tokenizer counts.
        image: positions of the latents of the pictures that were sent.
        output: positions of the latents of the pictures that were made.
    """

    text: int
    image: int
    output: int

    def usage(self) -> dict[str, Any]:
        """Return the `usage` of an answer."""
        return {
            "input_tokens": self.text + self.image,
            "input_tokens_details": {"text_tokens": self.text, "image_tokens": self.image},
            "output_tokens": self.output,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": self.output},
            "total_tokens": self.text + self.image + self.output,
        }


def described(said: Said, size: tuple[int, int]) -> dict[str, Any]:
    """Return what an answer or an event says of the pictures besides themselves."""
    return {
        "background": "opaque",
        "output_format": said.format,
        "quality": QUALITIES[said.quality or "auto"][1],
        "size": f"{size[0]}x{size[1]}",
    }


def error_body(status: int, message: str, field: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return the body of an answer that says what went wrong, in OpenAI's shape."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": field, "code": code}}


def listed(name: str, made: int = 0) -> dict[str, Any]:
    """Return the row of `/v1/models` for the model `name`, `made` in seconds since 1970 where that is known."""
    return {"id": name, "object": "model", "created": made, "owned_by": "impasto"}


def unflattened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a form, `a[b]` put together again and JSON in text read: what a client sends in a body."""
    whole: dict[str, Any] = {}
    for key, value in fields.items():
        match = re.fullmatch(r"(\w+)\[(\w+)\]", key)
        if match and isinstance(whole.setdefault(match[1], {}), dict):
            whole[match[1]][match[2]] = value
        else:
            whole[key] = _read(value) if key in STRUCTURED else value
    return whole


def _read(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value  # for the request to refuse

"""The model card: what a person should know, and the metadata that the Hugging Face hub reads.

Every figure in it comes out of a benchmark's file that lies in the release. Metadata: hub-docs, `model-cards.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from impasto.release.licences import OBLIGATIONS, alternatives
from impasto.release.subject import Result, Subject, licences

HUB = {
    "CreativeML-OpenRAIL-M": "creativeml-openrail-m",
    "OpenRAIL++-M": "openrail++",
    "BigScience-OpenRAIL-M": "bigscience-openrail-m",
    **{name: name.lower() for name in ("Apache-2.0", "MIT", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")},
    **{name: name.lower() for name in ("CC-BY-NC-SA-4.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense")},
}
"""Licence -> what the hub calls it; others are `other` with a name and a link."""


def card(subject: Subject) -> str:
    """Return the text of README.md."""
    head = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata(subject).items())
    return f"---\n{head}\n---\n\n" + "\n".join(_body(subject))


def metadata(subject: Subject) -> dict[str, Any]:
    """Return what the hub reads."""
    base = {"base_model": subject.base} if subject.base else {}
    relation = {"base_model_relation": "adapter"} if subject.base and subject.kind != "model" else {}
    word = {"instance_prompt": trigger} if (trigger := called_by(subject)) else {}
    return {
        **_licence(subject.licence),
        **base,
        **relation,
        **word,
        "library_name": "impasto",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "impasto", "diffusers", "safetensors", *_tags(subject)],
    }


def _tags(subject: Subject) -> list[str]:
    if subject.finished.checkpoint:
        return [f"{subject.finished.checkpoint.spec.resolution}px"]
    return ["lora"] if subject.kind == "adapter" else ["textual_inversion"]


def called_by(subject: Subject) -> str | None:
    """Return the words by which a prompt calls what an adapter or embedding was taught."""
    made = subject.finished.made
    if made is None:
        return None
    return subject.name if subject.kind == "embedding" else made.metadata.get("modelspec.trigger_phrase")


def _licence(licence: str) -> dict[str, str]:
    choices = alternatives(licence)
    names = sorted(choices[0]) if len(choices) == 1 else []
    if len(names) == 1 and names[0] in HUB:
        return {"license": HUB[names[0]]}
    return {"license": "other", "license_name": licence, "license_link": "LICENSE"}


def _body(subject: Subject) -> Iterator[str]:
    receipt = subject.receipt
    yield f"# {one_line(subject.name)}\n"
    yield f"{WHAT[subject.kind]}, released {subject.choices.day} by {one_line(subject.choices.author)}.\n"
    yield from _use(subject)
    yield "## What it was made from\n"
    yield from (f"- {one_line(part.name)} ({part.role}): {one_line(part.licence)}" for part in subject.parts)
    if not subject.parts:
        yield "- Undeclared." if receipt is None else "- Nothing but what its maker made."
    yield "\nWhole: `receipt.json`; its corpus: `DATASHEET.md`; makers: `ATTRIBUTION`.\n"
    yield "## Terms\n"
    yield f"Licence: {subject.licence} (`LICENSE`). What it is for, and what not: `USE_POLICY.md`.\n"
    yield from (f"- {OBLIGATIONS[name]}" for name in subject.judgement.obligations)
    if subject.judgement.verdict == "ask":
        yield "\nThe licence rules ask about the following; its maker answers for it:\n"
        yield from (f"- {one_line(reason)}" for reason in subject.judgement.reasons)
        yield f"\nAnswer: {one_line(subject.choices.answer or '')}"
    yield "\n## Figures\n"
    yield from _figures(subject)
    yield "## What is not known\n"
    yield from _unknown(subject)


def _use(subject: Subject) -> Iterator[str]:
    identity, checkpoint = subject.finished.identity, subject.finished.checkpoint
    check = "    impasto release verify .            what holds, what was changed"
    if checkpoint is None:
        yield f"Its identity is `{identity}`: the digest of its tensors.\n"
        base, word = one_line(" ".join(subject.base) or "MODEL"), one_line(called_by(subject) or "...")
        yield check
        option = "adapter" if subject.kind == "adapter" else "embedding"
        yield f'    impasto generate "{word}" --model {base} --{option} {file_name(subject)}\n'
        return
    yield f"Its identity is `{identity}`: the digest of its networks, tokenizer and tensors.\n"
    yield check
    yield '    impasto generate "..." --model .    a picture\n'
    settings = checkpoint.about.settings
    yield (
        f"It makes pictures of {checkpoint.spec.resolution} pixels a side, by itself in {settings.steps} steps "
        f"of {settings.sampler} ({settings.schedule}) with guidance {settings.guidance:g}.\n"
    )


def file_name(subject: Subject) -> str:
    """Return the name of the file that an adapter or embedding is released in."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in subject.name).strip(".")
    return f"{plain or subject.kind}.safetensors"


WHAT = {
    "model": "A text-to-image model",
    "adapter": "An adapter (LoRA) for a text-to-image model",
    "embedding": "An embedding (textual inversion) for a text-to-image model",
}


def one_line(text: str) -> str:
    """Return `text`, which somebody else wrote, so that it stays one line and opens no markup of its own."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")


def _figures(subject: Subject) -> Iterator[str]:
    if not subject.results:
        yield "None were measured.\n"
    for result in subject.results:
        yield f"From `benchmarks/{result.name}`, written by the benchmark:\n"
        yield "| what | value | 95 % interval | n |\n|---|---|---|---|"
        yield from map(_row, result.figures)
        yield ""
        yield from (f"- {one_line(str(note))}" for note in result.content.get("notes", []))
        yield ""


def _row(figure: dict[str, Any]) -> str:
    ends = [figure.get("low"), figure.get("high")]
    interval = f"{ends[0]:.3f} to {ends[1]:.3f}" if all(isinstance(end, int | float) for end in ends) else ""
    value = figure.get("value")
    shown = f"{value:.3f}" if isinstance(value, float) else str(value)
    unit = " dB" if figure.get("unit") == "dB" else ""
    return f"| {one_line(str(figure.get('what')))} | {shown}{unit} | {interval} | {figure.get('n', '')} |"


def figures(result: Result) -> Iterator[str]:
    """Yield the rows that a card has of a result."""
    return map(_row, result.figures)


def _unknown(subject: Subject) -> Iterator[str]:
    if subject.receipt is None:
        yield "- What it was made from: it has no receipt."
    if not subject.rows:
        yield "- The rows that it learned from are not in this release."
    if not subject.results:
        yield "- How good it is: no benchmark's file was given."
    yield "- Pictures may show biases of what it learned from, and be alike to works (`impasto trace`)."
    yield "- Who signed this: see `model.sig`; a name in a certificate is a pseudonym until you have it from elsewhere."


def shares(subject: Subject) -> list[tuple[str, int]]:
    """Return (licence, works) of what it learned from."""
    return licences(subject.rows)

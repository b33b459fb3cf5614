"""From a picture's caption to the words it is taught with."""

from __future__ import annotations

import torch

from impasto.training.teaching import Wording


def said(wording: Wording, caption: str) -> str:
    """Return `caption` with the subject before it and the style behind it, where it does not say them itself."""
    text = caption.strip()
    if wording.subject and wording.subject not in text:
        text = f"{wording.subject}, {text}" if text else wording.subject
    if wording.style and (style := styled(wording.style)) not in text:
        text = f"{text}, {style}" if text else style
    return text


def styled(style: str) -> str:
    """Return `style` as prompts name it: `openmoji` is `openmoji style`."""
    return style if style.endswith("style") else f"{style} style"


def drawn(wording: Wording, caption: str, draw: torch.Generator) -> str:
    """Draw the words for a picture with `caption`; sometimes none. Takes as many draws whatever comes out."""
    chances = torch.rand(2, generator=draw).tolist()
    order = torch.randperm(64, generator=draw).tolist()
    if chances[0] < wording.dropout:
        return ""
    text = said(wording, caption)
    if wording.shuffle:
        text = _shuffled(text, wording.keep, order)
    return wording.templates[int(chances[1] * len(wording.templates))].format(words=text)


def everything(wording: Wording, captions: list[str]) -> list[str] | None:
    """Return every text that `drawn` can give for `captions`; None when they are too many to list."""
    if wording.shuffle:
        return None
    texts = [template.format(words=said(wording, caption)) for caption in captions for template in wording.templates]
    return list(dict.fromkeys([*texts, *([""] if wording.dropout else [])]))


def _shuffled(text: str, keep: int, order: list[int]) -> str:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    rest = parts[keep:]
    places = [place for place in order if place < len(rest)] + list(range(len(order), len(rest)))
    return ", ".join([*parts[:keep], *(rest[place] for place in places)])

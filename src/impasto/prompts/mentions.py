r"""What a prompt names besides words: adapters, as `<lora:name:te:unet:dyn>`.

A mention is taken out of the text and is an error when it cannot be honoured; nothing that a prompt asks for is passed
over in silence. `<\lora:name>` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from impasto.errors import InvalidRecipe, NotFound

_MENTION = re.compile(r"<(\w+):([^<>]+)>")
_ARGUMENTS = ("name", "te", "unet", "dyn")
KINDS = ("lora", "lyco")
"""What can be mentioned; `lyco` is an older word for a LoRA of another make."""


@dataclass(frozen=True)
class Mention:
    """`<kind:arguments>`, as written."""

    kind: str
    arguments: str

    def __str__(self) -> str:
        return f"<{self.kind}:{self.arguments}>"


@dataclass(frozen=True)
class AdapterCall:
    """An adapter that a prompt calls.

    Attributes:
        name: what people call it.
        te: weight of its changes to the text encoder.
        unet: weight of its changes to the UNet.
        dyn: how many of its ranks to use; None for all.
    """

    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None


def take_out(text: str) -> tuple[str, tuple[Mention, ...]]:
    """Return `text` without its mentions, and them."""
    return _MENTION.sub("", text), tuple(Mention(*match.groups()) for match in _MENTION.finditer(text))


def adapter_calls(mentions: Sequence[Mention], known: Collection[str]) -> tuple[AdapterCall, ...]:
    """Return the adapters that `mentions` call, in order.

    Args:
        mentions: of a prompt.
        known: names of the adapters that there are.

    Raises:
        InvalidRecipe: a mention of another kind, or with arguments that say nothing; lists every one.
        NotFound: an adapter that is not among the `known`; lists those there are.
    """
    calls, problems = [], []
    for mention in mentions:
        try:
            calls.append(_call(mention))
        except InvalidRecipe as problem:
            problems.append(str(problem))
    if problems:
        raise InvalidRecipe("\n".join(problems))
    require_known("adapter", [call.name for call in calls], known)
    return tuple(calls)


def refuse_in_negative(mentions: Sequence[Mention]) -> None:
    """Refuse `mentions` of a negative prompt: an adapter changes the model, for both prompts.

    Raises:
        InvalidRecipe: there is one.
    """
    if mentions:
        raise InvalidRecipe(
            f"The negative prompt calls {', '.join(map(str, mentions))}. Adapters belong in the prompt itself."
        )


def require_known(what: str, names: Sequence[str], known: Collection[str]) -> None:
    """Check that all `names`, of things of the kind `what`, are `known`.

    Raises:
        NotFound: some are not; lists them and those there are.
    """
    if missing := [name for name in names if name not in known]:
        raise unknown(what, missing, known)


def unknown(what: str, names: Sequence[str], known: Collection[str]) -> NotFound:
    """Build the error for `names`, of things of the kind `what`, that are not among the `known`."""
    names = list(dict.fromkeys(names))
    listed = f"{what}{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
    there = f"Choose among: {', '.join(sorted(known))}." if known else "There is none here."
    return NotFound(f"The prompt names the unknown {listed}. {there}")


def _call(mention: Mention) -> AdapterCall:
    if mention.kind not in KINDS:
        kinds = ", ".join(KINDS)
        text = rf"If it is meant as text, write <\{mention.kind}:{mention.arguments}>."
        raise InvalidRecipe(f"{mention} in the prompt is of an unknown kind. Choose one of: {kinds}. {text}")
    given = _given(mention)
    te = _number(mention, "te", given.get("te", "1"))
    unet = _number(mention, "unet", given["unet"]) if "unet" in given else te
    return AdapterCall(given["name"], te, unet, _whole(mention, given["dyn"]) if "dyn" in given else None)


def _given(mention: Mention) -> dict[str, str]:
    """Return the arguments by name; those without one are in order, and a name counts more."""
    values = mention.arguments.split(":")
    plain = [value.strip() for value in values if "=" not in value]
    split = (value.partition("=") for value in values if "=" in value)
    named = {name.strip(): value.strip() for name, _, value in split}
    if named.keys() - set(_ARGUMENTS[1:]) or len(plain) > len(_ARGUMENTS) or not plain or not plain[0]:
        form = "<lora:name>, <lora:name:weight>, <lora:name:te:unet:dyn>, or te=, unet= and dyn= by name"
        raise InvalidRecipe(f"{mention} in the prompt does not say which adapter and how strongly. Write {form}.")
    return {**dict(zip(_ARGUMENTS, plain, strict=False)), **named}


def _number(mention: Mention, argument: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRecipe(f"{mention} in the prompt: {argument} is not a number: {text!r:.40}.")
    return number


def _whole(mention: Mention, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise InvalidRecipe(f"{mention} in the prompt: dyn is not a rank, which is 1 or more: {text!r:.40}.")
    return int(text)

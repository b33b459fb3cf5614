"""The examples of docs/prompts.md say what happens."""

from __future__ import annotations

import doctest
import re
from itertools import groupby
from pathlib import Path

import pytest

from impasto.prompts import emphasis
from impasto.prompts.grammar import Clause, Prompt, Run, parse
from impasto.prompts.mentions import AdapterCall, adapter_calls

PAGE = Path(__file__).parents[2] / "docs" / "prompts.md"
STEPS = 10


def examples() -> list[tuple[str, str]]:
    blocks = re.findall(r"^```prompt\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [(said.strip(), read) for said, read in (line.split("  ->  ") for line in lines)]


def spaced(text: str) -> str:
    return " ".join(text.split())


def words(text: str) -> str:
    """What the text of a step says: `{weighed x1.1}`, and chunks between slashes."""
    segments = (
        " ".join(part.text if part.weight == 1 else f"{{{part.text} x{part.weight:.3g}}}" for part in segment)
        for segment in emphasis.parse(text)
    )
    return spaced(" / ".join(segments)).replace(" }", "}").replace("{ ", "{")


def steps(clause: Clause) -> str:
    texts = [words(clause.at(step, Run(STEPS))) for step in range(STEPS)]
    runs = [(text, len(list(same))) for text, same in groupby(texts)]
    if len(runs) == 1:
        return texts[0]
    said, first = [], 1
    for text, count in runs:
        said.append(f"{first}{f'-{first + count - 1}' if count > 1 else ''}: {text}")
        first += count
    return "; ".join([*said[:4], "..."] if len(said) > 5 else said)


def adapter(call: AdapterCall) -> str:
    weights = f"{call.te:g}" if call.te == call.unet else f"te {call.te:g} unet {call.unet:g}"
    return f" + {call.name} {weights}{f' dyn {call.dyn}' if call.dyn else ''}"


def reading(prompt: Prompt) -> str:
    clauses = (f"{steps(c)} ({c.weight:g})" if c.weight != 1 else steps(c) for c in prompt.clauses)
    return " & ".join(clauses) + "".join(map(adapter, adapter_calls(prompt.mentions, {"ink"})))


@pytest.mark.parametrize(("said", "read"), examples())
def test_example(said: str, read: str) -> None:
    assert reading(parse(said)) == read


def test_python_on_the_page() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert (failed, tried > 5) == (0, True)

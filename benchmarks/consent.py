"""What two peers make of the header vectors of tests/corpus/test_signals.py; needs neither Impasto nor a network.

In an environment of its own, since img2dataset and datadiligence pin what they need:

    pip install --no-deps img2dataset==1.47.0 datadiligence==0.1.7
    pip install requests aiohttp validators pillow c2pa-python==0.6.1 cryptography
    python benchmarks/consent.py
"""

from __future__ import annotations

import ast
import traceback
from collections import Counter
from email.message import Message
from http.client import HTTPMessage
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "tests" / "corpus" / "test_signals.py"
REFUSED = ["noai", "noimageai", "noindex", "noimageindex"]  # img2dataset's default


def tables() -> dict[str, Any]:
    """Return the tables of vectors by name, read from the file of the tests."""
    found: dict[str, Any] = {}
    for node in ast.parse(VECTORS.read_text("utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if getattr(target, "id", "") in ("ROBOTS_TAG", "CONTENT_USAGE", "TDMREP", "RESERVED"):
            exec(compile(ast.Module([node], []), str(VECTORS), "exec"), found)
    return found


def vectors() -> list[tuple[str, list[tuple[str, str]], str]]:
    """Return (signal, headers, verdict) of every vector that is headers alone."""
    found = tables()
    plain = [("X-Robots-Tag", v, w) for v, w in found["ROBOTS_TAG"]]
    plain += [("Content-Usage", v, w) for v, w in found["CONTENT_USAGE"]]
    listed = [(kind, [(kind, line) for line in lines], verdict) for kind, lines, verdict in plain]
    for reservation, policy, file, verdict in found["TDMREP"]:
        if file is None:
            headers = [("tdm-reservation", line) for line in reservation] + [("tdm-policy", line) for line in policy]
            listed.append(("TDMRep", headers, verdict))
    return [vector for vector in listed if vector[1]]


def img2dataset_allows(headers: list[tuple[str, str]]) -> bool:
    """Ask img2dataset's own function, taken from its file: importing that needs OpenCV and more."""
    spec = find_spec("img2dataset")
    assert spec
    assert spec.submodule_search_locations
    source = (Path(spec.submodule_search_locations[0]) / "downloader.py").read_text("utf-8")
    function = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "is_disallowed"]
    names: dict[str, Any] = {"traceback": traceback}
    exec(compile(ast.Module(list(function), []), "img2dataset", "exec"), names)
    return not names["is_disallowed"](_message(Message(), headers), "impasto", REFUSED)


def datadiligence_allows(headers: list[tuple[str, str]]) -> bool:
    """Ask datadiligence."""
    import datadiligence

    return bool(datadiligence.is_allowed(headers=_message(HTTPMessage(), headers), user_agent="impasto"))


def _message(message: Any, headers: list[tuple[str, str]]) -> Any:
    for name, value in headers:
        message[name] = value
    return message


def main() -> None:
    """Print for each signal how many refusals there are, and how many each peer takes for leave."""
    counts: Counter[tuple[str, str]] = Counter()
    for kind, headers, verdict in vectors():
        if verdict in ("deny", "unknown"):
            counts[kind, verdict] += 1
            counts[kind, f"{verdict}: img2dataset allows"] += img2dataset_allows(headers)
            counts[kind, f"{verdict}: datadiligence allows"] += datadiligence_allows(headers)
    for (kind, what), count in counts.items():
        print(f"{kind:14} {what:32} {count}")


if __name__ == "__main__":
    main()

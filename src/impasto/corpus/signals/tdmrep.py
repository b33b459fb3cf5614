"""TDMRep: the W3C community group's TDM Reservation Protocol (final report of 10 May 2024).

`tdm-reservation` is 1 where rights of text and data mining are reserved, 0 where they are not, in a header, in
`/.well-known/tdmrep.json`, or in the `meta` elements of a page. The header overrides the file. A `tdm-policy` says whom
to ask, which we have not done, so the reservation stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from impasto.corpus.signals.paths import matches, target
from impasto.corpus.signals.reading import ABSENT, Reading, strictest

HEADER, POLICY = "tdm-reservation", "tdm-policy"
PATH = "/.well-known/tdmrep.json"


def read(reservation: Sequence[str], policy: Sequence[str], file: str | None, url: str) -> Reading:
    """Read headers and file together.

    Args:
        reservation: lines of the header `tdm-reservation`.
        policy: lines of the header `tdm-policy`.
        file: `/.well-known/tdmrep.json`, None when there is none.
        url: of the work.
    """
    header = read_header(reservation, policy)
    return header if header.verdict != "absent" else read_file(file, url)


def read_header(reservation: Sequence[str], policy: Sequence[str] = ()) -> Reading:
    """Read the headers; a policy without a reservation is not readable."""
    values = [value for line in reservation for value in line.split(",")]
    if not values and policy:
        return Reading("unknown", f"{POLICY}: {policy[0]}")
    return strictest(_value(value.strip(), f"{HEADER}: {value.strip()}") for value in values)


def read_file(text: str | None, url: str) -> Reading:
    """Read the file for the work at `url`; of several locations that fit, the strictest. A web page is no such file."""
    if text is None or text.lstrip("\ufeff \r\n\t").startswith("<"):
        return ABSENT
    try:
        rules = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return Reading("unknown", text)
    if not isinstance(rules, list):
        return Reading("unknown", text)
    path = target(url)
    return strictest(_rule(rule, path) for rule in rules)


def _rule(rule: Any, path: str) -> Reading:
    raw = json.dumps(rule)
    if not isinstance(rule, dict) or not isinstance(rule.get("location"), str):
        return Reading("unknown", raw)
    if not matches(rule["location"], path):
        return ABSENT
    return _value(rule.get(HEADER, 0 if POLICY not in rule else None), raw)


def read_meta(metas: Iterable[tuple[str, str]]) -> Reading:
    """Read the (name, content) of a page's `meta` elements."""
    metas = [(name.strip().lower(), content.strip()) for name, content in metas]
    return read_header(
        [content for name, content in metas if name == HEADER], [content for name, content in metas if name == POLICY]
    )


def _value(value: Any, raw: str) -> Reading:
    """Judge 0 or 1, as a number or as text; `true` is neither."""
    if isinstance(value, bool) or str(value) not in ("0", "1"):
        return Reading("unknown", raw)
    return Reading("deny" if str(value) == "1" else "allow", raw)

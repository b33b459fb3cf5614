from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from impasto.errors import InvalidInput, InvalidPlan, NotFound
from impasto.schema import Frozen, bytes_digest, canonical_json, digest, file_digest, read_json


class Inner(Frozen):
    """A nested part."""

    size: int = Field(gt=0)


class Example(Frozen):
    """Something to parse."""

    name: str
    rate: float = 0.5
    parts: tuple[Inner, ...] = ()


# RFC 8785, appendix B: the bits of a double, and how it is written.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "written"), NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits: str, written: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))

    assert canonical_json(number) == written.encode()


def test_keys_are_sorted_by_utf16_units_as_the_rfc_says() -> None:  # RFC 8785, section 3.2.3
    data = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    order = ["Carriage Return", "One", "Control", "Latin Small Letter O With Diaeresis", "Euro Sign"]
    order += ["Emoji: Grinning Face", "Hebrew Letter Dalet With Dagesh"]

    assert list(json.loads(canonical_json(data)).values()) == order


def test_strings_and_literals_are_written_as_the_rfc_says() -> None:  # RFC 8785, section 3.2.2
    data = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    written = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )

    assert canonical_json(data) == written.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, {"a": object()}, {1: "a"}, "\ud800"])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="canonical JSON"):
        canonical_json(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_canonical_json_is_json_of_the_same_data(data: Any) -> None:
    # To the RFC every number is a double; Python would read a large one without a point as a longer integer.
    assert json.loads(canonical_json(data), parse_int=float) == data


@given(st.dictionaries(st.text(), st.integers(0, 9), min_size=2))
def test_order_of_keys_does_not_matter(data: dict[str, int]) -> None:
    assert digest(data) == digest(dict(reversed(data.items())))


def test_digests_name_their_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"ab" * (1 << 20))
    expected = f"sha256:{hashlib.sha256(b'ab' * (1 << 20)).hexdigest()}"

    assert file_digest(path) == bytes_digest(path.read_bytes()) == expected
    assert digest({}) == bytes_digest(b"{}")


def test_frozen_is_frozen() -> None:
    example = Example(name="a")

    with pytest.raises(ValidationError, match="frozen"):
        example.name = "b"  # type: ignore[misc]  # the point of the test


def test_equal_data_has_an_equal_digest_and_other_data_another() -> None:
    example = Example(name="a", parts=(Inner(size=1),))

    assert example.digest == Example.parse({"parts": [{"size": 1}], "name": "a"}, "x").digest
    assert example.digest != Example(name="b", parts=(Inner(size=1),)).digest


def test_canonical_form_reads_back() -> None:
    example = Example(name="a", rate=1 / 3, parts=(Inner(size=2),))

    assert Example.parse(json.loads(example.canonical()), "itself") == example
    assert example.canonical() == b'{"name":"a","parts":[{"size":2}],"rate":0.3333333333333333}'


def test_every_problem_is_in_one_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        Example.parse({"nam": "a", "rate": "fast", "parts": [{"size": 0}]}, "plan.toml")

    message = str(caught.value)
    assert message.startswith("plan.toml is not valid:\n")
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == ["  name", "  rate", "  parts.0.size", "  nam"]
    assert "given: 'fast'" in message


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        Example.parse({"name": ["x" * 10_000]}, "plan.toml")

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_numbers_are_finite(rate: float) -> None:
    with pytest.raises(InvalidInput, match="rate"):
        Example.parse({"name": "a", "rate": rate}, "plan.toml")


def test_toml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('name = "ä"\nparts = [{ size = 3 }]\n', encoding="utf-8")

    assert Example.read_toml(path) == Example(name="ä", parts=(Inner(size=3),))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"nam = 'a'", None])
def test_unusable_toml_names_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "plan.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidPlan, match=r"plan\.toml"):
        Example.read_toml(path, InvalidPlan)


@pytest.mark.parametrize("content", ["", "[1]", "{", '"x"', "[" * 100_000])
def test_a_file_that_holds_no_json_object_is_one_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"data\.json"):
        read_json(file)


def test_a_json_object_is_read_and_a_missing_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": [1, null]}')
    assert read_json(tmp_path / "data.json") == {"a": [1, None]}
    with pytest.raises(NotFound, match=r"other\.json"):
        read_json(tmp_path / "other.json")

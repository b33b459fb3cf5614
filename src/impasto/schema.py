"""Plain frozen data with canonical JSON and a digest: the base of recipes, receipts, plans, rows and configs.

Canonical JSON is RFC 8785 (JSON Canonicalization Scheme); digests are SHA-256, written `sha256:<64 hex>`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from typing_extensions import Self

from impasto.errors import InvalidInput, NotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A digest as the functions below write it."""


def canonical_json(data: Any) -> bytes:
    """Return `data` (JSON types only) as RFC 8785 canonical JSON.

    Raises:
        InvalidInput: a value that JSON cannot carry (NaN, infinity, an integer beyond 2**53, a foreign type).
    """
    try:
        return rfc8785.dumps(data)
    except rfc8785.CanonicalizationError as error:
        raise InvalidInput(f"Not representable as canonical JSON: {error}") from error


def digest(data: Any) -> str:
    """Return `sha256:<hex>` of the canonical JSON of `data`."""
    return bytes_digest(canonical_json(data))


def bytes_digest(data: bytes | memoryview) -> str:
    """Return `sha256:<hex>` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_digest(path: Path) -> str:
    """Return `sha256:<hex>` of the file at `path`, read in pieces."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return f"sha256:{state.hexdigest()}"


def read_toml(path: Path, error: type[InvalidInput] = InvalidInput) -> dict[str, Any]:
    """Return the content of the TOML file at `path`.

    Raises:
        error: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise error(f"Cannot read {path}: {problem}") from problem


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file at `path`.

    Raises:
        NotFound: the file cannot be read.
        InvalidInput: it is not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} should hold a JSON object, not {content!r:.80}.")
    return content


class Frozen(BaseModel):
    """Frozen data, closed to unknown keys, with a canonical form and a digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str, error: type[InvalidInput] = InvalidInput) -> Self:
        """Build from untrusted `data`; `where` names its origin in messages.

        Raises:
            error: with every problem in `data`, one a line: the key, what is wrong, the value given.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as problems:
            lines = [f"  {_place(p['loc'])}: {p['msg']} (given: {p['input']!r:.80})" for p in problems.errors()]
            raise error(f"{where} is not valid:\n" + "\n".join(lines)) from None

    @classmethod
    def read_toml(cls, path: Path, error: type[InvalidInput] = InvalidInput) -> Self:
        """Build from the TOML file at `path`.

        Raises:
            error: the file is missing, is not TOML, or its content is not valid.
        """
        return cls.parse(read_toml(path, error), str(path), error)

    def plain(self) -> dict[str, Any]:
        """Return the data as JSON types."""
        return self.model_dump(mode="json")

    def canonical(self) -> bytes:
        """Return the canonical JSON (RFC 8785)."""
        return canonical_json(self.plain())

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON."""
        return bytes_digest(self.canonical())


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "(whole)"

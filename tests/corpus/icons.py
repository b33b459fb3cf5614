"""A tiny package of Iconify JSON, and plans and policies for it: what the corpus tests share."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from impasto.corpus.record import Caption, Consent, Image, Licence, Maker, Row, Source

VERSION = "1.2.3"
POLICY = """
name = "test"
licences = ["MIT", "CC-BY-4.0"]
bases = ["owner", "licence"]
min_ink = 0.01

[refused_licences]
"CC-BY-SA-4.0" = "share-alike."

[near_duplicates]
bits = 16
difference = 8.0

[[patterns]]
rule = "flag"
reason = "A flag."
name = "(^|-)flag(-|$)"
"""


def shape(seed: int, colour: str) -> str:
    """Return an icon body unlike that of other seeds."""
    digest = hashlib.sha256(bytes([seed])).digest()
    boxes = (
        f'<rect x="{x % 12}" y="{y % 12}" width="{2 + w % 8}" height="{2 + w % 5}"/>'
        for x, y, w in zip(*[iter(digest[:15])] * 3, strict=True)
    )
    return f'<g fill="{colour}">{"".join(boxes)}</g>'


def collection(prefix: str, icons: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Return a collection in Iconify JSON; `more` overrides its parts."""
    info = {
        "name": prefix.title(),
        "author": {"name": f"Maker of {prefix}", "url": f"https://{prefix}.example"},
        "license": {"title": "MIT", "spdx": "MIT", "url": "https://mit.example"},
    }
    icons_json = {name: {"body": body} for name, body in icons.items()}
    return {"prefix": prefix, "info": info, "icons": icons_json, "width": 16, "height": 16, **more}


def package(path: Path, *collections: Mapping[str, Any]) -> str:
    """Write a tarball as npm packs it and return its integrity."""
    with tarfile.open(path, "w:gz") as archive:
        for data in collections:
            content = json.dumps(data).encode()
            member = tarfile.TarInfo(f"package/json/{data['prefix']}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def plan(folder: Path, integrity: str, sections: str, head: str = "") -> Path:
    """Write a plan with one iconify source, and the policy, into `folder`; return the plan."""
    (folder / "policy.toml").write_text(POLICY)
    file = folder / "corpus.toml"
    file.write_text(
        f"""name = "tiny"\npolicy = "policy.toml"\nsize = 32\n{head}\n[[sources]]\nkind = "iconify"\n"""
        f"""package = "@iconify/json"\nversion = "{VERSION}"\nintegrity = "{integrity}"\n{sections}"""
    )
    return file


def sections(*prefixes: str, more: str = "emoji = true") -> str:
    """Return the collections of a plan."""
    return "".join(f'\n[[sources.collections]]\nprefix = "{prefix}"\n{more}\n' for prefix in prefixes)


def row(**changes: Any) -> Row:
    """Return a row that `POLICY` admits, with some fields changed."""
    fields: dict[str, Any] = {
        "source": Source(collection="noto", version="p@1", key="fox", file="json/noto.json"),
        "maker": Maker(name="Ada"),
        "licence": Licence(spdx="MIT", evidence="p@1"),
        "consent": Consent(basis="licence"),
        "caption": Caption(text="fox", source="icon name"),
        "concept": "fox",
        "image": Image(
            id="sha256:" + "0" * 64, phash="0" * 16, width=8, height=8, bytes=9, media_type="image/png", ink=0.5
        ),
    }
    return Row(**(fields | changes))

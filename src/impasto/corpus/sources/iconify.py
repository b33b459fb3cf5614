"""Icon collections in Iconify JSON (https://iconify.design/docs/types/iconify-json.html), from an npm package.

The package holds a file a collection, `json/<prefix>.json`, with its author, SPDX licence and licence url. The tarball
is read in place. Every icon of the chosen collections becomes a candidate, or is left out with a reason: a hidden icon,
another name of an icon (an alias), the same icon drawn for a smaller size.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from impasto.corpus.candidates import Candidate, Svg
from impasto.corpus.concepts import Names, join
from impasto.corpus.policy import Refusal
from impasto.corpus.record import Caption, Consent, Licence, Maker, Work
from impasto.corpus.record import Source as Origin
from impasto.corpus.sources.base import Place, Source
from impasto.corpus.sources.npm import packed
from impasto.errors import SourceUnavailable
from impasto.schema import Frozen

# the root is square: the view box is centred in it with its aspect ratio kept
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="1" height="1" '
    'viewBox="{box}">{body}</svg>'
)


class Collection(Frozen):
    """An icon collection to take up, `[[sources.collections]]`.

    Attributes:
        prefix: its name in the package.
        emoji: an emoji set: shares concepts with the others, and pairs are held out of it.
        trim: regular expressions cut from a name before it becomes a caption, such as `-[0-9]+$`.
        sizes: regular expression whose group 1 is the size an icon is drawn for; only the largest is taken.
        rename: name in the collection, whole or trimmed -> concept, where the rules do not find it.
    """

    prefix: str
    emoji: bool = False
    trim: tuple[str, ...] = ()
    sizes: str | None = None
    rename: dict[str, str] = Field(default_factory=dict)

    def thing(self, name: str) -> str:
        """Return `name` without what says nothing of the thing drawn."""
        trimmed = name
        for pattern in (*((self.sizes,) if self.sizes else ()), *self.trim):
            trimmed = re.sub(pattern, "", trimmed) or trimmed
        return self.rename.get(name) or self.rename.get(trimmed, trimmed)


class IconifySource(Source):
    """Collections of an Iconify JSON package.

    Attributes:
        package: name on the npm registry.
        version: exact version.
        integrity: `sha512-<base64>` of its tarball.
        collections: those taken up, in order of priority (of two alike drawings the first is kept).
    """

    kind: Literal["iconify"]
    package: str
    version: str
    integrity: str
    collections: tuple[Collection, ...]

    @property
    def held_out_from(self) -> frozenset[str]:
        """The emoji sets."""
        return frozenset(c.prefix for c in self.collections if c.emoji)

    def candidates(self, place: Place) -> Iterator[Candidate]:
        """Yield every icon of the collections."""
        with packed(self.package, self.version, self.integrity, place.archive) as tarball:
            files = read_collections(tarball, [c.prefix for c in self.collections])
        concepts = join(names(files[c.prefix], c) for c in self.collections if c.emoji)
        for collection in self.collections:
            yield from Reader(collection, files[collection.prefix], f"{self.package}@{self.version}", concepts).read()


def read_collections(tarball: Path, prefixes: list[str]) -> dict[str, dict[str, Any]]:
    """Return prefix -> parsed `json/<prefix>.json` of the package at `tarball`.

    Raises:
        SourceUnavailable: not a package of Iconify JSON, or a collection is missing.
    """
    wanted = {f"package/json/{prefix}.json": prefix for prefix in prefixes}
    found: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(tarball, "r|gz") as archive:
            for member in archive:
                if member.name in wanted and (file := archive.extractfile(member)):
                    found[wanted[member.name]] = json.load(file)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise SourceUnavailable(f"Cannot read {tarball}: {error}") from error
    if missing := sorted(set(prefixes) - set(found)):
        raise SourceUnavailable(f"{tarball} has no collections {', '.join(missing)}.")
    return found


def names(data: Mapping[str, Any], collection: Collection) -> Names:
    """Return the plain names in a collection."""
    icons = {name: collection.thing(name) for name, icon in data["icons"].items() if not icon.get("hidden")}
    also = aliases(data)
    unicode = {sequence: also.get(name, name) for sequence, name in data.get("chars", {}).items()}
    return Names(
        own=tuple(dict.fromkeys(icons.values())),
        also={alias: icons[parent] for alias, parent in also.items() if parent in icons},
        unicode={sequence: icons[name] for sequence, name in unicode.items() if name in icons},
    )


def aliases(data: Mapping[str, Any]) -> dict[str, str]:
    """Return other name -> name of the drawing; an alias that turns or flips a drawing is another drawing."""
    return {alias: place["parent"] for alias, place in data.get("aliases", {}).items() if set(place) == {"parent"}}


class Reader:
    """Reads one collection."""

    def __init__(
        self, collection: Collection, data: Mapping[str, Any], version: str, concepts: Mapping[str, str]
    ) -> None:
        self.collection, self.data, self.version, self.concepts = collection, data, version, concepts

    def read(self) -> Iterator[Candidate]:
        """Yield the icons, then the aliases."""
        for name, icon in self.data["icons"].items():
            refusal = self._left_out(name, icon)
            yield Candidate(self._work(name), None if refusal else Svg(self._svg(icon)), refusal)
        for name, place in self.data.get("aliases", {}).items():
            reason = f"Another name, or a turned copy, of {self.collection.prefix}:{place['parent']}."
            yield Candidate(self._work(name), None, Refusal(rule="alias", reason=reason))

    def _left_out(self, name: str, icon: Mapping[str, Any]) -> Refusal | None:
        if icon.get("hidden"):
            return Refusal(rule="hidden", reason="The collection has withdrawn it.")
        if self.collection.sizes and (found := re.search(self.collection.sizes, name)):
            largest = self._largest[re.sub(self.collection.sizes, "", name)]
            if int(found.group(1)) < largest:
                return Refusal(rule="smaller", reason=f"The same icon is there for size {largest}.")
        return None

    def _work(self, name: str) -> Work:
        info = self.data["info"]
        where = f"{self.version}:json/{self.collection.prefix}.json"
        spdx = info["license"].get("spdx") or "unknown"
        evidence = f"{where}#info.license"
        concept = self._concept(name)
        return Work(
            source=Origin(
                collection=self.collection.prefix,
                version=self.version,
                key=name,
                file=f"json/{self.collection.prefix}.json",
                page=info["author"].get("url"),
            ),
            maker=Maker(name=info["author"]["name"], uri=info["author"].get("url")),
            licence=Licence(spdx=spdx, url=info["license"].get("url"), evidence=evidence),
            consent=Consent(basis="unknown" if spdx == "unknown" else "licence", evidence=evidence),
            caption=Caption(text=words(concept), source="icon name", also=self._also(name, concept)),
            concept=concept,
            category=self._categories.get(name),
        )

    def _concept(self, name: str) -> str:
        thing = self.collection.thing(name)
        return self.concepts.get(thing, thing)

    def _also(self, name: str, concept: str) -> tuple[str, ...]:
        """Return the other names as words; one that only lacks the hyphens is not words."""
        own = [] if name in self.collection.rename else [self.collection.thing(name)]
        others = {*own, *self._aliases.get(name, ())}
        return tuple(sorted(words(other) for other in others if other.replace("-", "") != concept.replace("-", "")))

    def _svg(self, icon: Mapping[str, Any]) -> str:
        size = {key: icon.get(key, self.data.get(key, standard)) for key, standard in _BOX.items()}
        return _SVG.format(box="{left} {top} {width} {height}".format(**size), body=icon["body"])

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        others: dict[str, list[str]] = {}
        for alias, parent in aliases(self.data).items():
            others.setdefault(parent, []).append(alias)
        return others

    @cached_property
    def _categories(self) -> dict[str, str]:
        return {name: category for category, members in self.data.get("categories", {}).items() for name in members}

    @cached_property
    def _largest(self) -> dict[str, int]:
        largest: dict[str, int] = {}
        pattern = self.collection.sizes or "$^"
        for name in self.data["icons"]:
            if found := re.search(pattern, name):
                base = re.sub(pattern, "", name)
                largest[base] = max(largest.get(base, 0), int(found.group(1)))
        return largest


_BOX = {"left": 0, "top": 0, "width": 16, "height": 16}


def words(name: str) -> str:
    """Return a hyphenated name as words: `red-apple` -> `red apple`."""
    return name.replace("-", " ").replace("_", " ").strip()

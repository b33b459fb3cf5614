"""What pulling a repository would bring: which of its files, under which licence, under which name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from impasto.errors import InvalidInput, NotFound, PullFailed
from impasto.weights.layouts import diffusers
from impasto.weights.store import Licence, Origin

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

TEXTS = r"(?i)(licen[cs]e|notice|attribution|readme)(\.(md|txt))?"
"""Names of files that say what may be done with the others."""

LICENCE = r"(?i)licen[cs]e(\.(md|txt))?"

SETTINGS = (
    rf"({diffusers.INDEX}|{diffusers.ABOUT}|{diffusers.RECEIPT}|scheduler/[\w.-]+json|tokenizer/[\w.-]+(json|txt))"
)
"""Names of files in a diffusers folder that say how its weights are used."""

GENERIC = {"pytorch_lora_weights", "learned_embeds", "model", "diffusion_pytorch_model", "adapter_model"}
"""Names of files that say nothing; the repository's is taken instead."""


@dataclass(frozen=True)
class Promised:
    """A file of a repository, as the hub says it is.

    Attributes:
        path: within the repository.
        bytes: its size.
        sha256: of it, for large files.
        blob: git's hash of it, for the others.
    """

    path: str
    bytes: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True)
class Offer:
    """What pulling would bring.

    Attributes:
        origin: repository and pinned revision.
        main: path of what is loaded; `.` is the whole folder.
        files: to fetch, weights last.
        licence: under which they are used.
        name: for the store, unless a person says otherwise.
        base: the model that this was made for, where the repository says it.
        left_out: files of weights in the repository that are not fetched.
    """

    origin: Origin
    main: str
    files: tuple[Promised, ...]
    licence: Licence
    name: str
    base: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Wish:
    """What a person asks for.

    Attributes:
        repo: `owner/name`.
        file: the one file of weights to take; by itself the whole folder, or the only file there is.
        variant: of a folder's weights, such as fp16; by itself the plain ones, or what there is.
        revision: a commit, tag or branch; by itself the newest.
        name: for the store; by itself the repository's or the file's.
    """

    repo: str
    file: str | None = None
    variant: str | None = None
    revision: str | None = None
    name: str | None = None


def offered(info: ModelInfo, wish: Wish, hub: str | None = None) -> Offer:
    """Return what a hub that says `info` of a repository offers for a `wish`; `hub` is its address, if not the usual.

    Raises:
        NotFound: no such file or variant.
        InvalidInput: there are several to choose from, or a file that is not pulled.
        PullFailed: there is nothing that is pulled, or something is wrong with the repository.
    """
    promised = {sibling.rfilename: _promised(sibling) for sibling in info.siblings or ()}
    main, wanted = choose(wish.repo, promised, wish.file, wish.variant)
    weights = [path for path in promised if path.endswith(".safetensors")]
    card = dict(vars(info.card_data)) if info.card_data else {}
    return Offer(
        origin=Origin.parse(
            {"repo": wish.repo, "revision": info.sha, "asked": wish.revision, "hub": hub},
            f"What the hub says of {wish.repo}",
        ),
        main=main,
        files=tuple(promised[path] for path in sorted(set(wanted), key=lambda path: (path in weights, path))),
        licence=_licence(card, wanted),
        name=wish.name or _name(wish.repo, main, wish.variant),
        base=_first(card.get("base_model")),
        left_out=tuple(sorted(set(weights) - set(wanted))),
    )


def _promised(sibling: Any) -> Promised:
    lfs = sibling.lfs
    return Promised(sibling.rfilename, lfs.size if lfs else sibling.size, lfs.sha256 if lfs else None, sibling.blob_id)


def _licence(card: dict[str, Any], paths: Iterable[str]) -> Licence:
    texts = [path for path in paths if re.fullmatch(LICENCE, path)]
    values = {"id": "license", "name": "license_name", "link": "license_link"}
    said = {ours: _first(card.get(theirs)) for ours, theirs in values.items()}
    return Licence(**said, file=min(texts, default=None))


def _first(value: Any) -> str | None:
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, str) else None


def _name(repo: str, main: str, variant: str | None) -> str:
    stem = PurePosixPath(main).stem
    said = repo.rpartition("/")[2] if main == "." or stem in GENERIC else stem
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{said}-{variant}" if variant else said)
    return name.lstrip("._+-")[:100] or "pulled"


def choose(
    repo: str, paths: Iterable[str], file: str | None = None, variant: str | None = None
) -> tuple[str, list[str]]:
    """Return what is loaded of the repository with files at `paths`, and which of them to fetch for it.

    Raises:
        NotFound: no such file or variant.
        InvalidInput: there are several to choose from, or a file that is not pulled.
        PullFailed: there is nothing that is pulled, or a path that leads out of the repository.
    """
    paths = sorted(paths)
    if outside := [path for path in paths if not _within(path)]:
        raise PullFailed(f"{repo} has a file called {outside[0]!r}, which leads elsewhere. Nothing was fetched.")
    texts = [path for path in paths if re.fullmatch(TEXTS, path)]
    if file is None and diffusers.INDEX in paths:
        return ".", [*texts, *_folder(repo, paths, variant)]
    if variant:
        raise InvalidInput(f"A variant {variant!r} is of a diffusers folder; this would be one file. Leave it out.")
    main = _file(repo, paths, file)
    return main, [*texts, main]


def _within(path: str) -> bool:
    return not ({"", ".", ".."} & set(path.split("/"))) and not re.search(r"[\\:\x00-\x1f]", path)


def _file(repo: str, paths: Sequence[str], file: str | None) -> str:
    weights = [path for path in paths if path.endswith(".safetensors")]
    pickled = [path for path in paths if re.search(r"\.(ckpt|pt|pth|bin)$", path)]
    if file is not None:
        if file not in paths:
            raise NotFound.among(f"file in {repo}", file, weights or ["none"])
        if file not in weights:
            raise InvalidInput(f"{file} is not a safetensors file, and others are not pulled. {_instead(weights)}")
        return file
    if not weights:
        only = f"; it has only pickled ones: {', '.join(pickled)}" if pickled else ""
        raise PullFailed(f"{repo} has no safetensors files{only}. Only safetensors are pulled.")
    if len(weights) > 1:
        raise InvalidInput(f"{repo} has several files of weights. {_instead(weights)}")
    return weights[0]


def _instead(weights: Sequence[str]) -> str:
    return f"Choose one with --file: {', '.join(weights)}." if weights else "There is none here."


def _folder(repo: str, paths: Sequence[str], variant: str | None) -> list[str]:
    wanted = [path for path in paths if re.fullmatch(SETTINGS, path)]
    found: dict[str, dict[str | None, str]] = {}
    for part, layout in diffusers.COMPONENTS.items():
        names = [path.removeprefix(f"{part}/") for path in paths if path.startswith(f"{part}/")]
        found[part] = diffusers.variants(names, layout.weights)
        if not found[part]:
            raise PullFailed(f"{repo} has no {part}/{layout.weights}. Only safetensors are pulled.")
    there = {name or "plain" for variants in found.values() for name in variants}
    if variant and variant not in there:
        raise NotFound.among(f"variant in {repo}", variant, there)
    for part, variants in found.items():
        chosen = variant if variant in variants else None
        if chosen not in variants and len(variants) > 1:
            raise InvalidInput(f"{repo} has no plain {part}. Choose one with --variant: {', '.join(sorted(there))}.")
        name = variants.get(chosen) or next(iter(variants.values()))
        names = [path.removeprefix(f"{part}/") for path in paths if path.startswith(f"{part}/")]
        wanted += [f"{part}/{file}" for file in ("config.json", name, *diffusers.shards(names, name)) if file in names]
    return wanted

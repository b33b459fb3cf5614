"""Textual inversions: words of a text encoder that were learned; their files, read and written.

Source: Gal et al. 2022, "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion".
Files: AUTOMATIC1111 (`string_to_param` in a `.pt`, `emb_params` in safetensors), diffusers (the token itself as the
name, `learned_embeds.bin` or `.safetensors`), those that name the encoder (`clip_l`), and A1111's pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from impasto.errors import InvalidInput, KeyMismatch, NotFound, UnreadableWeights, UnsupportedConfig, printable
from impasto.files import write_text, written_whole
from impasto.weights import files, pictured
from impasto.weights.consent import BESIDE, MOST_BYTES
from impasto.weights.containers import open_tensors
from impasto.weights.files import TensorFile
from impasto.weights.layouts.ldm import RECEIPT

MAX_NAME = 200  # characters
FOLDER_FILES = ("learned_embeds.safetensors", "learned_embeds.bin")

PARAMETERS = "string_to_param."
NUMBERS = "string_to_token."  # which token of the vocabulary stands for it, where it was trained; says nothing here
WHOLE = ("emb_params", "clip_l")
"""Names that say what a tensor is, not which word it stands for."""

LARGER = ("clip_g", "t5")
"""Names of vectors for text encoders that are not built here."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """A learned word.

    Attributes:
        name: what people write in a prompt: the stem of its file.
        vectors: (N, D), one for each of the N tokens that it takes the place of.
        token: the word that its file itself gives it, `<cat-toy>`, where it does.
        metadata: the file's own strings.
    """

    name: str
    vectors: Tensor
    token: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def digest(self) -> str:
        """Identity of its vectors, whatever it is called and whichever layout its file has."""
        return files.tensors_digest({"vectors": self.vectors})


def read_embedding(path: Path) -> Embedding:
    """Read the one learned word at `path`, a file or a folder of diffusers'.

    Raises:
        InvalidInput: there are several; `read_embeddings` returns them all.
        NotFound, WeightsError: as `read_embeddings`.
    """
    found = read_embeddings(path)
    if len(found) > 1:
        names = ", ".join(printable(one.token or one.name) for one in found)
        raise InvalidInput(f"{path} holds {len(found)} embeddings where one is needed: {names}.")
    return found[0]


def read_embeddings(path: Path) -> list[Embedding]:
    """Read every learned word at `path`: a `.pt` or `.bin` file, safetensors, a picture, or a folder of diffusers'.

    Raises:
        NotFound: there is nothing, or no embedding in the folder.
        UnreadableWeights: not a well-formed file, or one that holds more than weights.
        KeyMismatch: tensors that are no vectors of words.
        UnsupportedConfig: made for text encoders that are not built here.
    """
    if path.is_dir():
        found = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
        if found is None:
            raise NotFound(f"There is no embedding in {path}. One of these should be there: {', '.join(FOLDER_FILES)}.")
        return _embeddings(open_tensors(found), path.resolve().name)
    return _pictured(path) if pictured.is_picture(path) else _embeddings(open_tensors(path), path.stem)


def _pictured(path: Path) -> list[Embedding]:
    """Read the learned word in a picture of A1111's, which calls it by the name within."""
    if (held := pictured.read(path)) is None:
        raise UnreadableWeights(f"{path} is a picture without an embedding in it.")
    vectors = list(held[pictured.PARAMETERS].values())
    if len(vectors) > 1:
        raise UnreadableWeights(f"{path} holds {len(vectors)} parts of an embedding where one is known.")
    if not 0 < vectors[0].ndim < 3 or vectors[0].numel() < 2:
        raise KeyMismatch(str(path), (), (), [f"{tuple(vectors[0].shape)} is no vectors of a word"])
    if not torch.isfinite(vectors[0]).all():
        raise UnreadableWeights(f"{path}: its vectors are not finite numbers.")
    told = {key: str(held[key]) for key in TOLD if isinstance(held.get(key), (str, int))}
    return [Embedding(called(path, held), torch.atleast_2d(vectors[0]), metadata=told)]


TOLD = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")
"""What a picture says of its embedding beside the vectors."""


def called(path: Path, held: Mapping[str, object] | None = None) -> str:
    """Return what the embedding in the picture at `path`, which `held` says, is called in prompts."""
    name = (held or pictured.read(path) or {}).get("name")
    return name[:MAX_NAME] if isinstance(name, str) and name.strip() else path.stem


def _embeddings(file: TensorFile, name: str) -> list[Embedding]:
    if larger := [key for key in file if key.startswith(LARGER)]:
        raise UnsupportedConfig(
            str(file.path), [f"{larger[0]}: an embedding for larger text encoders, of SDXL or later"]
        )
    own = [key for key in file if not key.startswith(NUMBERS)]
    wrong = [f"{key}: {file.entries[key].shape} {file.entries[key].dtype}" for key in own if not _is_words(key, file)]
    if wrong:
        raise KeyMismatch(str(file.path), (), (), [f"{line} is no vectors of a word" for line in wrong])
    if not own:
        raise UnreadableWeights(f"{file.path} holds no embedding: it has no tensors.")
    many, metadata = len(own) > 1, _metadata(file)
    return [
        Embedding(_named(key) or name if many else name[:MAX_NAME], _vectors(key, file), _named(key), metadata)
        for key in own
    ]


def _metadata(file: TensorFile) -> Mapping[str, str]:
    """Return the file's own strings, and the receipt that lies beside a pickled one, which has no room for it."""
    beside = _beside(file.path)
    if RECEIPT in file.metadata or not beside.is_file() or beside.stat().st_size > MOST_BYTES:
        return file.metadata
    return {**file.metadata, RECEIPT: beside.read_text(encoding="utf-8", errors="replace")}


def _beside(path: Path) -> Path:
    return path.with_suffix(BESIDE)


def _is_words(key: str, file: TensorFile) -> bool:
    """Return whether tensor `key` is a vector, or some one after the other."""
    entry = file.entries[key]
    floating = entry.dtype.is_floating_point and 0 not in entry.shape
    return floating and (len(entry.shape) == 2 or (len(entry.shape) == 1 and entry.shape[0] > 1))


def _vectors(key: str, file: TensorFile) -> Tensor:
    tensor = file[key].clone()
    if not torch.isfinite(tensor.float()).all():
        raise UnreadableWeights(f"{file.path}: the vectors of {printable(key)} are not finite numbers.")
    return tensor[None] if tensor.ndim == 1 else tensor


def _named(key: str) -> str | None:
    """Return the word that a tensor's name gives; None for names that say only what it is."""
    word = key.removeprefix(PARAMETERS)
    return None if word in (*WHOLE, "*") else word[:MAX_NAME]


def _token(embedding: Embedding) -> str:
    return embedding.token or embedding.name


def _save_pickled(content: Callable[[Embedding], dict[str, object]]) -> Callable[[Embedding, Path], None]:
    def save(embedding: Embedding, path: Path) -> None:
        with written_whole(path) as temporary:
            torch.save(content(embedding), temporary)
        if RECEIPT in embedding.metadata:
            write_text(_beside(path), embedding.metadata[RECEIPT] + "\n")

    return save


def _save_safetensors(name: Callable[[Embedding], str]) -> Callable[[Embedding, Path], None]:
    return lambda embedding, path: files.save(path, {name(embedding): embedding.vectors}, embedding.metadata)


LAYOUTS: dict[str, Callable[[Embedding, Path], None]] = {
    "emb_params": _save_safetensors(lambda _: "emb_params"),
    "clip_l": _save_safetensors(lambda _: "clip_l"),
    "diffusers": _save_safetensors(_token),
    "bin": _save_pickled(lambda embedding: {_token(embedding): embedding.vectors}),
    "pt": _save_pickled(
        lambda embedding: {
            "string_to_token": {"*": 265},  # what "*" is in CLIP's vocabulary; readers want it to be there
            "string_to_param": {"*": embedding.vectors},
            "name": embedding.name,
            "step": 0,
            "sd_checkpoint": None,
            "sd_checkpoint_name": None,
        }
    ),
}
"""Layouts that are written, by name; A1111, ComfyUI and kohya read `emb_params` and `pt`, diffusers all of them."""


def write_embedding(embedding: Embedding, path: Path, layout: str = "emb_params") -> None:
    """Write `embedding` to a file at `path`, whole or not at all.

    Its metadata, and among them its receipt, go into the header; beside a pickled file, which has none, the receipt is
    written as `NAME.receipt.json`.

    Raises:
        NotFound: no such layout; lists those there are.
        InvalidInput: metadata or a token that the file cannot carry.
    """
    if layout not in LAYOUTS:
        raise NotFound.among("layout", layout, LAYOUTS)
    LAYOUTS[layout](embedding, path)

"""CLIP's byte-level byte-pair encoding, which turns text into token ids.

Source: openai/CLIP `simple_tokenizer.py`, and transformers' `CLIPTokenizer`, whose ids these equal. A vocabulary
follows from its merges: 256 byte symbols, the same with `</w>` for the end of a word, one token a merge in order, and
the two special tokens. So the first n merges of a list make a smaller tokenizer of 512 + n + 2 tokens.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from typing_extensions import Self

from impasto.errors import InvalidInput, NotFound
from impasto.files import write_text

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
PACKAGED = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
PACKAGED_MERGES = 48_894  # CLIP uses the first of the file's 262,144
LENGTH = 77

Merge = tuple[str, str]

_END_OF_WORD = "</w>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class CLIPTokenizer:
    """Text to token ids and back to what was read.

    Args:
        merges: pairs of symbols, in the order in which they are joined.
        vocabulary: id of every token; None for the one that follows from the merges.
        pad_token: what fills a sequence after its end; Stable Diffusion 2.x uses "!".

    Attributes:
        bos: id of the token that begins a sequence.
        eos: id of the token that ends one.
        pad_id: id of the token that fills the rest.

    Raises:
        InvalidInput: merges and vocabulary contradict each other.
    """

    def __init__(self, merges: Sequence[Merge], vocabulary: dict[str, int] | None = None, pad_token: str = EOS) -> None:
        self._merges = tuple(merges)
        self._vocabulary = _vocabulary(self._merges) if vocabulary is None else dict(vocabulary)
        if absent := [token for token in (BOS, EOS, pad_token) if token not in self._vocabulary]:
            raise InvalidInput(f"The tokenizer's vocabulary lacks {', '.join(map(repr, absent))}.")
        self._pad_token = pad_token
        self.bos, self.eos, self.pad_id = (self._vocabulary[token] for token in (BOS, EOS, pad_token))
        self._bpe = _bpe(self._merges, self._vocabulary)
        # As transformers has it, special tokens in the text are found too: in Stable Diffusion 2 every "!" is padding.
        special = dict.fromkeys((BOS, EOS, pad_token))
        self._bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])

    @classmethod
    def packaged(cls, merges: int = PACKAGED_MERGES) -> Self:
        """Return CLIP's own tokenizer of 49,408 tokens, or the one of its first so many `merges`."""
        return cls.from_merges(PACKAGED, merges)

    @classmethod
    def from_merges(cls, path: Path, count: int | None = None) -> Self:
        """Return the tokenizer of the first `count` merges, or all, in the file at `path`.

        The file holds a pair of symbols a line, below a line that says `#version`; it may be gzipped.

        Raises:
            NotFound: there is no such file.
            InvalidInput: it is not a list of merges, or has fewer than `count`.
        """
        merges = _read_merges(path)
        if count is not None and not 0 <= count <= len(merges):
            raise InvalidInput(f"Cannot take {count} merges: {path} has {len(merges)}.")
        return cls(merges[:count])

    @classmethod
    def read_folder(cls, folder: Path) -> Self:
        """Return the tokenizer in a `tokenizer/` folder of the diffusers format, old (two lists) or new (one JSON).

        Raises:
            NotFound: neither `vocab.json` with `merges.txt` nor `tokenizer.json` is there.
            InvalidInput: they do not hold a byte-pair encoding.
        """
        pad_token = _pad_token(folder)
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocabulary = _checked_vocabulary(_read_json(folder / "vocab.json"), folder / "vocab.json")
            return cls(_read_merges(folder / "merges.txt"), vocabulary, pad_token)
        if (path := folder / "tokenizer.json").is_file():
            return cls(*_read_whole(path), pad_token)
        raise NotFound(f"No tokenizer in {folder}: vocab.json and merges.txt, or tokenizer.json, should be there.")

    def write_folder(self, folder: Path, length: int = LENGTH) -> None:
        """Write `vocab.json`, `merges.txt` and the two configs that transformers' CLIPTokenizer reads.

        Args:
            folder: where to; made when it is not there.
            length: the text encoder's longest sequence.
        """
        folder.mkdir(parents=True, exist_ok=True)
        special = {"bos_token": BOS, "eos_token": EOS, "pad_token": self._pad_token, "unk_token": EOS}
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True, **special}
        write_text(folder / "vocab.json", json.dumps(self._vocabulary, ensure_ascii=False))
        write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, self._merges), ""]))
        write_text(folder / "special_tokens_map.json", json.dumps(special, indent=2) + "\n")
        write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")

    def truncate(self, merges: int) -> CLIPTokenizer:
        """Return the tokenizer of the first so many `merges`, with 512 + `merges` + 2 tokens.

        Raises:
            InvalidInput: there are not that many.
        """
        if not 0 <= merges <= len(self._merges):
            raise InvalidInput(f"Cannot take {merges} merges: the tokenizer has {len(self._merges)}.")
        return CLIPTokenizer(self._merges[:merges], pad_token=self._pad_token)

    @property
    def merges(self) -> tuple[Merge, ...]:
        """The pairs of symbols, in the order in which they are joined."""
        return self._merges

    @property
    def vocabulary(self) -> dict[str, int]:
        """A copy of the tokens and their ids."""
        return dict(self._vocabulary)

    def __len__(self) -> int:
        """Return the number of tokens, the special ones among them."""
        return len(self._vocabulary)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, however many, with no special tokens around them.

        Raises:
            InvalidInput: `text` is not valid Unicode.
        """
        try:
            return self._bpe.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError):
            raise InvalidInput(f"Not valid Unicode text: {text!r:.80}. Remove the lone surrogates.") from None

    def pieces(self, text: str) -> list[str]:
        """Return the tokens of `text` as the vocabulary spells them, "</w>" marking the end of a word."""
        return self._bpe.encode(text, add_special_tokens=False).tokens

    def pad(self, ids: Sequence[int], length: int = LENGTH) -> list[int]:
        """Return `length` ids: the beginning, as many of `ids` as there is room for, the end, and padding.

        Raises:
            InvalidInput: `length` has no room for beginning and end.
        """
        if length < 2:
            raise InvalidInput(f"length {length} has no room for the two special tokens. Use 2 or more.")
        whole = [self.bos, *ids[: length - 2], self.eos]
        return whole + [self.pad_id] * (length - len(whole))

    def __call__(self, texts: Iterable[str], length: int = LENGTH) -> list[list[int]]:
        """Return `length` ids for each of `texts`, what goes beyond cut off before the end token."""
        return [self.pad(self.encode(text), length) for text in texts]


def _byte_symbols() -> list[str]:
    """Return a printable character for each byte, those that print as themselves first, as GPT-2 orders them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def _vocabulary(merges: Sequence[Merge]) -> dict[str, int]:
    symbols = _byte_symbols()
    tokens = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols), *map("".join, merges), BOS, EOS]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        raise InvalidInput(f"{len(tokens) - len(vocabulary)} merges make a token that an earlier one makes already.")
    return vocabulary


def _bpe(merges: Sequence[Merge], vocabulary: dict[str, int]) -> Tokenizer:
    try:
        model = BPE(vocabulary, list(merges), unk_token=EOS, end_of_word_suffix=_END_OF_WORD, fuse_unk=False)
    except Exception as problem:  # the library raises nothing narrower
        raise InvalidInput(f"The tokenizer's merges do not fit its vocabulary: {problem}") from problem
    bpe = Tokenizer(model)
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return bpe


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except FileNotFoundError:
        raise NotFound(f"No such file: {path}.") from None
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise InvalidInput(f"Cannot read {path}: {problem}") from problem


def _read_merges(path: Path) -> list[Merge]:
    lines = _read(path).split("\n")
    start = 1 if "#version" in lines[0] else 0
    return [_merge(line, f"{path} line {number}") for number, line in enumerate(lines[start:], start + 1) if line]


def _merge(line: str, where: str) -> Merge:
    pair = line.rstrip("\r").split(" ")
    if len(pair) != 2 or not all(pair):
        raise InvalidInput(f"{where} is not a merge, which is two symbols with a space between them: {line!r:.80}")
    return pair[0], pair[1]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as problem:
        raise InvalidInput(f"Cannot read {path}: {problem}") from problem


def _read_whole(path: Path) -> tuple[list[Merge], dict[str, int]]:
    """Read the merges and the vocabulary out of a `tokenizer.json`."""
    content = _read_json(path)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("merges"), list):
        raise InvalidInput(f"{path} does not hold a byte-pair encoding.")
    merges = [_merge(_line(pair), str(path)) for pair in model["merges"]]
    return merges, _checked_vocabulary(model.get("vocab"), path)


def _line(merge: Any) -> str:
    """Return a merge of a `tokenizer.json`, which has it as a line or as a list, as a line."""
    return " ".join(map(str, merge)) if isinstance(merge, list) else str(merge)


def _checked_vocabulary(content: Any, path: Path) -> dict[str, int]:
    ids = content.values() if isinstance(content, dict) else [None]
    if not all(type(id_) is int for id_ in ids) or sorted(ids) != list(range(len(ids))):
        raise InvalidInput(f"{path} is not a vocabulary, which gives every token its own id from 0 up.")
    return dict(content)


def _pad_token(folder: Path) -> str:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path := folder / name).is_file() and isinstance(config := _read_json(path), dict):
            token = config.get("pad_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                return token
    return EOS

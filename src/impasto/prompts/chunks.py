"""A text's tokens, in the chunks that a text encoder reads: any number of words, each with its weight.

A chunk is beginning, tokens, end and padding; CLIP's has room for 75 tokens. When a chunk is full in the middle of a
phrase, the phrase moves to the next one: the cut is made after the last comma, if that is within `COMMA_REACH` tokens.
`BREAK` begins a new chunk. An embedding (textual inversion) stands for several vectors, which stay in one chunk.

Source: shared behaviour of AUTOMATIC1111's web UI 1.x ("infinite prompt length" of its wiki, and the padding after a
comma that its settings describe).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from impasto.errors import InvalidInput
from impasto.prompts.emphasis import Part, Segment, parse
from impasto.prompts.grammar import Prompt, Run
from impasto.prompts.mentions import unknown

COMMA_REACH = 20
SPECIAL = 2  # tokens of a chunk that are no words: its beginning and its end

_NAMED = re.compile(r"\bembedding:([^\s,:;()\[\]|]+)")
_SUFFIXES = (".safetensors", ".pt", ".bin", ".png")


class Tokenizer(Protocol):
    """What is asked of a tokenizer."""

    @property
    def bos(self) -> int:
        """Id of the token that begins a sequence."""

    @property
    def eos(self) -> int:
        """Id of the token that ends one."""

    @property
    def pad_id(self) -> int:
        """Id of the token that fills the rest."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without special ones."""


@dataclass(frozen=True)
class Chunk:
    """What a text encoder reads at once.

    Attributes:
        ids: one a position, beginning, end and padding among them. Those below 0 stand for vectors of embeddings: -1
            for the first of them all, -2 for the second and so on.
        weights: of the same positions; 1 for what is no word.
        used: how many positions have words.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    used: int


@dataclass(frozen=True)
class Length:
    """How long a prompt is, at its longest step.

    Attributes:
        tokens: of its words; an embedding has one a vector.
        chunks: that they take.
        room: for tokens in so many chunks.
    """

    tokens: int
    chunks: int
    room: int


@dataclass(frozen=True)
class _Unit:
    """Ids that stay together and count the same."""

    ids: tuple[int, ...]
    weight: float
    comma: bool = False


@dataclass(frozen=True)
class _Embedding:
    name: str
    reading: tuple[int, ...]  # the tokens of its name
    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Chunker:
    """Cuts weighted text into chunks.

    Attributes:
        tokenizer: text to ids.
        length: positions of the text encoder, 77 in CLIP.
        embeddings: how many vectors each has, by name. An embedding is meant wherever the tokens of its name stand, in
            capitals or not; `embedding:name` says so, and is an error when there is none of that name.
        reach: how many tokens at most move to the next chunk with their phrase; 0 for none.
        others: names of embeddings that there are besides, for messages.

    Raises:
        InvalidInput: a chunk has no room for a word or for an embedding, or two embeddings' names read alike.
    """

    tokenizer: Tokenizer
    length: int = 77
    embeddings: Mapping[str, int] = field(default_factory=dict)
    reach: int = COMMA_REACH
    others: Collection[str] = ()

    def __post_init__(self) -> None:
        if self.room < 1:
            raise InvalidInput(f"A text encoder of {self.length} positions has no room for words. 3 are needed.")
        large = [f"{name} ({size})" for name, size in self.embeddings.items() if not 1 <= size <= self.room]
        if large:
            raise InvalidInput(f"Embeddings have 1 to {self.room} vectors here, not as many as {', '.join(large)}.")
        _ = self._by_first_token  # names that cannot be told apart are told of now

    @property
    def room(self) -> int:
        """How many tokens a chunk has room for."""
        return self.length - SPECIAL

    @property
    def empty(self) -> Chunk:
        """The chunk of no words."""
        return self._chunk([])

    def __call__(self, segments: Sequence[Segment]) -> tuple[Chunk, ...]:
        """Return the chunks of `segments`, one at least; each segment begins a new one.

        Raises:
            NotFound: `embedding:name` with a name that is not known; lists those that are.
        """
        *before, last = ([*self._units(segment)] for segment in segments)
        chunks = [self._chunk(units) for segment in before for units in self._split(segment)]
        chunks += [self._chunk(units) for units in self._split(last) if last or not before]
        return tuple(chunks)

    def measure(self, prompt: Prompt, run: Run, read: Callable[[str], Sequence[Segment]] = parse) -> Length:
        """Return how long `prompt` is in the clause and at the step where it is longest, as `read` finds its words.

        Raises:
            NotFound: as for a call.
        """
        texts = {stretch.text for clause in prompt.clauses for stretch in clause.stretches(run)}
        lengths = [(len(chunks), sum(chunk.used for chunk in chunks)) for chunks in map(self, map(read, texts))]
        chunks, tokens = max(lengths)
        return Length(tokens, chunks, chunks * self.room)

    def named(self, prompt: Prompt, run: Run, read: Callable[[str], Sequence[Segment]] = parse) -> tuple[str, ...]:
        """Return the names of the embeddings that `prompt` names at any step, as `read` finds its words.

        Raises:
            NotFound: as for a call.
        """
        texts = {stretch.text for clause in prompt.clauses for stretch in clause.stretches(run)}
        ids = {id_ for text in texts for chunk in self(read(text)) for id_ in chunk.ids}
        return tuple(name for name, embedding in self._by_name.items() if not ids.isdisjoint(embedding.ids))

    def _chunk(self, units: Sequence[_Unit]) -> Chunk:
        ids = [id_ for unit in units for id_ in unit.ids]
        weights = [unit.weight for unit in units for _ in unit.ids]
        filling = self.room - len(ids)
        return Chunk(
            (self.tokenizer.bos, *ids, self.tokenizer.eos, *[self.tokenizer.pad_id] * filling),
            (1.0, *weights, *[1.0] * (filling + 1)),
            len(ids),
        )

    def _split(self, units: Sequence[_Unit]) -> Iterator[list[_Unit]]:
        """Yield `units` in as many as fit into a chunk, and at last those that remain."""
        chunk: list[_Unit] = []
        used, phrase = 0, 0  # `phrase` is the place of the first unit after the last comma; 0 while there is none
        for unit in units:
            if used + len(unit.ids) > self.room:
                moved = chunk[phrase:]
                size = sum(len(unit_.ids) for unit_ in moved)
                if used < self.room or unit.comma or not phrase or size >= self.reach:
                    moved, size = [], 0
                yield chunk[: len(chunk) - len(moved)]
                chunk, used, phrase = moved, size, 0
            if used + len(unit.ids) > self.room:
                yield chunk
                chunk, used = [], 0
            chunk.append(unit)
            used += len(unit.ids)
            phrase = len(chunk) if unit.comma else phrase
        yield chunk

    def _units(self, segment: Segment) -> Iterator[_Unit]:
        for part in segment:
            for place, text in enumerate(_NAMED.split(part.text)):
                if place % 2:
                    yield _Unit(self._named(text).ids, part.weight)
                else:
                    yield from self._words(Part(text, part.weight))

    def _words(self, part: Part) -> Iterator[_Unit]:
        ids = self.tokenizer.encode(part.text)
        place = 0
        while place < len(ids):
            if embedding := self._embedding_at(ids, place):
                yield _Unit(embedding.ids, part.weight)
                place += len(embedding.reading)
            else:
                yield _Unit((ids[place],), part.weight, ids[place] == self._comma)
                place += 1

    def _embedding_at(self, ids: Sequence[int], place: int) -> _Embedding | None:
        for embedding in self._by_first_token.get(ids[place], ()):
            if tuple(ids[place : place + len(embedding.reading)]) == embedding.reading:
                return embedding
        return None

    def _named(self, name: str) -> _Embedding:
        plain = name.rstrip(".!?")
        for choice in (name, plain, *(plain.removesuffix(suffix) for suffix in _SUFFIXES)):
            if choice in self._by_name:
                return self._by_name[choice]
        raise unknown("embedding", [name], {*self.embeddings, *self.others})

    @cached_property
    def _comma(self) -> int | None:
        ids = self.tokenizer.encode(",")
        return ids[0] if len(ids) == 1 else None

    @cached_property
    def _by_name(self) -> dict[str, _Embedding]:
        embeddings, first = {}, 0
        for name, size in self.embeddings.items():
            ids = tuple(-1 - k for k in range(first, first + size))
            embeddings[name] = _Embedding(name, tuple(self.tokenizer.encode(name)), ids)
            first += size
        return embeddings

    @cached_property
    def _by_first_token(self) -> dict[int, list[_Embedding]]:
        """Return the embeddings by the first token of their names, the longest names first."""
        readings: dict[tuple[int, ...], str] = {}
        table: dict[int, list[_Embedding]] = {}
        for embedding in sorted(self._by_name.values(), key=lambda embedding: -len(embedding.reading)):
            other = readings.setdefault(embedding.reading, embedding.name)
            if other != embedding.name or not embedding.reading:
                alike = f"{embedding.name!r} and {other!r}" if other != embedding.name else repr(embedding.name)
                raise InvalidInput(f"Embeddings cannot be told apart in a prompt: {alike}. Rename one.")
            table.setdefault(embedding.reading[0], []).append(embedding)
        return table

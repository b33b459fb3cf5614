"""What the prompts of recipes ask the UNet for, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from impasto.models.clip import CLIPTextEncoder
from impasto.models.tokenizer import CLIPTokenizer
from impasto.pipeline.library import Library
from impasto.prompts.chunks import Chunker
from impasto.prompts.conditioning import EMPHASES, Conditioner, Conditioning, stack
from impasto.prompts.grammar import RULES, Prompt, Run, parse, parse_negative
from impasto.recipe import AdapterUse, EmbeddingUse, Recipe

REMEMBERED_TEXTS = 256


@dataclass(frozen=True)
class Reading:
    """A prompt and all that decides what it asks for.

    Attributes:
        text: as written.
        negative: whether it is a negative prompt.
        run: the steps that it is read for.
        rules: a name in `RULES`.
        emphasis: a name in `EMPHASES`.
        skip: how many of the text encoder's last layers to leave out.
        embeddings: that it may name.
        adapters: that are on the text encoder.
    """

    text: str
    negative: bool
    run: Run
    rules: str = "impasto"
    emphasis: str = "original"
    skip: int = 0
    embeddings: tuple[EmbeddingUse, ...] = ()
    adapters: tuple[AdapterUse, ...] = ()

    @classmethod
    def of(
        cls, recipe: Recipe, text: str, run: Run, adapters: tuple[AdapterUse, ...], *, negative: bool = False
    ) -> Reading:
        """Return how `recipe` wants `text` to be read, with `adapters` on the text encoder."""
        how = (recipe.prompt_rules, recipe.emphasis, recipe.clip_skip - 1)
        return cls(text, negative, run, *how, recipe.embeddings, adapters)

    @property
    def prompt(self) -> Prompt:
        """The text, read."""
        return parse_negative(self.text) if self.negative else parse(self.text, RULES[self.rules])


class Words:
    """Prompts to what they ask for; remembers those it has seen."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextEncoder, library: Library | None = None) -> None:
        self._tokenizer, self._encoder, self._library = tokenizer, encoder, library or Library()
        self._seen: dict[Reading, Conditioning] = {}

    def __call__(self, reading: Reading) -> Conditioning:
        """Return what a prompt asks for; adapters that the reading names must be on the text encoder.

        Raises:
            NotFound: it names an embedding that is not known; lists those that are.
            InvalidRecipe: its weights lead to no finite numbers.
        """
        if reading not in self._seen:
            if len(self._seen) >= REMEMBERED_TEXTS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[reading] = self._read(reading)
        return self._seen[reading]

    def _read(self, reading: Reading) -> Conditioning:
        vectors = {use.name: self._library.meant(use).vectors for use in reading.embeddings}
        stacked = stack(vectors, self._encoder.config.hidden_size) if vectors else None
        conditioner = Conditioner(self._encode, self.chunker(vectors), stacked, reading.emphasis, reading.skip)
        return conditioner(reading.prompt, reading.run, late=RULES[reading.rules].late)

    def chunker(self, embeddings: Mapping[str, Tensor]) -> Chunker:
        """Return what cuts texts into chunks, in which the `embeddings` have a meaning."""
        sizes = {name: len(rows) for name, rows in embeddings.items()}
        length = self._encoder.config.max_position_embeddings
        return Chunker(self._tokenizer, length, sizes, others=self._library.embeddings.keys())

    def named(self, readings: Iterable[Reading]) -> tuple[EmbeddingUse, ...]:
        """Return the embeddings of the library that prompts name, sorted.

        Raises:
            NotFound: one is named as `embedding:name` that is not there; lists those that are.
            InvalidInput, WeightsError: its file cannot be used.
        """
        readings = list(readings)
        folded = " ".join(_squeezed(reading.text) for reading in readings)
        candidates = [name for name in self._library.embeddings if _squeezed(name) in folded]
        if not candidates and "embedding:" not in folded:
            return ()
        chunker = self.chunker({name: self._library.embedding(name).vectors for name in candidates})
        found = {name for r in readings for name in chunker.named(r.prompt, r.run, EMPHASES[r.emphasis].read)}
        return tuple(EmbeddingUse(name=name, identity=self._library.embedding(name).digest) for name in sorted(found))

    def _encode(self, ids: Tensor, skip: int, vectors: Tensor | None) -> Tensor:
        device = self._encoder.embeddings.position_embedding.weight.device
        z: Tensor = self._encoder(ids.to(device), skip, vectors if vectors is None else vectors.to(device))
        return z


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()

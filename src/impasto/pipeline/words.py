"""What the prompts of recipes ask the UNet for, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from impasto.models.clip import CLIPTextEncoder
from impasto.models.tokenizer import CLIPTokenizer
from impasto.prompts.chunks import Chunker
from impasto.prompts.conditioning import Conditioner, Conditioning
from impasto.prompts.grammar import RULES, Run, parse, parse_negative
from impasto.recipe import Recipe

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
    """

    text: str
    negative: bool
    run: Run
    rules: str = "impasto"
    emphasis: str = "original"
    skip: int = 0

    @classmethod
    def of(cls, recipe: Recipe, text: str, run: Run, *, negative: bool = False) -> Reading:
        """Return how `recipe` wants `text` to be read."""
        return cls(text, negative, run, recipe.prompt_rules, recipe.emphasis, recipe.clip_skip - 1)


class Words:
    """Prompts to what they ask for; remembers those it has seen."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextEncoder) -> None:
        self._chunker, self._encoder = Chunker(tokenizer, encoder.config.max_position_embeddings), encoder
        self._seen: dict[Reading, Conditioning] = {}

    def __call__(self, reading: Reading) -> Conditioning:
        """Return what a prompt asks for.

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
        rules = RULES[reading.rules]
        prompt = parse_negative(reading.text) if reading.negative else parse(reading.text, rules)
        conditioner = Conditioner(self._encode, self._chunker, None, reading.emphasis, reading.skip)
        return conditioner(prompt, reading.run, late=rules.late)

    def _encode(self, ids: Tensor, skip: int, vectors: Tensor | None) -> Tensor:
        device = self._encoder.embeddings.position_embedding.weight.device
        z: Tensor = self._encoder(ids.to(device), skip, vectors if vectors is None else vectors.to(device))
        return z

"""How long a text is for a model, before anything is made of it."""

from __future__ import annotations

from impasto.prompts.chunks import Chunker
from impasto.prompts.grammar import Run, parse
from impasto.schema import Frozen
from impasto.server.models import Offered


class Measured(Frozen):
    """How long a text is.

    Attributes:
        tokens: in it.
        chunks: that the text encoder reads one after the other.
        room: tokens that so many chunks have room for.
    """

    tokens: int
    chunks: int
    room: int


def measured(model: Offered, text: str) -> Measured:
    """Return how long `text` is for `model`, at the step where it is longest."""
    checkpoint = model.checkpoint
    chunker = Chunker(checkpoint.tokenizer, checkpoint.spec.text.max_position_embeddings)
    length = chunker.measure(parse(text), Run(checkpoint.about.settings.steps))
    return Measured(tokens=length.tokens, chunks=length.chunks, room=length.room)

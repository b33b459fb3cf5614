"""Whole prompts against a calculation of its own, written out with transformers' CLIPTextModel and tokenizer.

Each case says in plain lists what a prompt means: its words chunk by chunk, each with its weight. From there on this
file goes its own way: transformers' tokenizer, to which embeddings are added as tokens (as diffusers'
`load_textual_inversion` does), transformers' network with its embedding table grown, and numpy.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel
from transformers import CLIPTokenizer as TransformersTokenizer

from impasto.models.tokenizer import CLIPTokenizer
from impasto.prompts import emphasis
from impasto.prompts.chunks import Chunker
from impasto.prompts.conditioning import Conditioner, stack
from impasto.prompts.grammar import Run, parse
from tests.prompts.encoder import LENGTH, WIDTH, encoder, tokenizer

TOLERANCE = 2e-5  # of the largest value
EMBEDDINGS = {
    name: torch.randn(size, WIDTH, generator=torch.Generator().manual_seed(size)) * 0.4
    for name, size in (("style-x", 3), ("glow", 1))
}
Chunks = list[list[tuple[str, float]]]
"""Words and weights of each chunk; `<style-x>` is the embedding."""

PROMPTS: dict[str, list[tuple[int, Chunks]]] = {
    # prompt: (steps, chunks) of each stretch
    "a red fox": [(10, [[("a red fox", 1)]])],
    "": [(10, [[]])],
    "a (red:1.4) ((fox)), [dim]": [(10, [[("a", 1), ("red", 1.4), ("fox", 1.21), (",", 1), ("dim", 1 / 1.1)]])],
    r"a \(red\) (fox \[old\]:0.5)": [(10, [[("a (red)", 1), ("fox [old]", 0.5)]])],
    "(a red fox:-0.7) owl": [(10, [[("a red fox", -0.7), ("owl", 1)]])],
    "a fox BREAK (an owl:1.3) BREAK": [(10, [[("a fox", 1)], [("an owl", 1.3)]])],
    "(a fox BREAK an owl:1.3)": [(10, [[("a fox", 1.3)], [("an owl", 1.3)]])],
    "a [(red:1.3):blue:4] fox": [
        (4, [[("a", 1), ("red", 1.3), ("fox", 1)]]),
        (6, [[("a blue fox", 1)]]),
    ],
    "(a [red|blue] fox:1.2)": [(1, [[(f"a {colour} fox", 1.2)]]) for colour in ["red", "blue"] * 5],
    "[a fox:a fox BREAK (an owl:1.3):0.5]": [
        (5, [[("a fox", 1)], []]),
        (5, [[("a fox", 1)], [("an owl", 1.3)]]),
    ],
    "(a glow:1.2) style-x": [(10, [[("a", 1.2), ("<glow>", 1.2), ("<style-x>", 1)]])],
    "one one one one one one one one style-x": [(10, [[("one one one one one one one one", 1)], [("<style-x>", 1)]])],
}


@pytest.fixture(scope="module", params=["<|endoftext|>", "!"])
def pad_token(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def theirs(pad_token: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[TransformersTokenizer, CLIPTextModel]:
    """The tokenizer and text encoder of transformers, to which each vector of an embedding was added as a token."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer(pad_token).write_folder(folder, LENGTH)
    words = TransformersTokenizer.from_pretrained(folder)
    config = CLIPTextConfig(
        **encoder().config.plain(), bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id
    )
    network = CLIPTextModel(config).eval().requires_grad_(False)
    network.load_state_dict(encoder().state_dict(), strict=True)
    words.add_tokens([f"<{name}_{k}>" for name, rows in EMBEDDINGS.items() for k in range(len(rows))])
    network.resize_token_embeddings(len(words), mean_resizing=False)
    table = network.get_input_embeddings().weight
    for name, rows in EMBEDDINGS.items():
        for k, row in enumerate(rows):
            table[words.convert_tokens_to_ids(f"<{name}_{k}>")] = row
    return words, network


def ids_of(words: TransformersTokenizer, text: str) -> list[int]:
    if text[1:-1] in EMBEDDINGS:
        return [words.convert_tokens_to_ids(f"{text[:-1]}_{k}>") for k in range(len(EMBEDDINGS[text[1:-1]]))]
    return list(words(text, add_special_tokens=False)["input_ids"])


def encoded(
    theirs: tuple[TransformersTokenizer, CLIPTextModel], chunks: Chunks, skip: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encoded chunks (C, T, D) and weights (C, T)."""
    words, network = theirs
    z, weights = np.zeros((len(chunks), LENGTH, WIDTH), np.float32), np.ones((len(chunks), LENGTH), np.float32)
    for c, parts in enumerate(chunks):
        ids = [words.bos_token_id]
        for text, weight in parts:
            new = ids_of(words, text)
            weights[c, len(ids) : len(ids) + len(new)] = weight
            ids += new
        ids.append(words.eos_token_id)
        ids += [words.pad_token_id] * (LENGTH - len(ids))
        out = network(torch.tensor([ids]), output_hidden_states=True)
        z[c] = network.final_layer_norm(out.hidden_states[-1 - skip])[0].numpy()
    return z, weights


def expected(
    theirs: tuple[TransformersTokenizer, CLIPTextModel], stretches: list[tuple[int, Chunks]], mode: str, skip: int
) -> np.ndarray:
    """Contexts of all ten steps (10, C * T, D)."""
    parts = [encoded(theirs, chunks, skip) for _, chunks in stretches]
    z, weights = (
        np.stack([z for z, _ in parts]),
        np.stack([w for _, w in parts])[..., None],
    )  # (S, C, T, D), (S, C, T, 1)
    if mode == "original":
        before = z.mean((0, 2, 3), keepdims=True)  # of one chunk, over all stretches
        z = z * weights
        z = z * (before / z.mean((0, 2, 3), keepdims=True))
    elif mode == "no_norm":
        z = z * weights
    elif mode == "comfy":
        empty, _ = encoded(theirs, [[]], skip)
        z = (z - empty) * weights + empty
    whole = z.reshape(len(z), -1, WIDTH)
    return np.repeat(whole, [steps for steps, _ in stretches], axis=0)


@pytest.mark.parametrize("mode", ["original", "no_norm", "comfy", "ignore"])
@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("prompt", PROMPTS)
@torch.inference_mode()
def test_equals_an_independent_calculation(
    theirs: tuple[TransformersTokenizer, CLIPTextModel], pad_token: str, prompt: str, skip: int, mode: str
) -> None:
    chunker = Chunker(tokenizer(pad_token), LENGTH, {name: len(rows) for name, rows in EMBEDDINGS.items()})
    ours = Conditioner(encoder(), chunker, stack(EMBEDDINGS, WIDTH), mode, skip)(parse(prompt), Run(10))
    got = np.concatenate([ours.at(step)[0][1].numpy() for step in range(10)])
    want = expected(theirs, PROMPTS[prompt], mode, skip)
    assert got.shape == want.shape
    assert abs(got - want).max() <= TOLERANCE * abs(want).max()
    assert all(len(ours.at(step)) == 1 for step in range(10))


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> TransformersTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    CLIPTokenizer.packaged().write_folder(folder)
    return TransformersTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("fox " * 75, [0]),
        ("fox " * 76, [0, 75]),
        ("fox " * 70 + ", " + "owl " * 10, [0, 71]),
        ("fox " * 50 + ", " + "owl " * 30, [0, 75]),
        ("fox " * 70 + ", " + "owl " * 72 + ", " + "cat " * 20, [0, 71, 144]),
        ("a long sentence of many words that goes on and on " * 20, [0, 75, 150]),
    ],
)
def test_long_texts_in_chunks_of_77(full_size: TransformersTokenizer, text: str, starts: list[int]) -> None:
    """Where the chunks begin is written by hand; what is in them comes from transformers' tokenizer."""
    ids = full_size(text, add_special_tokens=False, truncation=False)["input_ids"]
    chunks = Chunker(CLIPTokenizer.packaged())(emphasis.parse(text))
    assert len(chunks) == len(starts)
    for chunk, start, end in zip(chunks, starts, [*starts[1:], len(ids)], strict=True):
        body = ids[start:end]
        assert list(chunk.ids) == [49_406, *body, *[49_407] * (76 - len(body))]

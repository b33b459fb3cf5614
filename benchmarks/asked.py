"""What Glyph is asked to draw when it is measured, chosen from the corpus by rules and keyed hashes.

Words are those of the captions, which have no articles: `fox, noto style`, `red apple on a blue background`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from impasto.corpus.record import Row
from impasto.errors import InvalidInput
from impasto.training.drawings import COLOURS

JUDGED = 200
"""Among so many concepts the asked one has to be recognised."""

CHROMATIC = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
"""Colours that a thing may be asked in: outlines and shadows are in the others."""

NEVER_SEEN = 0.03
"""A colour that no training drawing of a concept has on more than this share of its foreground was never seen on it."""

PLURALS = {
    "fox": "foxes", "owl": "owls", "penguin": "penguins", "frog": "frogs", "turtle": "turtles", "snail": "snails",
    "elephant": "elephants", "lion": "lions", "whale": "whales", "dolphin": "dolphins", "octopus": "octopuses",
    "butterfly": "butterflies", "cactus": "cacti", "mushroom": "mushrooms", "sunflower": "sunflowers",
    "tulip": "tulips", "red-apple": "red apples", "banana": "bananas", "lemon": "lemons", "pear": "pears",
    "peach": "peaches", "strawberry": "strawberries", "pineapple": "pineapples", "carrot": "carrots",
    "cupcake": "cupcakes", "doughnut": "doughnuts", "hamburger": "hamburgers", "hot-dog": "hot dogs",
    "rocket": "rockets", "airplane": "airplanes", "bus": "buses", "taxi": "taxis", "sailboat": "sailboats",
    "house": "houses", "balloon": "balloons", "key": "keys", "bell": "bells", "candle": "candles", "crown": "crowns",
    "camera": "cameras", "guitar": "guitars", "umbrella": "umbrellas", "star": "stars", "robot": "robots",
    "soccer-ball": "soccer balls", "basketball": "basketballs", "trophy": "trophies", "teddy-bear": "teddy bears",
}  # fmt: skip
"""Things that are counted."""

TOPS = ("cat", "bird", "owl", "frog", "butterfly", "penguin", "crown", "candle", "red-apple", "robot")
BASES = ("house", "chair", "skateboard", "mushroom", "bus", "elephant", "rocket", "drum", "television", "birthday-cake")
"""Things that are put on one another: each of the one kind on each of the other."""

Pair = tuple[str, str]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Question:
    """A picture to ask for.

    Attributes:
        prompt: in words.
        seed: of the noise.
        concepts: what is to be recognised; any of them, where a word has several meanings.
        collection: whose style was asked for, if any.
        colour: asked for, if any: of the ground or of the thing.
        base: what the thing is to stand on, if anything.
    """

    prompt: str
    seed: int
    concepts: tuple[str, ...]
    collection: str = ""
    colour: str = ""
    base: str = ""

    @property
    def concept(self) -> str:
        """The first of what is to be recognised."""
        return self.concepts[0]


def judged(rows: Iterable[Row], concepts: Sequence[str], collections: Sequence[str], count: int = JUDGED) -> list[str]:
    """Return the `count` of `concepts` that are told apart: first those with a held-out pair, then the most drawn."""
    drawn: dict[str, set[str]] = defaultdict(set)
    held_out = set()
    for row in rows:
        if row.concept and row.source.collection in collections:
            drawn[row.concept].add(row.source.collection)
            held_out |= {row.concept} if row.split == "held-out" else set()
    known = [concept for concept in concepts if concept in drawn]
    return sorted(known, key=lambda concept: (concept not in held_out, -len(drawn[concept])))[:count]


def captions(rows: Iterable[Row], concepts: Iterable[str], collections: Sequence[str]) -> dict[Pair, str]:
    """Return (concept, collection) -> caption of its first row, for all pairs that `rows` hold."""
    wanted = set(concepts)
    found: dict[Pair, str] = {}
    for row in rows:
        if row.concept in wanted and row.source.collection in collections:
            found.setdefault((row.concept, row.source.collection), row.caption.text)
    return found


def in_style(pairs: Mapping[Pair, str], styles: Mapping[str, str], count: int | None, seed: int) -> list[Question]:
    """Ask for `count` of the `pairs` (all, when None), each in its own style."""
    chosen = shuffled(pairs, seed)[:count]
    return numbered(
        [
            Question(f"{pairs[pair]}, {styles.get(pair[1], pair[1])} style", seed, (pair[0],), collection=pair[1])
            for pair in chosen
        ]
    )


def on_colours(words: Mapping[str, str], each: int, seed: int) -> list[Question]:
    """Ask for `each` concepts on every named colour; `words` are concept -> caption."""
    chosen = [(colour, concept) for colour in COLOURS for concept in shuffled(words, f"{seed}/{colour}")[:each]]
    return numbered(
        [Question(f"{words[c]} on a {colour} background", seed, (c,), colour=colour) for colour, c in chosen]
    )


def two(words: Mapping[str, str], count: int, seed: int) -> list[Question]:
    """Ask for two of `count` of those `words` that are counted here."""
    chosen = shuffled([concept for concept in PLURALS if concept in words], seed)[:count]
    return numbered([Question(f"two {PLURALS[concept]}", seed, (concept,)) for concept in chosen])


def stacked(words: Mapping[str, str], count: int, seed: int) -> list[Question]:
    """Ask for `count` things on things."""
    pairs = [(top, base) for top in TOPS for base in BASES if top in words and base in words]
    chosen = shuffled(pairs, seed)[:count]
    return numbered([Question(f"{words[top]} on a {words[base]}", seed, (top,), base=base) for top, base in chosen])


def recoloured(
    words: Mapping[str, str], seen: Mapping[str, Mapping[str, float]], count: int, seed: int
) -> list[Question]:
    """Ask for `count` concepts, each in a colour that it was never seen in.

    Args:
        words: concept -> caption.
        seen: concept -> colour -> the largest share of the foreground that a training drawing has in that colour.
        count: how many.
        seed: of the choice.
    """
    pairs = [
        (concept, colour)
        for concept, shares in seen.items()
        for colour in CHROMATIC
        if shares.get(colour, 0.0) <= NEVER_SEEN and not set(words[concept].split()) & COLOURS.keys()
    ]
    chosen: dict[str, str] = {}
    for concept, colour in shuffled(pairs, seed):
        chosen.setdefault(concept, colour)
    picked = list(chosen.items())[:count]
    return numbered([Question(f"{colour} {words[c]}", seed, (c,), colour=colour) for c, colour in picked])


def plainly(questions: Iterable[Question], words: Mapping[str, str]) -> list[Question]:
    """Return the same questions by caption alone, with the same seeds."""
    return [replace(question, prompt=words[question.concept]) for question in questions]


def again(words: Mapping[str, str], concepts: int, seeds: int, seed: int) -> list[Question]:
    """Ask for some `concepts` by caption alone, `seeds` times each."""
    chosen = shuffled(words, seed)[:concepts]
    return numbered([Question(words[concept], seed, (concept,)) for concept in chosen for _ in range(seeds)])


def synonyms(path: Path, known: Iterable[str], seed: int) -> list[Question]:
    """Ask for every word in the file at `path` that means a `known` concept.

    A line is `word: concept, concept`; `#` begins a comment.

    Raises:
        InvalidInput: a line is none.
    """
    known, asked = set(known), []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        word, colon, meanings = (part.strip() for part in text.partition(":"))
        if not (word and colon and meanings):
            raise InvalidInput(f"{path}, line {number}: {text!r} is not of the form `word: concept, concept`.")
        if meant := tuple(name for part in meanings.split(",") if (name := part.strip()) in known):
            asked.append(Question(word, seed, meant))
    return numbered(asked)


def taught(questions: Iterable[Question], rows: Iterable[Row]) -> list[str]:
    """Return the words among the `questions` that captions of `rows` use: they are not beyond the captions."""
    used = {word for row in rows for text in (row.caption.text, *row.caption.also) for word in text.split()}
    return [question.prompt for question in questions if set(question.prompt.split()) & used]


def numbered(questions: Sequence[Question]) -> list[Question]:
    """Return `questions` with seeds that count on from their own."""
    return [replace(question, seed=question.seed + number) for number, question in enumerate(questions)]


def shuffled(items: Iterable[Item], seed: int | str) -> list[Item]:
    """Return `items` in an order that depends on `seed` and on each of them alone."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item}".encode()).digest())

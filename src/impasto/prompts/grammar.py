r"""The prompt language of AUTOMATIC1111's web UI, as plain frozen data.

A prompt is read in two stages, as it is there. The first, here, decides which text there is at which step:

    prompt      = clause ("AND" clause)*          each may end in ":" and a weight
    scheduled   = "[" [text ":"] text ":" number "]"
    alternating = "[" text ("|" [text])+ "]"
    mention     = "<" kind ":" arguments ">"       taken out of the text, see `mentions`

The second, in `emphasis`, weighs the text of a step. A backslash keeps the next character out of both. There is no
malformed prompt: what is none of these constructs is text. Written by hand and not with a parser generator, because
then every input has one reading, in linear time, however deep its brackets are.

Source: the web UI's public documentation (wiki, "Features": attention, prompt editing, alternating words, composable
diffusion) and issue 7279 there for the step at which its schedules take effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from impasto.errors import InvalidInput
from impasto.prompts.mentions import Mention, take_out

_AND = re.compile(r"\bAND\b")
_NUMBER = r"([-+]?(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+))"
_WEIGHT = re.compile(rf":\s*{_NUMBER}\s*\Z")
_WHEN = re.compile(rf"\s*{_NUMBER}\s*")
_TOKEN = re.compile(
    r"(?P<text>(?:\\.|[^\\()\[\]:|])+)|(?P<open>[(\[])|(?P<close>[)\]])|(?P<separator>[:|])|.", re.DOTALL
)
_PARTNER = {")": "(", "]": "["}


@dataclass(frozen=True)
class Rules:
    """How a program reads what is not settled by the language itself.

    Attributes:
        late: a schedule takes effect one step later than documented: `[a:b:5]` draws `a` for six steps, the first word
            of an alternation stands for two.
        lone_weights: a weight at the end counts also for a prompt without `AND`: "at 12:30" has weight 30.
    """

    late: bool = False
    lone_weights: bool = False


RULES: dict[str, Rules] = {
    "impasto": Rules(),
    "a1111": Rules(late=True, lone_weights=True),
}
"""`impasto` reads prompts as the language is documented, `a1111` as the web UI does, to repeat its pictures."""


@dataclass(frozen=True)
class Run:
    """The steps that a prompt is read for.

    Attributes:
        steps: how many there are.
        before: how many steps a first pass had, where this is the second (hires fix). Whole numbers in schedules then
            count from the first pass's beginning, and fractions from 1.0 to 2.0 are this pass.

    Raises:
        InvalidInput: there is no step.
    """

    steps: int
    before: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.before < 0:
            raise InvalidInput(
                f"{self.steps} steps after {self.before} are not possible. Use 1 or more after 0 or more."
            )


@dataclass(frozen=True)
class Scheduled:
    """`[before:after:when]`.

    Attributes:
        before: until `when`.
        after: from then on.
        when: a number as written; with a point it is a fraction of the steps, without it counts them.
    """

    before: Nodes
    after: Nodes
    when: str

    def switch(self, run: Run) -> int:
        """Return after how many steps of `run` the text changes, at most all; below 1 it has changed from the start."""
        if "." in self.when:
            return min(run.steps, int((float(self.when) - (1.0 if run.before else 0.0)) * run.steps))
        return min(run.steps, int(self.when) - run.before)

    def at(self, step: int, run: Run) -> Nodes:
        """Return what stands here at `step`, counted from 0."""
        return self.before if step < self.switch(run) else self.after

    def ends(self, run: Run) -> Iterator[int]:
        """Yield after which numbers of steps the text changes."""
        if (switch := self.switch(run)) >= 1:
            yield switch

    def parts(self) -> tuple[Nodes, ...]:
        """Return everything that can stand here."""
        return self.before, self.after


@dataclass(frozen=True)
class Alternating:
    """`[a|b|c]`: one after the other, a step each."""

    options: tuple[Nodes, ...]

    def at(self, step: int, run: Run) -> Nodes:  # noqa: ARG002  (as Scheduled has it)
        """Return what stands here at `step`, counted from 0."""
        return self.options[step % len(self.options)]

    def ends(self, run: Run) -> Iterator[int]:
        """Yield after which numbers of steps the text changes: all."""
        yield from range(1, run.steps + 1)

    def parts(self) -> tuple[Nodes, ...]:
        """Return everything that can stand here."""
        return self.options


Node = str | Scheduled | Alternating
Nodes = tuple[Node, ...]


@dataclass(frozen=True)
class Stretch:
    """Steps in a row with one text.

    Attributes:
        text: for `emphasis` to read.
        until: how many steps of the run are over when it ends.
    """

    text: str
    until: int


@dataclass(frozen=True)
class Clause:
    """One of the prompts that `AND` joins.

    Attributes:
        nodes: text and what changes from step to step.
        weight: by which its direction counts among the clauses.
    """

    nodes: Nodes
    weight: float = 1.0

    def at(self, step: int, run: Run) -> str:
        """Return the text at `step`, counted from 0."""
        texts, rest = [], list(reversed(self.nodes))
        while rest:
            node = rest.pop()
            if isinstance(node, str):
                texts.append(node)
            else:
                rest.extend(reversed(node.at(step, run)))
        return "".join(texts)

    def stretches(self, run: Run) -> tuple[Stretch, ...]:
        """Return the texts of all steps, in order; the last ends with the run.

        A stretch ends wherever something in the prompt may change. What follows can be the same text all the same.
        """
        ends = {run.steps}
        rest = list(self.nodes)
        while rest:
            node = rest.pop()
            if not isinstance(node, str):
                ends.update(node.ends(run))
                rest.extend(inner for part in node.parts() for inner in part)
        return tuple(Stretch(self.at(end - 1, run), end) for end in sorted(ends))


@dataclass(frozen=True)
class Prompt:
    """A prompt, read.

    Attributes:
        clauses: one or more.
        mentions: the adapters that it calls, as written and in order.
    """

    clauses: tuple[Clause, ...]
    mentions: tuple[Mention, ...] = ()


def parse(text: str, rules: Rules | None = None) -> Prompt:
    """Read the prompt `text`, by `rules` other than Impasto's own if given; every text has a reading."""
    text, mentions = take_out(text)
    clauses = _AND.split(text)
    weighted = len(clauses) > 1 or (rules or RULES["impasto"]).lone_weights
    return Prompt(tuple(_clause(clause, weighted) for clause in clauses), mentions)


def parse_negative(text: str) -> Prompt:
    """Read the negative prompt `text`, in which `AND` is a word: there is one thing to keep away from."""
    text, mentions = take_out(text)
    return Prompt((_clause(text, weighted=False),), mentions)


def _clause(text: str, weighted: bool) -> Clause:
    if weighted and (match := _WEIGHT.search(text)):
        return Clause(_nodes(text[: match.start()].rstrip()), float(match[1]))
    return Clause(_nodes(text))


class _Bracket:
    """An open bracket and what was read since: texts between separators."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.fields: list[list[Node]] = [[]]
        self.separators: list[str] = []

    def written(self) -> list[Node]:
        """Return it as text, with what changes from step to step inside."""
        nodes: list[Node] = [self.mark, *self.fields[0]]
        for separator, field in zip(self.separators, self.fields[1:], strict=True):
            nodes += [separator, *field]
        return nodes

    def closed(self, mark: str) -> list[Node]:
        """Return what it is, now that `mark` closes it."""
        if self.mark == "[" and (construct := self._alternating() or self._scheduled()):
            return [construct]
        return [*self.written(), mark]

    def _alternating(self) -> Alternating | None:
        if not self.separators or ":" in self.separators:
            return None
        return Alternating(tuple(_joined(field) for field in self.fields))

    def _scheduled(self) -> Scheduled | None:
        colons = [place for place, separator in enumerate(self.separators) if separator == ":"]
        if not 1 <= len(colons) <= 2 or colons[-1] != len(self.separators) - 1:
            return None
        *texts, when = self.fields
        match = _WHEN.fullmatch("".join(node for node in when if isinstance(node, str)))
        if match is None or not all(isinstance(node, str) for node in when):
            return None
        before = self._text(0, colons[0]) if len(colons) == 2 else ()
        after = self._text(colons[0] + 1 if len(colons) == 2 else 0, len(texts) - 1)
        return Scheduled(before, after, match[1])

    def _text(self, first: int, last: int) -> Nodes:
        """Return the fields from `first` to `last`, with the bars between them as text."""
        nodes = list(self.fields[first])
        for field in self.fields[first + 1 : last + 1]:
            nodes += ["|", *field]
        return _joined(nodes)


def _nodes(text: str) -> Nodes:
    """Return the text and constructs of a clause. A bracket is one only when the brackets inside it are balanced."""
    whole: list[Node] = []
    stack: list[_Bracket] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if token.lastgroup == "open":
            stack.append(_Bracket(mark))
        elif token.lastgroup == "separator" and stack:
            stack[-1].separators.append(mark)
            stack[-1].fields.append([])
        elif token.lastgroup == "close" and stack and stack[-1].mark == _PARTNER[mark]:
            nodes = stack.pop().closed(mark)
            (stack[-1].fields[-1] if stack else whole).extend(_joined(nodes))
        elif token.lastgroup == "close":
            whole += [node for bracket in stack for node in bracket.written()]
            whole.append(mark)
            stack.clear()
        else:
            (stack[-1].fields[-1] if stack else whole).append(mark)
    return _joined([*whole, *(node for bracket in stack for node in bracket.written())])


def _joined(nodes: list[Node]) -> Nodes:
    """Return `nodes` with texts that follow one another made one."""
    joined: list[Node] = []
    texts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            texts.append(node)
            continue
        joined += ["".join(texts)] if texts else []
        texts.clear()
        joined.append(node)
    text = "".join(texts)
    return (*joined, text) if text else tuple(joined)

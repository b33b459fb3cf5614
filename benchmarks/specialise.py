"""Glyph taught a style and a subject that it never saw, measured by the judge (docs/specialise.md).

    python benchmarks/specialise.py drawings --corpus CORPUS --output DIR      what is taught, from the corpus's package
    python benchmarks/specialise.py judge --corpus CORPUS --drawings DIR --output judge.safetensors    about 20 minutes
    python benchmarks/specialise.py measure --corpus CORPUS --drawings DIR --judge judge.safetensors --output DIR

The style is OpenMoji's, which the corpus refuses for its licence (CC BY-SA 4.0): it is taken here on purpose, for this
measurement alone, and nothing made from it is published. The subject is a character that no concept of Glyph's is.
The judge also knows that style and that subject, from other drawings than those that are taught.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `benchmarks` is, when this file is what runs

from benchmarks import asked, glyph, judge
from benchmarks.asked import shuffled
from benchmarks.judge import Judge
from benchmarks.lessons import Lessons
from benchmarks.opinions import ranks
from impasto.corpus.dataset import Drawings
from impasto.corpus.plan import CorpusPlan
from impasto.corpus.record import Row, Work
from impasto.corpus.render import Rendered, render
from impasto.corpus.sources import Place
from impasto.corpus.sources.iconify import IconifySource
from impasto.corpus.statement import Statement
from impasto.corpus.store import Corpus
from impasto.errors import ImpastoError, InvalidInput
from impasto.files import write_bytes, write_text
from impasto.pictures.sheet import contact_sheet
from impasto.pipeline import Model, load
from impasto.training import data, plans
from impasto.training.data import TrainingData
from impasto.training.loop import Tick
from impasto.training.plans import ModelPlan, Selection
from impasto.training.presets import PRESETS, preset
from impasto.training.specialise import Request, specialise
from impasto.weights.detect import open_model
from impasto.weights.home import NAMES, PACKAGED
from impasto.weights.store import find

STYLE, WORD = "openmoji", "zwx"
TAUGHT = {"style": 40, "subject": 4}
MAKER = {"style": "the OpenMoji team", "subject": "the makers in its table"}
ANIMALS = "Animals"  # in the categories of emoji sets
QUESTIONS, UNRELATED, FIVE = 60, 30, 5
MINUTES = 10
SUBJECT_SAID = ("{}", "{} on a blue background", "{} on a yellow background", "two {}")


@dataclass(frozen=True)
class Lesson:
    """What is taught.

    Attributes:
        kind: `style` or `subject`.
        said: words that ask for it.
        folder: of the drawings.
        subject: the subject's concept.
    """

    kind: str
    said: str
    folder: Path
    subject: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the `arguments` name; return 1 when it cannot be done."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ImpastoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def write_drawings(chosen: argparse.Namespace) -> None:
    """Write the drawings to teach into `style/` and `subject/`, and the judge's into `known/`, each with its table."""
    corpus, plan = Corpus.open(chosen.corpus), plans.read(ModelPlan, chosen.plan)
    questions = set(question_concepts(corpus, plan))
    open_set = list(openmoji(corpus, chosen.archive))
    others = [(work, drawn) for work, drawn in open_set if work.concept not in questions]
    teach = shuffled(range(len(others)), "style")[: TAUGHT["style"]]
    taught = {others[place][0].key for place in teach}
    _write(chosen.output / "style", [pair for pair in others if pair[0].key in taught])
    _write(chosen.output / "known", [pair for pair in open_set if pair[0].key not in taught])
    subject = chosen.subject or subject_of(corpus, plan)
    rows = [row for row in corpus.rows if row.concept == subject]
    picked = [rows[place] for place in shuffled(range(len(rows)), "subject")[: TAUGHT["subject"]]]
    drawn = [(row, Rendered(corpus.image_bytes(row), row.image, None)) for row in picked]  # type: ignore[arg-type]  # its print is not asked for
    _write(chosen.output / "subject", [(_uncaptioned(row), found) for row, found in drawn])
    write_text(chosen.output / "subject.txt", subject + "\n")
    print(f"{chosen.output}: {len(teach)} drawings of {STYLE}, {len(picked)} of {subject!r}, {len(open_set)} in all")


def openmoji(corpus: Corpus, archive: Path | None) -> Iterator[tuple[Work, Rendered]]:
    """Yield what the corpus refused of OpenMoji for its licence, drawn as the corpus draws.

    Raises:
        InvalidInput: the corpus's plan has no such collection.
    """
    plan = CorpusPlan.read_toml(corpus.folder / "plan.toml")
    sources = [source for source in plan.sources if isinstance(source, IconifySource)]
    found = [(s, c) for s in sources for c in s.collections if c.prefix == STYLE]
    if not found:
        raise InvalidInput(f"The plan of {corpus.folder} does not name the collection {STYLE!r}.")
    source, collection = found[0]
    wanted = {refused.work.key: refused.work for refused in corpus.refused if refused.rule == "licence"}
    alone = source.model_copy(update={"collections": (collection,)})
    for candidate in alone.candidates(Place(corpus.folder, archive)):
        work = wanted.get(candidate.work.key)
        if work is None or work.concept is None or candidate.drawing is None:
            continue
        drawn = render(candidate.drawing, plan.size)
        if isinstance(drawn, Rendered):
            yield work, drawn


def subject_of(corpus: Corpus, plan: ModelPlan) -> str:
    """Return the animal that most collections draw among the concepts that are none of Glyph's."""
    known, where = data.chosen_concepts(corpus, plan.select) or set(), defaultdict(set)
    for row in corpus.rows:
        animal = ANIMALS in (row.category or "")
        if animal and row.concept and row.concept not in known and row.source.collection in plan.select.collections:
            where[row.concept].add(row.source.collection)
    if not where:
        raise InvalidInput("Every animal of the corpus is one of Glyph's concepts. Name a subject with --subject.")
    return min(where, key=lambda concept: (-len(where[concept]), concept))


def question_concepts(corpus: Corpus, plan: ModelPlan) -> list[str]:
    """Return the concepts that are asked for, of those that the judge tells apart."""
    collections = plan.select.collections or tuple({row.source.collection for row in corpus.rows})
    concepts = plan.select.concepts or sorted({row.concept for row in corpus.rows if row.concept})
    return shuffled(asked.judged(corpus.rows, concepts, collections), "questions")[: QUESTIONS + UNRELATED]


def _uncaptioned(row: Row) -> Work:
    work = Work.model_validate({name: getattr(row, name) for name in Work.model_fields})
    return work.model_copy(update={"caption": work.caption.model_copy(update={"text": ""})})


def _write(folder: Path, works: Sequence[tuple[Work, Rendered]]) -> None:
    """Write drawings with a table that says whose they are."""
    lines = []
    for number, (work, drawn) in enumerate(works):
        name = f"{number:04d}.png"
        write_bytes(folder / name, drawn.data)
        said = {
            "file_name": name,
            "text": work.caption.text,
            "maker": work.maker.name,
            "licence": work.licence.spdx,
            "consent": "licence",
            "concept": work.concept,
        }
        lines.append(json.dumps(said))
    write_text(folder / "metadata.jsonl", "\n".join(lines) + "\n")


def train_judge(chosen: argparse.Namespace) -> None:
    """Train a judge that knows Glyph's styles and concepts, and the style and the subject that are taught."""
    corpus, plan = Corpus.open(chosen.corpus), plans.read(ModelPlan, chosen.plan)
    own = glyph.judge_plan(plan, corpus, None, chosen.steps, 0)
    select = own.select.model_copy(update={"concepts": (*own.select.concepts, _subject(chosen.drawings))})
    wanted = own.model_copy(update={"styles": (*own.styles, STYLE), "select": select})
    taught = {row.id for row in _drawings(chosen.drawings / "subject", "subject").rows}
    concepts = _without(data.load(corpus, select), taught)
    styles = data.load(corpus, Selection(collections=own.styles))
    styles = replace(styles, train=_joined(styles.train, _drawings(chosen.drawings / "known", STYLE)))
    for tick in judge.train(wanted, Lessons(concepts, styles), chosen.output):
        if tick.progress.step % 50 == 0:
            Console(stderr=True).print(f"step {tick.progress.step:,} of {tick.steps:,}", highlight=False)
    referee = judge.load(chosen.output)
    unseen = _drawings(chosen.drawings / "style", STYLE)
    print(f"{chosen.output}: of the drawings to teach it finds {_said(judge.style_accuracy(referee, unseen))}")


def _drawings(folder: Path, collection: str) -> Drawings:
    """Return the drawings in a folder that `_write` wrote, as those of `collection`."""
    from impasto.training.taught import open_taught

    found = open_taught(folder, Statement(), Selection(), 128)
    images = [torch.from_numpy(_pixels(found.picture(row))) for row in found.rows]
    rows = [
        row.model_copy(update={"source": row.source.model_copy(update={"collection": collection})})
        for row in found.rows
    ]
    return Drawings(torch.stack(images), tuple(rows))


def _pixels(picture: Image.Image):  # type: ignore[no-untyped-def]  # numpy's own
    import numpy as np

    return np.array(picture).transpose(2, 0, 1)


def _joined(one: Drawings, other: Drawings) -> Drawings:
    return Drawings(torch.cat([one.images, other.images]), one.rows + other.rows)


def _without(rows: TrainingData, taught: set[str]) -> TrainingData:
    keep = [place for place, row in enumerate(rows.train.rows) if row.id not in taught]
    train = Drawings(rows.train.images[keep], tuple(rows.train.rows[place] for place in keep))
    return replace(rows, train=train)


def _subject(folder: Path) -> str:
    return (folder / "subject.txt").read_text("utf-8").strip()


def measure(chosen: argparse.Namespace) -> None:
    """Teach by each method, look at what the results draw, and write `specialise.json` with a sheet for each."""
    corpus, plan, referee = Corpus.open(chosen.corpus), plans.read(ModelPlan, chosen.plan), judge.load(chosen.judge)
    place, subject = find(chosen.model, "model", {name: PACKAGED / name for name in NAMES}), _subject(chosen.drawings)
    concepts = question_concepts(corpus, plan)
    words = {concept: concept.replace("-", " ") for concept in concepts}
    base = load(place)
    lessons = [
        Lesson("style", f"{STYLE} style", chosen.drawings / "style", subject),
        Lesson("subject", WORD, chosen.drawings / "subject", subject),
    ]
    found = []
    for lesson in (lesson for lesson in lessons if lesson.kind in chosen.lessons):
        exam = Exam(referee, lesson, list(words.items()), chosen.count)
        before = exam.look(base, "")
        for method in chosen.methods:
            started = time.perf_counter()
            run = teach(method, lesson, place, chosen.output / f"{lesson.kind}-{method}", chosen.steps)
            seconds = time.perf_counter() - started
            model, called, size = taught(run, method, place)
            after = exam.look(model, called)
            off = exam.apart(base, load(place)) if method != "dreambooth" else None
            line = {"lesson": lesson.kind, "method": method, "minutes": seconds / 60, "bytes": size, "drift_off": off}
            found.append(
                {**line, "before": before.figures, "after": after.figures, "drift_on": exam.drift(before, after)}
            )
            exam.sheet(before, after).save(run / "exam.png")
            print(json.dumps(found[-1]), file=sys.stderr)
    report = {"base": base.digest, "judge": referee.digest, "subject": subject, "found": found}
    write_text(chosen.output / "specialise.json", json.dumps(report, indent=2) + "\n")
    print(table(found))


def teach(method: str, lesson: Lesson, model: Path, output: Path, steps: int | None) -> Path:
    """Teach `lesson` by `method` with its preset, and return the run's folder."""
    shutil.rmtree(output, ignore_errors=True)
    wording = {"style": STYLE} if lesson.kind == "style" else {"subject": WORD}
    said = {"name": lesson.kind, "wording": wording, **({"steps": steps} if steps else {})}
    plan = preset(method, open_model(model).spec, said)
    for event in specialise(Request(plan, lesson.folder, model, output, Statement())):
        if isinstance(event, Tick) and event.progress.step % 50 == 0:
            print(f"{lesson.kind} by {method}: step {event.progress.step} of {event.steps}", file=sys.stderr)
    return output


def taught(run: Path, method: str, place: Path) -> tuple[Model, str, int]:
    """Return the model with what was taught, what a prompt says to call it, and the size of the result in bytes."""
    name = next(run.glob("*.receipt.json")).name.removesuffix(".receipt.json")
    if method == "dreambooth":
        return load(run / name), "", sum(file.stat().st_size for file in (run / name).rglob("*") if file.is_file())
    if method == "lora":
        file = run / f"{name}.safetensors"
        return load(place, adapters=[file]), f" <lora:{name}:1>", file.stat().st_size
    file = next(path for path in run.glob("*.safetensors") if not path.name.startswith("latents-"))
    return load(place, embeddings=[file]), "", file.stat().st_size


@dataclass(frozen=True, eq=False)
class Look:
    """Pictures that were asked for, and what the judge says of them.

    Attributes:
        figures: shares by name.
        pictures: of the first questions, for a sheet.
        unrelated: pictures of unrelated prompts.
    """

    figures: dict[str, float]
    pictures: list[tuple[str, Image.Image]]
    unrelated: list[Image.Image]


@dataclass(frozen=True, eq=False)
class Exam:
    """Questions about a lesson.

    Attributes:
        referee: that judges.
        lesson: what was taught.
        words: concepts and their words, questions first, unrelated ones last.
        count: how many questions of each kind.
    """

    referee: Judge
    lesson: Lesson
    words: list[tuple[str, str]]
    count: int

    def look(self, model: Model, called: str) -> Look:
        """Return what `model` draws; `called` stands behind prompts that ask for what was taught."""
        asked_for = self._asked_for()
        pictures = [self._picture(model, prompt + called, seed) for seed, (_, prompt) in enumerate(asked_for)]
        concepts = [concept for concept, _ in asked_for]
        unrelated_words = self.words[QUESTIONS:][: self.count]
        unrelated = [self._picture(model, said + called, 500 + seed) for seed, (_, said) in enumerate(unrelated_words)]
        figures = {
            "recognised": self._style(pictures) if self.lesson.kind == "style" else self._found(pictures, concepts),
            "unrelated_recognised": self._found(unrelated, [concept for concept, _ in unrelated_words]),
        }
        if self.lesson.kind == "style":
            figures["concept_r5"] = self._found(pictures, concepts)
        prompts = [prompt for _, prompt in asked_for]
        return Look(figures, list(zip(prompts, pictures, strict=True))[:12], unrelated)

    def _asked_for(self) -> list[tuple[str, str]]:
        """Return concepts that should be recognised, and prompts that ask for what was taught."""
        if self.lesson.kind == "style":
            return [(concept, f"{said}, {self.lesson.said}") for concept, said in self.words[: self.count]]
        forms = [SUBJECT_SAID[number % len(SUBJECT_SAID)] for number in range(self.count)]
        return [(self.lesson.subject, form.format(self.lesson.said)) for form in forms]

    def _picture(self, model: Model, prompt: str, seed: int) -> Image.Image:
        return model.generate(prompt, seed=seed)[0].image

    def _style(self, pictures: Sequence[Image.Image]) -> float:
        opinion = self.referee(_tensor(pictures))
        wanted = self.referee.styles.index(STYLE)
        return float((opinion.styles.argmax(1) == wanted).float().mean())

    def _found(self, pictures: Sequence[Image.Image], concepts: Sequence[str]) -> float:
        """Return the share of `pictures` whose concept is among the five likeliest."""
        numbers = torch.tensor([self.referee.concepts.index(concept) for concept in concepts])
        return float((ranks(self.referee(_tensor(pictures)).concepts, numbers) < FIVE).float().mean())

    def drift(self, before: Look, after: Look) -> float:
        """Return the mean difference of pixels, 0 to 255, of the unrelated prompts."""
        return float((_tensor(before.unrelated) - _tensor(after.unrelated)).abs().mean() * 127.5)

    def apart(self, one: Model, other: Model) -> float:
        """Return the largest difference of pixels, 0 to 255, of an unrelated prompt without what was taught."""
        prompt = self.words[QUESTIONS:][0][1]
        pair = [_tensor([self._picture(model, prompt, 500)]) for model in (one, other)]
        return float((pair[0] - pair[1]).abs().max() * 127.5)

    def sheet(self, before: Look, after: Look) -> Image.Image:
        """Return the first questions' pictures, before and after."""
        both = [("before: " + said, picture) for said, picture in before.pictures]
        both += [("after: " + said, picture) for said, picture in after.pictures]
        return contact_sheet([p for _, p in both], [said for said, _ in both], columns=len(before.pictures))


def _tensor(pictures: Sequence[Image.Image]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(_pixels(picture)).float() / 127.5 - 1 for picture in pictures])


def table(found: Sequence[Mapping[str, object]]) -> str:
    """Return what was found as a table in Markdown."""
    lines = [
        "| | | minutes | size | recognised before | after | concept R@5 before | after | unrelated R@5 before | after |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for line in found:
        before, after = line["before"], line["after"]
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        names = ("recognised", "concept_r5", "unrelated_recognised")
        cells = [f"{side[name]:.2f}" if name in side else "" for name in names for side in (before, after)]
        size = f"{int(str(line['bytes'])) / 1e6:.2f} MB"
        lines.append(f"| {line['lesson']} | {line['method']} | {line['minutes']:.1f} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    each = {"drawings": write_drawings, "judge": train_judge, "measure": measure}
    made = {name: commands.add_parser(name) for name in each}
    for name, run in each.items():
        made[name].set_defaults(run=run)
        made[name].add_argument("--corpus", type=Path, required=True)
        made[name].add_argument("--plan", type=Path, default=glyph.PLAN)
        made[name].add_argument("--output", type=Path, required=True)
    made["drawings"].add_argument(
        "--archive", type=Path, help="tarball of the corpus's package, instead of fetching it"
    )
    made["drawings"].add_argument("--subject", help="concept to teach; by itself one that Glyph does not have")
    for name in ("judge", "measure"):
        made[name].add_argument("--drawings", type=Path, required=True)
    made["judge"].add_argument("--steps", type=int, default=2200)
    made["measure"].add_argument("--model", default="glyph")
    made["measure"].add_argument("--judge", type=Path, required=True)
    made["measure"].add_argument("--methods", nargs="*", choices=list(PRESETS), default=list(PRESETS))
    made["measure"].add_argument("--lessons", nargs="*", choices=list(TAUGHT), default=list(TAUGHT))
    made["measure"].add_argument("--steps", type=int, help="in place of the preset's")
    made["measure"].add_argument("--count", type=int, default=UNRELATED, help="questions of each kind")
    return parser


if __name__ == "__main__":
    sys.exit(main())

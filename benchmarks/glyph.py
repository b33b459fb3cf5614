"""Glyph, measured by an independent judge that learned from real drawings alone (docs/glyph.md says how).

    python benchmarks/glyph.py judge --corpus CORPUS --output judge.safetensors    once, about 20 minutes on two cores
    python benchmarks/glyph.py measure --corpus CORPUS --judge judge.safetensors   the packaged model, or --model DIR
    python benchmarks/glyph.py table                                               the results, in Markdown

CORPUS is the folder that `impasto corpus build recipes/glyph/corpus.toml` made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `benchmarks` is, when this file is what runs

from benchmarks import asked, figures, judge, lessons
from benchmarks.composing import measure_e
from benchmarks.figures import Figure, JudgeUse, Report
from benchmarks.judge import Judge
from benchmarks.lessons import JudgePlan
from benchmarks.measures import (
    FULL,
    QUICK,
    SYNONYMS,
    Exam,
    Item,
    measure_a,
    measure_b,
    measure_c,
    measure_d,
    measure_f,
    measure_g,
    measure_judge,
    measure_words,
)
from impasto.corpus import dataset
from impasto.corpus.store import Corpus
from impasto.errors import ImpastoError, InvalidInput
from impasto.files import write_text
from impasto.pictures.sheet import contact_sheet
from impasto.pipeline import Model, load
from impasto.schema import read_json
from impasto.training import data, plans
from impasto.training.autoencoder import as_image
from impasto.training.plans import ModelPlan, Selection
from impasto.training.runs import environment
from impasto.weights import files
from impasto.weights.load import LoadedModel

HERE = Path(__file__).resolve().parent
PLAN = HERE.parent / "recipes" / "glyph" / "model.toml"
RESULTS = HERE / "results" / "glyph.json"
SHEET_PICTURES = 96
SAID_EVERY = 50  # steps of the judge's training

MEASUREMENTS: dict[str, Callable[[Exam], Iterator[Figure]]] = {
    "judge": measure_judge,
    "a": measure_a,
    "b": measure_b,
    "c": measure_c,
    "d": measure_d,
    "e": measure_e,
    "f": measure_f,
    "g": measure_g,
    "words": measure_words,
}

NOTES = (
    "The judge learned from training drawings alone; what it makes of held-out ones stands beside each figure.",
    "Pairs are asked for on white, one picture each, with the model's own settings.",
    "A ground has the colour that most pixels of its outer ring are nearest to in CIELAB, of ten named ones and white.",
    "Things are counted as parts that do not touch; whether X stands on Y or beside it is not measured.",
    "A near copy is nearer to a training image, or its mirror image, than all but 5 % of held-out real drawings are.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the `arguments` name; return 1 when it cannot be done."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ImpastoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def train_judge(chosen: argparse.Namespace) -> None:
    """Train the judge, and say what it makes of held-out drawings."""
    plan = plans.read(ModelPlan, chosen.plan)
    corpus = Corpus.open(chosen.corpus)
    wanted = judge_plan(plan, corpus, chosen.without, chosen.steps, chosen.seed)
    console = Console(stderr=True)
    for tick in judge.train(wanted, lessons.load(corpus, wanted), chosen.output):
        step = tick.progress.step
        if step % SAID_EVERY == 0 or step == tick.steps:
            left = tick.progress.seconds / step * (tick.steps - step) / 60
            console.print(
                f"step {step:,} of {tick.steps:,}  loss {tick.loss:.3f}  {left:.0f} minutes left", highlight=False
            )
    held_out = json.loads(files.load(chosen.output).metadata["held_out"])
    print(f"{chosen.output}: on held-out drawings {_listed(held_out)}, among {len(wanted.select.concepts)} concepts")
    if chosen.without:
        unseen = dataset.load(corpus, "train", set(wanted.select.concepts), {chosen.without})
        found = judge.concept_accuracy(judge.load(chosen.output), unseen)
        print(f"on {chosen.without}, which it never saw: {_listed(found)}")


def judge_plan(plan: ModelPlan, corpus: Corpus, without: str | None, steps: int, seed: int) -> JudgePlan:
    """Return the plan of the judge for models of `plan`: their concepts and styles.

    Concepts are learned from all collections of the `corpus` that draw them, but for the one that is left out; styles
    from all that their collections draw.
    """
    collections = sorted({row.source.collection for row in corpus.rows} - {without})
    styles = [name for name in plan.select.collections or collections if name != without]
    concepts = data.chosen_concepts(corpus, plan.select)
    if concepts is None:
        raise InvalidInput("The plan names no concepts. The judge needs a list: `select.concepts`.")
    ordered = [name for name in plan.select.concepts or sorted(concepts) if name in concepts]
    select = Selection(concepts=tuple(ordered), collections=tuple(collections))
    return lessons.default_plan(steps, seed, styles=tuple(styles), select=select)


def measure(chosen: argparse.Namespace) -> None:
    """Measure a model, write the report and print its table."""
    plan = plans.read(ModelPlan, chosen.plan)
    corpus = Corpus.open(chosen.corpus)
    referee, model = judge.load(chosen.judge), load(chosen.model)
    exam, selection = examination(model, referee, corpus, plan, chosen.quick, chosen.seed)
    found = [figure for name in chosen.only for figure in _told(name, exam)]
    report = Report(
        model=model.name,
        model_digest=model.digest,
        settings=model.about.settings.plain(),
        judge=JudgeUse(weights=referee.digest, training=files.load(chosen.judge).metadata["identity"]),
        corpus=corpus.manifest.root,
        selection=selection,
        learned_from_selection=learned_from(model, selection),
        concepts=len(exam.concepts),
        seed=chosen.seed,
        quick=chosen.quick,
        pictures=exam.made,
        environment=environment(),
        figures=tuple(found),
        notes=tuple(notes(exam, learned_from(model, selection))),
    )
    write_text(chosen.output, json.dumps(report.plain(), indent=2) + "\n")
    print(figures.markdown(report))
    if chosen.sheet:
        sheet(exam).save(chosen.sheet)


def examination(
    model: Model, referee: Judge, corpus: Corpus, plan: ModelPlan, quick: bool, seed: int
) -> tuple[Exam, str]:
    """Return the exam of `model`, and the Merkle root of the training rows that `plan` selects."""
    rows = data.load(corpus, plan.select)
    if rows.held_out is None:
        raise InvalidInput(
            f"{corpus.folder} holds nothing out of the plan's selection: there is nothing to compare with."
        )
    unseen = dataset.load(corpus, "held-out")
    size = QUICK if quick else FULL
    return Exam(
        model, referee, rows.train, rows.held_out, unseen, plan.captions.styles, size, seed, shown
    ), rows.use.selection


def learned_from(model: Model, selection: str) -> bool:
    """Return whether the receipt of `model` names the rows with Merkle root `selection`."""
    receipt = model.networks.checkpoint.receipt if isinstance(model.networks, LoadedModel) else None
    return receipt is not None and any(use.selection == selection for use in receipt.corpora)


def notes(exam: Exam, learned: bool) -> Iterator[str]:
    """Yield what a reader of the figures has to know."""
    yield from NOTES
    if not learned:
        yield "The model's receipt does not name these training rows: what is held out here may not have been for it."
    questions = asked.synonyms(SYNONYMS, exam.all_words, exam.seed)
    if seen := asked.taught(questions, exam.train.rows):
        yield f"Left out of the everyday words, because captions have them: {', '.join(seen)}."


def sheet(exam: Exam) -> Image.Image:
    """Return pictures of held-out pairs with what was asked for and what the judge says they are."""
    answers = exam.held_out_pairs
    said = answers.opinion.concepts.argmax(1).tolist()
    pairs = list(zip(answers.questions, said, strict=True))[:SHEET_PICTURES]
    captions = [f"{q.prompt}: {exam.judge.concepts[number]}" for q, number in pairs]
    pictures = [as_image(picture) for picture in answers.pictures[:SHEET_PICTURES]]
    return contact_sheet(
        pictures, captions, title=f"{exam.model.name}: pairs never trained on, and what the judge sees"
    )


def table(chosen: argparse.Namespace) -> None:
    """Print the report as Markdown."""
    print(figures.markdown(Report.parse(read_json(chosen.results), str(chosen.results))))


def shown(items: Sequence[Item], what: str, /) -> Iterable[Item]:
    """Yield the `items` with a bar on a terminal."""
    return track(items, what, console=Console(stderr=True), transient=True)


def _told(name: str, exam: Exam) -> Iterator[Figure]:
    for figure in MEASUREMENTS[name](exam):
        print(f"{figure.name}: {figure.value:.3f} (n = {figure.n:,})", file=sys.stderr)
        yield figure


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in shares.items())


def _measurements(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; choose of {','.join(MEASUREMENTS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--corpus", type=Path, required=True, help="folder of the corpus, with its images")
    common.add_argument(
        "--plan", type=Path, default=PLAN, help="plan of the model: its concepts, collections and styles"
    )
    common.add_argument("--seed", type=int, default=0, help="of every choice")

    judging = commands.add_parser("judge", parents=[common], help="train the judge, or go on with it")
    judging.add_argument("--output", type=Path, required=True, help="safetensors file; OUTPUT.run keeps the training")
    judging.add_argument("--steps", type=int, default=lessons.STEPS, help="of its training (default: %(default)s)")
    judging.add_argument("--without", metavar="COLLECTION", help="leave it out, and tell how the judge does on it")
    judging.set_defaults(run=train_judge)

    measuring = commands.add_parser("measure", parents=[common], help="measure a model")
    measuring.add_argument("--judge", type=Path, required=True, help="file of a trained judge")
    measuring.add_argument("--model", default="glyph", help="folder of the model (default: the packaged one)")
    measuring.add_argument("--quick", action="store_true", help="a part of the questions, to see that all works")
    everything = ",".join(MEASUREMENTS)
    measuring.add_argument("--only", type=_measurements, default=list(MEASUREMENTS), help=f"some of {everything}")
    measuring.add_argument("--output", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    measuring.add_argument("--sheet", type=Path, help="also a PNG of held-out pairs and what the judge sees in them")
    measuring.set_defaults(run=measure)

    printing = commands.add_parser("table", help="print the results in Markdown")
    printing.add_argument("results", type=Path, nargs="?", default=RESULTS)
    printing.set_defaults(run=table)
    return parser


if __name__ == "__main__":
    sys.exit(main())

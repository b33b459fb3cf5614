"""From a plan file to a finished model: what `impasto train` does, as generators that their caller drives."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import impasto
from impasto.corpus.attribution import attribution
from impasto.corpus.store import Corpus
from impasto.errors import InvalidPlan, NotFound
from impasto.files import write_text
from impasto.models.vae import AutoencoderKL, VAEConfig
from impasto.receipt import Environment, Parent, PlanUse, Receipt
from impasto.training import data
from impasto.training.autoencoder import AutoencoderTask, latent_statistics, normalise, on_white
from impasto.training.loop import Run, Tick
from impasto.training.plans import AutoencoderPlan, TrainingPlan
from impasto.weights import files
from impasto.weights.checkpoint import Component
from impasto.weights.layouts import diffusers
from impasto.weights.load import load_module

STATISTICS_ROWS = 2048


@dataclass(frozen=True, eq=False)
class FinishedAutoencoder:
    """An autoencoder run that came to its end.

    Attributes:
        config: shape of the network.
        component: its weights in the file.
        receipt: what it was made from.
    """

    config: VAEConfig
    component: Component
    receipt: Receipt

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
) -> Iterator[Tick]:
    """Train the autoencoder of `plan_file` in `output`, or go on with it, and leave `vae/` there.

    Raises:
        InvalidPlan: the plan cannot be used, or its `start` is not the weights at `start`.
        StateMismatch: `output` holds a run of another plan, corpus or start.
        CorpusError: the corpus is damaged or must not be used.
        NotFinite: the training went astray.
    """
    plan = AutoencoderPlan.read_toml(plan_file, InvalidPlan)
    earlier = _started(plan.start, start, _read_autoencoder)
    began = _began(output)
    chosen = data.load(Corpus.open(corpus_folder), plan.select)
    vae = earlier.load(device).requires_grad_() if earlier else None
    task = AutoencoderTask(plan, chosen, vae, device)
    run = Run(task, output)
    yield from run.steps()
    finished: AutoencoderKL = run.learner.ema.modules["vae"].cpu()  # type: ignore[assignment]  # ModuleDict forgets
    if not plan.decoder_only:
        normalise(finished, *latent_statistics(finished, on_white(chosen.train, STATISTICS_ROWS)))
    tensors = {name: tensor.contiguous() for name, tensor in finished.state_dict().items()}
    parents = tuple([Parent(name=earlier.receipt.name, identity=earlier.digest, role="start")] if earlier else ())
    receipt = _receipt(plan, chosen, began, {"vae": files.tensors_digest(tensors)}, parents)
    _write_autoencoder(output / "vae", plan.config, tensors, receipt)
    write_text(output / "vae" / "ATTRIBUTION", attribution(chosen.train.rows))


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
    plan = ModelPlan.read_toml(plan_file, InvalidPlan)
    earlier = _started(plan.start, start, lambda folder: load_folder(folder, torch.float32, device))
    finished_vae = read_autoencoder(autoencoder_folder)
    if finished_vae.config != plan.spec.vae:
        raise InvalidPlan(f"The autoencoder in {autoencoder_folder} has another shape than {plan.spec.name}'s.")
    began = _began(output)
    yield Preparing("loading the corpus")
    chosen = data.load(Corpus.open(corpus_folder), plan.select)
    vae = finished_vae.load(device)
    latents = {}
    for name, drawings in (("train", chosen.train), ("held-out", chosen.held_out)):
        if drawings is not None:
            identity = [finished_vae.digest, [row.id for row in drawings.rows], plan.variants, plan.flip, plan.seed]
            cache = Cache(output / f"latents-{name}.safetensors", digest(identity))
            latents[name] = yield from _latents(cache, vae, drawings, plan)
    tokenizer = earlier.tokenizer if earlier else CLIPTokenizer.packaged(plan.spec.text.vocab_size - BASE_TOKENS)
    modules = nn.ModuleDict({"text_encoder": earlier.text_encoder, "unet": earlier.unet}) if earlier else None
    if modules is not None:
        modules.requires_grad_()
    sources = digest([chosen.use.plain(), finished_vae.digest])
    task = ModelTask(plan, tokenizer, vae, latents["train"], latents.get("held-out"), sources, modules)
    run = Run(task, output)
    yield from run.steps()
    networks = Networks(plan.spec, tokenizer, *map(run.learner.ema.modules.cpu().get_submodule, task.modules), vae.cpu())
    parents = [Parent(name=finished_vae.receipt.name, identity=finished_vae.digest, role="autoencoder")]
    if earlier:
        parents.append(Parent(name=earlier.checkpoint.about.name, identity=earlier.digest, role="start"))
    receipt = _receipt(plan, chosen, began, {}, tuple(parents), finished_vae.receipt)
    about = About(name=plan.name, settings=Settings(steps=25, guidance=plan.guidance))
    notices = {"ATTRIBUTION": attribution(_rows_of(chosen, finished_vae))}
    save_folder(output / "model", networks, about, dtype=torch.float16, receipt=receipt, notices=notices)


def _receipt(
    plan: TrainingPlan,
    chosen: data.TrainingData,
    began: datetime,
    components: Mapping[str, str],
    parents: tuple[Parent, ...],
) -> Receipt:
    return Receipt(
        kind="base",
        name=plan.name,
        components=dict(components),
        parents=parents,
        corpora=(chosen.use,),
        plans={plan.kind: PlanUse.of(plan.plain())},  # type: ignore[attr-defined]  # every plan has its kind
        seeds={"training": plan.seed},
        code=f"impasto {impasto.__version__}",
        licence=plan.licence,
        started=began,
        finished=datetime.now(timezone.utc).replace(microsecond=0),
        environment=environment(),
    )


def environment() -> Environment:
    """Return what this process computes on."""
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        system=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
    )


def _began(output: Path) -> datetime:
    """Return when the run in `output` began, which is now if it is new."""
    mark = output / "started"
    if not mark.exists():
        write_text(mark, datetime.now(timezone.utc).replace(microsecond=0).isoformat())
    return datetime.fromisoformat(mark.read_text(encoding="utf-8").strip())


def _started(digest: str | None, folder: Path | None, read: Any) -> Any:
    """Open what the plan starts from, and check that it is that.

    Raises:
        InvalidPlan: only one of the two is given, or they are not the same.
    """
    if digest is None and folder is None:
        return None
    if digest is None or folder is None:
        raise InvalidPlan("A plan with `start` needs --start, and --start needs a plan that names the digest there.")
    found = read(folder)
    if found.digest != digest:
        raise InvalidPlan(f"The plan starts from {digest}, but {folder} holds {found.digest}.")
    return found


def _read_autoencoder(folder: Path) -> FinishedAutoencoder:
    """Open the autoencoder in the run folder, or in the `vae` folder of a model, at `folder`."""
    place = folder / "vae" if (folder / "vae").is_dir() else folder
    layout = diffusers.COMPONENTS["vae"]
    for name in ("config.json", layout.weights, diffusers.RECEIPT):
        if not (place / name).is_file():
            raise NotFound(f"No finished autoencoder in {folder}: {place / name} is missing.")
    config = VAEConfig.parse(layout.table.read(_json(place / "config.json"), str(place)), str(place))
    file = files.load(place / layout.weights)
    receipt = Receipt.parse(_json(place / diffusers.RECEIPT), str(place / diffusers.RECEIPT))
    return FinishedAutoencoder(config, Component(file, layout.names(file)), receipt)


def _write_autoencoder(folder: Path, config: VAEConfig, tensors: Mapping[str, torch.Tensor], receipt: Receipt) -> None:
    layout = diffusers.COMPONENTS["vae"]
    write_text(folder / "config.json", json.dumps(layout.table.write(config.plain()), indent=2) + "\n")
    files.save(folder / layout.weights, tensors, {"format": "pt"})
    write_text(folder / diffusers.RECEIPT, receipt.canonical().decode("utf-8") + "\n")


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content

"""Pictures of a class, made by the model that is taught, so that it keeps what it knew: prior preservation.

They are made once and kept in a folder with what they were made from; a run that needs the same ones takes them.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from PIL import Image

from impasto.corpus.candidates import Raster
from impasto.corpus.record import Caption, Consent, Licence, Maker, Row, Work
from impasto.corpus.record import Source as Origin
from impasto.corpus.render import Rendered, render
from impasto.corpus.store import root_of
from impasto.diffusion.guidance import Guided
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.errors import CorpusError
from impasto.files import write_text, written_whole
from impasto.schema import digest
from impasto.training import processes
from impasto.training.autoencoder import as_image
from impasto.training.base import Base
from impasto.training.runs import Preparing
from impasto.training.taught import Taught
from impasto.training.teaching import PriorPlan, TeachingPlan

RECORD = "made.json"


def imagined(base: Base, plan: TeachingPlan, folder: Path) -> Generator[Preparing, None, Taught]:
    """Return the pictures of the class that `plan` asks for, made now where `folder` does not have them."""
    asked = plan.prior
    assert asked is not None
    how = asked.model_dump(exclude={"weight", "pictures"})
    made_from = {"base": base.checkpoint.digest, "seed": plan.seed, "asked": how}
    if not _kept(folder, made_from):
        write_text(folder / RECORD, json.dumps(made_from, indent=2) + "\n")
    missing = [number for number in range(asked.pictures) if not _file(folder, number).is_file()]
    if missing and processes.here().first:
        for count, (number, image) in enumerate(_drawn(base, plan.seed, asked, missing), start=1):
            with written_whole(_file(folder, number)) as path:
                image.save(path, format="png")
            yield Preparing(f"drawing pictures of {asked.prompt!r} to keep", count, len(missing))
    processes.here().wait()
    return _taught(base, asked, folder, digest(made_from))


def _kept(folder: Path, made_from: dict[str, object]) -> bool:
    """Return whether `folder` holds pictures of these; those of others are removed."""
    record = folder / RECORD
    if record.is_file() and json.loads(record.read_text("utf-8")) == made_from:
        return True
    for old in folder.glob("class-*.png"):
        old.unlink()
    return False


def _file(folder: Path, number: int) -> Path:
    return folder / f"class-{number:05d}.png"


@torch.no_grad()
def _drawn(base: Base, seed: int, asked: PriorPlan, numbers: list[int]) -> Iterator[tuple[int, Image.Image]]:
    own, length = base.checkpoint.about.settings, base.spec.text.max_position_embeddings
    ids = torch.tensor(base.checkpoint.tokenizer([asked.prompt, ""], length), device=base.device)
    words, empty = base.text_encoder()(ids).split(1)
    unet, vae = base.unet(), base.vae()
    dtype = next(unet.parameters()).dtype
    denoiser = base.denoiser(lambda x, t, context: unet(x.to(dtype), t, context.to(dtype)).float())
    guided = Guided(denoiser, words, empty, own.guidance if asked.guidance is None else asked.guidance)
    sigmas = SIGMAS["karras"](base.schedule, asked.steps or own.steps).to(base.device)
    for number in numbers:
        noise = ImageNoise([seed + number], base.spec.latent_shape)
        *_, last = SAMPLERS["dpmpp_2m"](guided, noise.initial().to(base.device) * sigmas[0], sigmas, noise)
        yield number, as_image(vae.decode(last.x / vae.config.scaling_factor).cpu().clamp(-1, 1)[0])


def _taught(base: Base, asked: PriorPlan, folder: Path, made_from: str) -> Taught:
    name, identity = base.checkpoint.about.name, base.checkpoint.digest
    licence = base.checkpoint.receipt.licence if base.checkpoint.receipt else None
    rows = []
    for number in range(asked.pictures):
        drawn = render(Raster(_file(folder, number).read_bytes()), None)
        if not isinstance(drawn, Rendered):
            raise CorpusError(f"{_file(folder, number)}: {drawn.reason} Take it out, and it is made again.")
        work = Work(
            source=Origin(
                collection="class", version=made_from, key=_file(folder, number).name, file=_file(folder, number).name
            ),
            maker=Maker(name=f"{name} ({identity})"),
            licence=Licence(spdx=licence or "unknown", evidence=f"receipt of {identity}"),
            consent=Consent(basis="synthetic", evidence=f"made by {identity} for {asked.prompt!r}"),
            caption=Caption(text=asked.prompt, source="prompt"),
        )
        rows.append(Row(**{field: getattr(work, field) for field in Work.model_fields}, image=drawn.image))

    def picture(row: Row) -> Image.Image:
        with Image.open(folder / row.source.file) as opened:
            return opened.convert("RGBA")

    return Taught("class", tuple(rows), picture, lambda _: None, root_of(rows), made_from)

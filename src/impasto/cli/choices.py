"""What people say of a picture on the command line, in groups, and the choices of a recipe that it makes.

Each group is a frozen dataclass whose fields are options; a command takes the groups that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

import impasto
from impasto.errors import InvalidInput
from impasto.recipe import Emphasis, NoiseName, Rules, Upscaler

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pictures.infotext import Infotext
    from impasto.pipeline import Model

Choices = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True)
class Look:
    """What every picture has.

    Attributes:
        negative_prompt: what to keep away from.
        seed: of the first picture; left out, it is drawn at random.
        size: of the pictures in pixels: "128", or "128x192" for width and height.
        width: in pixels.
        height: in pixels.
        steps: more take longer and draw finer.
        guidance: how strictly to follow the prompt; 1 is as trained.
        sampler: how the noise comes off, for example euler or dpmpp_2m; names of other programs, such as
            "DPM++ 2M Karras", are understood too.
        schedule: how the noise levels are spaced, for example karras.
    """

    negative_prompt: str | None = None
    seed: int | None = None
    size: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    schedule: str | None = None

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Width and height, as far as they were said."""
        if self.size is None:
            return self.width, self.height
        if self.width is not None or self.height is not None:
            raise InvalidInput("Give either --size, or --width and --height.")
        match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", self.size)  # noqa: RUF001 (people type either)
        if not match:
            raise InvalidInput(f"--size {self.size!r} is not a size. Write 128, or 128x192 for width and height.")
        return int(match[1]), int(match[2] or match[1])

    def choices(self) -> Choices:
        """Return them as choices of a recipe."""
        names = ("negative_prompt", "seed", "steps", "guidance", "sampler", "schedule")
        width, height = self.sides
        return {**{name: getattr(self, name) for name in names}, "width": width, "height": height}


@Parameter(name="*")
@dataclass(frozen=True)
class Detail:
    """How exactly a picture is made; mostly to repeat one that another program made.

    Attributes:
        clip_skip: 2 leaves out the text encoder's last layer, 3 the last two; as A1111 counts.
        emphasis: what a weight in the prompt does.
        prompt_rules: how prompts are read where programs differ.
        eta: how much of the noise to renew at each step, for samplers that do.
        churn: how much noise to add before each step, for samplers that can.
        rho: how close together the low noise levels of a schedule such as karras are; 7 is usual there.
        sigma_min: the schedule's lowest noise level above 0.
        sigma_max: the schedule's highest noise level.
        guidance_rescale: how far, 0 to 1, to undo the overexposure of strong guidance.
        noise: where noise comes from, to repeat a seed found elsewhere: "a1111-nv" is what A1111 draws on a GPU,
            "comfyui" what ComfyUI draws for a whole batch at once.
        noise_delta: what is added to the seed for the noise of the steps: A1111's ENSD.
        zero_snr: stretch the noise levels until the last one hides the picture, as for models that were trained so.
    """

    clip_skip: int | None = None
    emphasis: Emphasis | None = None
    prompt_rules: Rules | None = None
    eta: float | None = None
    churn: float | None = None
    rho: float | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    guidance_rescale: float | None = None
    noise: NoiseName | None = None
    noise_delta: int | None = None
    zero_snr: Literal["diffusers", "a1111"] | None = None

    def choices(self) -> Choices:
        """Return them as choices of a recipe."""
        names = ("clip_skip", "emphasis", "prompt_rules", "guidance_rescale", "noise", "noise_delta", "zero_snr")
        options = {name: value for name, value in (("eta", self.eta), ("s_churn", self.churn)) if value is not None}
        spacing = {name: getattr(self, name) for name in ("rho", "sigma_min", "sigma_max")}
        spacing = {name: value for name, value in spacing.items() if value is not None}
        rest = {"sampler_options": options or None, "schedule_options": spacing or None}
        return {**{name: getattr(self, name) for name in names}, **rest}


@Parameter(name="*")
@dataclass(frozen=True)
class Source:
    """What to begin with, and where to paint.

    Attributes:
        image: a picture to begin with.
        strength: how much of that picture to give up, above 0 and up to 1; left out, 0.75.
        mask: a picture that is white where to paint; the rest of the image stays.
        outpaint: pixels to add around the image, for example "left=64,bottom=128"; each a multiple of 8.
        mask_invert: paint where the mask is black instead.
        mask_blur: radius in pixels of the passage from old to new.
        mask_content: what the masked part begins as.
        mask_area: work on the whole picture, or on the masked part alone at full size.
        mask_padding: pixels around the masked part that are worked on with it.
    """

    image: Path | None = None
    strength: float | None = None
    mask: Path | None = None
    outpaint: str | None = None
    mask_invert: bool = False
    mask_blur: float = 4.0
    mask_content: Literal["original", "fill", "noise", "nothing"] = "original"
    mask_area: Literal["whole", "masked"] = "whole"
    mask_padding: int = 32

    @property
    def files(self) -> list[Path]:
        """The pictures that were named."""
        return [path for path in (self.image, self.mask) if path]

    def images(self) -> list[Image]:
        """Return the pictures that were named: the one to begin with, and the mask."""
        from impasto.pictures.formats import open_image

        return [open_image(path) for path in self.files]

    def choices(self, images: Sequence[Image]) -> Choices:
        """Return them as choices of a recipe; the `images` are as `images` gave them."""
        from impasto.pictures.origin import pixels_digest

        if self.image is None:
            if self.strength is not None or self.mask or self.outpaint:
                raise InvalidInput("--strength, --mask and --outpaint are about a picture. Give it with --image.")
            return {}
        strength = 0.75 if self.strength is None else self.strength
        choices: Choices = {"start": {"image": pixels_digest(images[0]), "strength": strength}}
        if self.outpaint:
            choices["extension"] = margins(self.outpaint)
        if self.mask or self.outpaint:
            names = ("invert", "blur", "content", "area", "padding")
            painting = {name: getattr(self, f"mask_{name}") for name in names}
            choices["mask"] = {**painting, "image": pixels_digest(images[1]) if self.mask else None}
        return choices


@Parameter(name="*")
@dataclass(frozen=True)
class Further:
    """What is done to a picture besides.

    Attributes:
        hires: make the picture once more, larger: "2x", or "768x1024" for width and height.
        hires_upscaler: how it gets there; left out, latent.
        hires_strength: how much of the first pass to give up, above 0 and up to 1; left out, 0.7.
        hires_steps: of the second pass; left out, as many as the first.
        hires_sampler: of the second pass; left out, that of the first.
        hires_schedule: of the second pass; left out, that of the first.
        hires_prompt: of the second pass; left out, that of the first.
        hires_negative_prompt: of the second pass; left out, that of the first.
        hires_model: name of the model that makes the second pass, or its folder or file; left out, the first's.
        variation_seed: another seed, to vary the picture of the first one a little.
        variation_strength: how far to go from one seed to the other, 0 to 1; left out, 0.1.
        seamless: make the picture's ends meet along an axis: x, y or xy.
        vae_tile: side in pixels of the tiles that large pictures are decoded in, which takes less memory; 512 is usual.
    """

    hires: str | None = None
    hires_upscaler: Upscaler | None = None
    hires_strength: float | None = None
    hires_steps: int | None = None
    hires_sampler: str | None = None
    hires_schedule: str | None = None
    hires_prompt: str | None = None
    hires_negative_prompt: str | None = None
    hires_model: str | None = None
    variation_seed: int | None = None
    variation_strength: float | None = None
    seamless: Literal["x", "y", "xy"] | None = None
    vae_tile: int | None = None

    def choices(self, model: Model, sides: tuple[int | None, int | None], told: Choices | None = None) -> Choices:
        """Return them as choices of a recipe of `model`, whose first pass has these `sides`.

        What is said of a second pass counts more than what is `told` of it elsewhere, as in an infotext.
        """
        second = self._second(model, sides, told or {})
        return {"hires": second, "variation": self._variation(), "seamless": self.seamless, "vae_tile": self.vae_tile}

    def _variation(self) -> Choices | None:
        if self.variation_seed is None:
            if self.variation_strength is not None:
                raise InvalidInput("--variation-strength needs --variation-seed, the seed to go to.")
            return None
        strength = 0.1 if self.variation_strength is None else self.variation_strength
        return {"seed": self.variation_seed, "strength": strength}

    def _second(self, model: Model, sides: tuple[int | None, int | None], told: Choices) -> Choices | None:
        names = ("upscaler", "strength", "steps", "sampler", "schedule", "prompt", "negative_prompt", "model")
        said = {name: getattr(self, f"hires_{name}") for name in names}
        said = {name: value for name, value in said.items() if value is not None}
        if not self.hires and not told:
            if said:
                raise InvalidInput(
                    f"--hires-{next(iter(said)).replace('_', '-')} is about a second pass. Give --hires."
                )
            return None
        if self.hires_model and model.second:
            said["model"] = {"name": model.second.name, "identity": model.second.digest}
        return {**told, **said, **(self._size(model, sides) if self.hires else {})}

    def _size(self, model: Model, sides: tuple[int | None, int | None]) -> Choices:
        hires = self.hires or ""
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)x", hires):
            factor = model.spec.vae.factor
            first = (side or model.spec.resolution for side in sides)
            width, height = (int(side * float(match[1])) // factor * factor for side in first)
        elif match := re.fullmatch(r"(\d+)x(\d+)", hires):
            width, height = int(match[1]), int(match[2])
        else:
            raise InvalidInput(f"--hires {hires!r} is not a size. Write 2x, or 768x1024 for width and height.")
        return {"width": width, "height": height}


@Parameter(name="*")
@dataclass(frozen=True)
class Parts:
    """What a model is loaded with.

    Attributes:
        vae: an autoencoder, a folder or a file, to use in the place of the model's own.
        ema: take the moving average of the weights, from a file that has both.
        adapter: an adapter to use, as "ink" or "ink=0.8", or a file or folder of adapters that the prompt may call as
            <lora:ink>; repeat the option for several.
        embedding: a file or folder of embeddings (textual inversions) that prompts may name; repeat for several.
    """

    vae: str | None = None
    ema: bool = False
    adapter: list[str] | None = None
    embedding: list[str] | None = None

    def options(self) -> dict[str, Any]:
        """Return them as options of `impasto.load`."""
        adapters = [path for path, _ in self._adapters()]
        return {"vae": self.vae, "ema": self.ema, "adapters": adapters, "embeddings": self.embedding or ()}

    def _adapters(self) -> list[tuple[str, float | None]]:
        """Return the paths or names given, and how strongly to use each; None is for the prompt to say."""
        found = []
        for text in self.adapter or ():
            match = re.fullmatch(r"(.+)=([-+]?[0-9.]+)", text)
            path = match[1] if match else text
            weight = float(match[2]) if match else None if Path(path).is_dir() else 1.0
            found.append((path, weight))
        return found

    def choices(self) -> Choices:
        """Return the adapters to use as choices of a recipe."""
        used = [{"name": _name(path), "weight": weight} for path, weight in self._adapters() if weight is not None]
        return {"adapters": used} if used else {}


@Parameter(name="*")
@dataclass(frozen=True)
class Loading:
    """Which model to use, and where.

    Attributes:
        model: name of a model, or its folder or file.
        device: cpu, cuda, mps, or auto for the best there is.
        dtype: number format of the networks; left out, float32 on the CPU, and as in the files elsewhere.
    """

    model: str = "glyph"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    def load(self, parts: Parts, *, second: str | None = None, verify: bool = True) -> Model:
        """Load the model with its `parts`, followed by a `second` one if that is named."""
        if second:
            return self.load(parts, verify=verify).followed_by(replace(self, model=second).load(Parts(), verify=verify))
        from impasto.pipeline import DTYPES  # torch comes in here, after the words were found to be in order

        dtype = DTYPES[self.dtype] if self.dtype else None
        return impasto.load(self.model, device=self.device, dtype=dtype, verify=verify, **parts.options())


def _name(path: str) -> str:
    """Return what the adapter at `path`, or of that name, is called."""
    return Path(path).stem if Path(path).is_file() else Path(path).name


def margins(text: str) -> dict[str, int]:
    """Return the pixels to add on each side that `text` names.

    Raises:
        InvalidInput: it is not `left=64,bottom=128` or the like.
    """
    sides = dict(re.findall(r"(left|top|right|bottom)=(\d+)", text))
    if ",".join(f"{side}={pixels}" for side, pixels in sides.items()) != text.replace(" ", ""):
        raise InvalidInput(f"--outpaint {text!r} is not understood. Write for example left=64,bottom=128.")
    return {side: int(pixels) for side, pixels in sides.items()}


def told(path: Path) -> Infotext:
    """Return the infotext in the file at `path`: a text file, or a picture that carries one.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it holds no infotext.
    """
    from impasto.pictures import formats, infotext, metadata

    picture = path.suffix.lower() in formats.FORMATS
    found = metadata.read(path).infotext if picture else infotext.read(_text(path))
    if found is None:
        raise InvalidInput(f"{path} holds no infotext: its last line should be like 'Steps: 20, Sampler: Euler, ...'.")
    return found


def _text(path: Path) -> str:
    from impasto.errors import NotFound

    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is no text: {error}.") from error


def merged(*groups: Choices) -> Choices:
    """Return all choices that are not None; later ones count more."""
    return {key: value for group in groups for key, value in group.items() if value is not None}


Output = Annotated[Path, Parameter(alias="-o")]

"""A model that makes pictures: words to context, noise to latents step by step, latents to pixels."""

from __future__ import annotations

import copy
import os
import platform
import secrets
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

import impasto
from impasto.diffusion.denoisers import DENOISERS, Denoiser
from impasto.diffusion.guidance import Guided
from impasto.diffusion.samplers import SAMPLERS, Denoise, Step
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.errors import InvalidInput, InvalidRecipe, NotFound, PictureFailed
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.pictures import metadata
from impasto.pictures.canvas import Canvas, latent_mask, prepared
from impasto.pictures.origin import Commitment, Origin, Telling, pixels_digest
from impasto.pipeline.beginnings import Beginning, noise_of, pixels, remaining
from impasto.pipeline.previews import Projection, fitted
from impasto.pipeline.seamless import Seamless
from impasto.pipeline.tiles import tiled
from impasto.recipe import MAX_SEED, Recipe
from impasto.weights.checkpoint import About
from impasto.weights.detect import Choices
from impasto.weights.load import Networks, load_model

PACKAGED = Path(__file__).parents[1]
NAMES = ("glyph",)
"""Models that come with Impasto, each a folder in the package."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SHARED = tuple(key for key in Recipe.model_fields if key not in ("prompt", "negative_prompt", "seed", "variation"))
"""What the recipes of one batch have in common."""

REMEMBERED_TEXTS = 256

LATENT_UPSCALERS = {"latent": "bilinear", "latent-nearest": "nearest", "latent-bicubic": "bicubic"}
"""Modes of torch's `interpolate`, by the names that recipes give them."""


def load(
    model: str | os.PathLike[str] = "glyph",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    vae: str | os.PathLike[str] | None = None,
    ema: bool = False,
) -> Model:
    """Load a model; see `impasto.load`."""
    device = find_device(device)
    dtype = torch.float32 if dtype is None and device.type == "cpu" else dtype
    loaded = load_model(_place(model), dtype, device, Choices(ema=ema, vae=Path(vae) if vae else None))
    return Model(loaded, loaded.checkpoint.about)


def find_device(name: torch.device | str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        InvalidInput: torch has no such device, or not on this machine.
    """
    kinds = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [kind for kind, available in kinds.items() if available]
    try:
        device = torch.device(there[0] if name == "auto" else name)
    except RuntimeError:
        device = None
    if device is None or not kinds.get(device.type, True):
        raise InvalidInput(f"There is no device {str(name)!r} here. Choose one of: auto, {', '.join(there)}.")
    return device


def _place(model: str | os.PathLike[str]) -> Path:
    if model in NAMES:
        path = PACKAGED / str(model)
        if not path.is_dir():
            raise NotFound(f"The model {model!r} is not in this installation. Give the path of a model.")
        return path
    if not Path(model).exists():
        named = NotFound.among("model", os.fspath(model), NAMES)
        raise NotFound(
            f"{named} Or give the path of a model, a folder or a single file; {os.fspath(model)!r} is not there."
        )
    return Path(model)


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels, what determined them, and where."""

    image: Image.Image
    recipe: Recipe
    origin: Origin

    def save(self, path: str | os.PathLike[str], telling: Telling = "full") -> Commitment | None:
        """Write a PNG, JPEG or WebP file, by the ending of `path`, with the recipe inside.

        Args:
            path: of the file.
            telling: `full` writes the recipe; `private` a seal of it, whose opening is returned for the maker to keep;
                `none` nothing.

        Raises:
            InvalidInput: no such format, or one that has no room for that much text.
        """
        return metadata.save(self.image, Path(path), self.recipe, origin=self.origin, telling=telling)


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a batch of pictures stands after a step.

    Attributes:
        recipes: of the batch.
        step: how many steps are done, from 1.
        steps: how many there are.
        latents: (B, C, H, W) as they are now; after the last step those of the pictures.
        x0: (B, C, H, W) latents of the pictures as the step's beginning foresaw them; for previews.
        canvas: that the pictures are painted on, where there is one.
        made: the pictures, where the step is the last of `Model.make`.
    """

    recipes: tuple[Recipe, ...]
    step: int
    steps: int
    latents: Tensor
    x0: Tensor
    canvas: Canvas | None = None
    made: tuple[Picture, ...] = ()

    @property
    def done(self) -> bool:
        """Whether this was the last step."""
        return self.step == self.steps


class Words:
    """Texts to the contexts of the UNet; remembers those it has seen."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextEncoder) -> None:
        self._tokenizer, self._encoder = tokenizer, encoder
        self._length = encoder.config.max_position_embeddings
        self._seen: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the contexts (B, T, D) of `texts`, each encoded by itself, so that no text depends on its neighbours.

        Raises:
            InvalidRecipe: a text is longer than the text encoder reads.
        """
        return torch.cat([self._context(text) for text in texts])

    def _context(self, text: str) -> Tensor:
        if text not in self._seen:
            if len(self._seen) >= REMEMBERED_TEXTS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[text] = self._encode(text)
        return self._seen[text]

    def _encode(self, text: str) -> Tensor:
        ids, room = self._tokenizer.encode(text), self._length - 2
        if len(ids) > room:
            raise InvalidRecipe(f"The prompt has {len(ids)} tokens; this model reads {room}. Shorten {text!r:.60}.")
        device = next(self._encoder.parameters()).device
        context: Tensor = self._encoder(torch.tensor([self._tokenizer.pad(ids, self._length)], device=device))
        return context


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory, ready to make pictures.

    Attributes:
        networks: its networks and tokenizer, which must not change while this is in use.
        about: its name and its own settings.
    """

    networks: Networks
    about: About

    @property
    def name(self) -> str:
        """What people call it."""
        return self.about.name

    @property
    def spec(self) -> ModelSpec:
        """What its networks are."""
        return self.networks.spec

    @cached_property
    def digest(self) -> str:
        """Identity of its weights and configuration: of the files, where it came from files."""
        return self.networks.digest

    @cached_property
    def words(self) -> Words:
        """Its text encoder, with a memory."""
        return Words(self.networks.tokenizer, self.networks.text_encoder)

    @property
    def dtype(self) -> str:
        """Number format of the networks, as recipes name it."""
        return str(next(self.networks.unet.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """That the networks are on."""
        return next(self.networks.unet.parameters()).device

    def recipe(self, prompt: str, **choices: Any) -> Recipe:
        """Return the recipe for `prompt`; what is not among the `choices` (None counts as not) is the model's own.

        Without a seed, one is drawn at random.

        Raises:
            InvalidRecipe: a choice that no recipe has, or a value out of range; lists every one.
        """
        own = {
            **self._own(),
            "seed": secrets.randbelow(2**32),
            "width": self.spec.resolution,
            "height": self.spec.resolution,
            **self.about.settings.plain(),
        }
        chosen = {key: value for key, value in choices.items() if value is not None}
        return Recipe.parse({**own, "prompt": prompt, **chosen}, "The recipe", InvalidRecipe)

    def recipes(self, prompt: str, count: int = 1, **choices: Any) -> list[Recipe]:
        """Return `count` recipes that differ in their seeds, which follow one another; see `recipe`.

        Where there is a variation, the seeds of the variation follow one another, and the recipe's own stays.

        Raises:
            InvalidRecipe: as `recipe`, or there is no such number of pictures or seeds.
        """
        first = self.recipe(prompt, **choices)
        seed = first.variation.seed if first.variation else first.seed
        if not 1 <= count <= MAX_SEED - seed + 1:
            raise InvalidRecipe(f"{count} pictures from seed {seed} on cannot be made. Ask for 1 or more.")
        return [_with_seed(first, seed + k) for k in range(count)]

    def generate(
        self, prompt: str, *, count: int = 1, batch: int = 1, sources: Sequence[Image.Image] = (), **choices: Any
    ) -> list[Picture]:
        """Make pictures of `prompt`.

        Args:
            prompt: what they are to show.
            count: how many; picture k has the seed of the first one plus k.
            batch: how many to make at a time at most. One at a time, a picture is the same bit for bit whatever the
                count; more at a time take less time in all, and change a pixel by up to 1/255, since matrix products
                of another size are summed in another order.
            sources: pictures and masks that the choices name by their `pixels_digest`.
            choices: any field of a recipe: `negative_prompt`, `seed`, `steps`, `guidance`, `sampler`, `schedule`,
                `width`, `height`, `start`, `hires` ... What is left out (or None) is the model's own; a seed is drawn
                at random. The recipe of each picture says what it was.

        Raises:
            InvalidRecipe: a value cannot be used.
            NotFound: no such sampler or schedule; lists those there are.
            PictureFailed: the networks gave no finite numbers, not even in float32.
        """
        recipes = self.recipes(prompt, count, **choices)
        return [
            picture
            for part in batches(recipes, batch)
            for progress in self.make(part, sources=sources)
            for picture in progress.made
        ]

    def make(self, recipes: Recipe | Sequence[Recipe], *, sources: Sequence[Image.Image] = ()) -> Iterator[Progress]:
        """Make a picture or a batch step by step; the last step's `made` holds the pictures.

        In half precision, where some models overflow, pictures that fail are made once more in float32, with a warning;
        their recipes then say float32.

        Raises:
            InvalidRecipe, NotFound: see `steps`.
            PictureFailed: the networks gave no finite numbers, not even in float32.
        """
        batch = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
        try:
            yield from self._make(batch, sources)
        except PictureFailed:
            if self.dtype == "float32":
                raise
            warnings.warn(f"{self.name} failed in {self.dtype}. Trying again in float32.", RuntimeWarning, stacklevel=2)
            again = [recipe.model_copy(update={"dtype": "float32"}) for recipe in batch]
            yield from self.in_float32()._make(again, sources)

    def _make(self, recipes: Sequence[Recipe], sources: Sequence[Image.Image]) -> Iterator[Progress]:
        for progress in self.steps(recipes, sources=sources):
            yield replace(progress, made=tuple(self.pictures(progress))) if progress.done else progress

    def in_float32(self) -> Model:
        """Return a copy of this model whose networks calculate in float32; its digest is the same."""
        parts = {name: copy.deepcopy(getattr(self.networks, name)).float() for name in ("text_encoder", "unet", "vae")}
        model = Model(replace(self.networks, **parts), self.about)
        model.__dict__["digest"] = self.digest
        return model

    def steps(
        self, recipes: Recipe | Sequence[Recipe], *, any_model: bool = False, sources: Sequence[Image.Image] = ()
    ) -> Iterator[Progress]:
        """Make the latents of a picture, or of a batch, step by step; `pictures` makes pictures of the last ones.

        Args:
            recipes: what to make. Those of a batch differ only in prompt, negative prompt, seed and variation.
            any_model: also run recipes that were written for another model; the pictures' recipes then name this one.
            sources: pictures and masks that the recipes name by digest.

        Raises:
            InvalidRecipe: a recipe that this model cannot run, or a batch of unlike ones.
            NotFound: no such sampler or schedule; lists those there are.
        """
        batch = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
        if any_model:
            batch = tuple(recipe.model_copy(update=self._own()) for recipe in batch)
        self._check(batch)
        canvas = prepared(batch[0], {pixels_digest(image): image for image in sources})
        return self._steps(batch, canvas)

    def _own(self) -> dict[str, str]:
        return {"model_name": self.name, "model_digest": self.digest, "dtype": self.dtype}

    @torch.inference_mode()
    def _steps(self, recipes: tuple[Recipe, ...], canvas: Canvas | None) -> Iterator[Progress]:
        recipe = recipes[0]
        first = self._first_pass(recipes, canvas)
        second = second_pass(recipe, self.spec.vae.factor, self.schedule) if recipe.hires else None
        total = first.steps + (second.steps if second else 0)
        done, step = 0, None
        for step in self._run(recipes, first):
            done += 1
            yield Progress(recipes, done, total, step.x, step.x0, canvas)
        if second and step:
            beginning = Beginning(self._enlarged(recipe, step.x))
            for step in self._run(recipes, replace(second, beginning=beginning)):
                done += 1
                yield Progress(recipes, done, total, step.x, step.x0, canvas)

    def _first_pass(self, recipes: tuple[Recipe, ...], canvas: Canvas | None) -> Pass:
        recipe, factor = recipes[0], self.spec.vae.factor
        levels = partial(SIGMAS[recipe.schedule], self.schedule)
        sigmas = levels(recipe.steps)
        if recipe.start:
            sigmas = remaining(levels, recipe.steps, recipe.start.strength, recipe.start.counting)
        beginning = self._beginning(recipes, canvas) if canvas else None
        return Pass(recipe.sampler, sigmas, recipe.height // factor, recipe.width // factor, beginning)

    def _run(self, recipes: tuple[Recipe, ...], part: Pass) -> Iterator[Step]:
        recipe, beginning = recipes[0], part.beginning
        shape = (self.spec.vae.latent_channels, part.height, part.width)
        noise = noise_of(recipes, shape, self.spec.vae.factor)
        x = noise.initial().to(self.device)
        sigma = part.sigmas[0].item()
        denoise: Denoise = self._guided(self._denoiser(recipe.seamless, beginning), recipes)
        if beginning is None or (beginning.seen is not None and recipe.start and recipe.start.strength == 1):
            x = x * start(part.sampler, sigma)  # an inpainting model sees the picture by itself
        else:
            x = beginning.latents + x * sigma
            denoise = beginning.kept(denoise)
        for step in SAMPLERS[part.sampler](denoise, x, part.sigmas, noise):
            if not step.x.isfinite().all():
                raise PictureFailed(
                    f"{self.name} in {self.dtype} gave latents that are no numbers. Load it in float32."
                )
            yield step

    def _beginning(self, recipes: tuple[Recipe, ...], canvas: Canvas) -> Beginning:
        recipe = recipes[0]
        latents = self.encode(canvas.image, recipe.vae_tile)
        if canvas.mask is None:
            return Beginning(latents)
        paint = torch.from_numpy(latent_mask(canvas.mask, self.spec.vae.factor))[None, None].to(self.device)
        if recipe.mask and recipe.mask.content in ("noise", "nothing"):
            shape = (latents.shape[1], latents.shape[2], latents.shape[3])
            noise = noise_of(recipes, shape, self.spec.vae.factor).initial().to(self.device)
            latents = (1 - paint) * latents + paint * noise * (recipe.mask.content == "noise")
        return Beginning(latents, paint, self._seen(canvas, paint, recipe) if self.inpaints else None)

    def _seen(self, canvas: Canvas, paint: Tensor, recipe: Recipe) -> Tensor:
        """Return what an inpainting model sees: the mask, and the picture with its masked part grey."""
        assert canvas.mask is not None
        visible = pixels(canvas.image) * (1 - pixels(canvas.mask).add(1).div(2)[:, :1])  # 0 is grey
        return torch.cat([paint, self._encoded(visible, recipe.vae_tile)], dim=1)

    def _enlarged(self, recipe: Recipe, latents: Tensor) -> Tensor:
        hires, factor = recipe.hires, self.spec.vae.factor
        assert hires is not None
        if hires.upscaler in LATENT_UPSCALERS:
            size = (hires.height // factor, hires.width // factor)
            return F.interpolate(latents, size, mode=LATENT_UPSCALERS[hires.upscaler])
        images = self.decode(latents, recipe)
        large = [image.resize((hires.width, hires.height), Image.Resampling.LANCZOS) for image in images]
        return torch.cat([self.encode(image, recipe.vae_tile) for image in large])

    @property
    def inpaints(self) -> bool:
        """Whether the UNet sees a mask and a masked picture besides the latents."""
        return self.spec.unet.in_channels == 2 * self.spec.vae.latent_channels + 1

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise levels that the UNet was trained on."""
        spec = self.spec
        return NoiseSchedule.scaled_linear(spec.beta_start, spec.beta_end, spec.train_timesteps)

    @cached_property
    @torch.inference_mode()
    def preview(self) -> Projection:
        """Latents to small pictures without the autoencoder; fitted when it is first asked for."""
        return fitted(self._encoded, min(self.spec.resolution, 256))

    def _denoiser(self, seamless: str | None, beginning: Beginning | None) -> Denoiser:
        unet, dtype = self.networks.unet, DTYPES[self.dtype]
        seen = beginning.seen if beginning else None

        def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            if seen is not None:
                x = torch.cat([x, seen.expand(len(x), -1, -1, -1)], dim=1)
            with Seamless(seamless):
                out: Tensor = unet(x.to(dtype), t, context)  # latents and solver stay in float32
            return out.float()

        return DENOISERS[self.spec.prediction](network, self.schedule)

    def _guided(self, denoiser: Denoiser, recipes: Sequence[Recipe]) -> Guided:
        context = self.words([recipe.prompt for recipe in recipes])
        negative = self.words([recipe.negative_prompt for recipe in recipes])
        return Guided(denoiser, context, negative, recipes[0].guidance)

    def _check(self, recipes: tuple[Recipe, ...]) -> None:
        if not recipes:
            raise InvalidRecipe("There is no recipe to run. Give one or more.")
        unlike = [key for key in SHARED if len({getattr(recipe, key) for recipe in recipes}) > 1]
        if unlike:
            raise InvalidRecipe(f"The recipes of one batch must not differ in {', '.join(unlike)}. Run them apart.")
        recipe = recipes[0]
        second = recipe.hires
        for sampler in (recipe.sampler, second and second.sampler):
            if sampler and sampler not in SAMPLERS:
                raise NotFound.among("sampler", sampler, SAMPLERS)
        for schedule in (recipe.schedule, second and second.schedule):
            if schedule and schedule not in SIGMAS:
                raise NotFound.among("schedule", schedule, SIGMAS)
        if problem := self._unrunnable(recipe):
            raise InvalidRecipe(problem)

    def _unrunnable(self, recipe: Recipe) -> str | None:
        if recipe.model_digest != self.digest:
            return (
                f"The recipe is for the model {recipe.model_name!r} ({recipe.model_digest}), "
                f"not for {self.name!r} ({self.digest}); the picture would be another one."
            )
        factor = self.spec.vae.factor
        for sized in (recipe, recipe.hires):
            if sized and (sized.width % factor or sized.height % factor):
                size = f"{sized.width}x{sized.height}"
                return f"{self.name} makes pictures with sides that are multiples of {factor}, not {size}."
        if recipe.dtype != self.dtype:
            return f"The recipe is in {recipe.dtype}; the model was loaded in {self.dtype}. Load it in {recipe.dtype}."
        if recipe.adapters:
            names = ", ".join(adapter.name for adapter in recipe.adapters)
            return f"The recipe uses adapters ({names}), which this model has not been given."
        if self.inpaints and recipe.mask is None:
            return f"{self.name} fills in parts of a given picture; it does not make one from words alone."
        return None

    def pictures(self, progress: Progress) -> list[Picture]:
        """Return the pictures of the last step's `progress`; of an earlier one, what they are by then."""
        images = self.decode(progress.latents, progress.recipes[0])
        if progress.canvas:
            images = [progress.canvas.finished(image) for image in images]
        origin = self.origin(batch=len(images))
        return [Picture(image, recipe, origin) for image, recipe in zip(images, progress.recipes, strict=True)]

    def origin(self, batch: int = 1) -> Origin:
        """Return where this makes its pictures, `batch` at a time."""
        return Origin(
            impasto=impasto.__version__,
            torch=torch.__version__,
            device=self.device.type,
            processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            threads=torch.get_num_threads(),
            batch=batch,
        )

    @torch.inference_mode()
    def decode(self, latents: Tensor, recipe: Recipe | None = None) -> list[Image.Image]:
        """Return the images of `latents` (B, C, H, W), one at a time, so that none depends on its neighbours.

        Args:
            latents: to decode.
            recipe: that says whether they are seamless, and decoded in tiles.

        Raises:
            PictureFailed: the latents or pixels are not finite.
        """
        seamless, tile = (recipe.seamless, recipe.vae_tile) if recipe else (None, None)
        with Seamless(seamless):
            return [_image(self._decoded(latent, tile)) for latent in latents.split(1)]

    def encode(self, image: Image.Image, tile: int | None = None) -> Tensor:
        """Return the latents (1, C, h, w) of `image`, the most likely ones, so that they are always the same.

        Args:
            image: whose sides are multiples of the autoencoder's factor.
            tile: side in pixels of the tiles to encode it in.
        """
        return self._encoded(pixels(image), tile)

    @torch.inference_mode()
    def _encoded(self, x: Tensor, tile: int | None = None) -> Tensor:
        vae, x = self.networks.vae, x.to(self.device, DTYPES[self.dtype])
        z = tiled(lambda part: vae.encode(part).mode(), x, tile, _overlap(tile)) if tile else vae.encode(x).mode()
        return z.float() * self.spec.vae.scaling_factor

    def _decoded(self, latent: Tensor, tile: int | None = None) -> Tensor:
        vae, factor = self.networks.vae, self.spec.vae.factor
        z = (latent / self.spec.vae.scaling_factor).to(DTYPES[self.dtype])
        pixels = (tiled(vae.decode, z, tile // factor, _overlap(tile) // factor) if tile else vae.decode(z))[0]
        if not pixels.isfinite().all():
            raise PictureFailed(f"{self.name} in {self.dtype} gave pixels that are no numbers. Load it in float32.")
        return pixels


@dataclass(frozen=True, eq=False)
class Pass:
    """One run of a sampler.

    Attributes:
        sampler: its name.
        sigmas: (S + 1,) that it visits.
        height: of the latents.
        width: of the latents.
        beginning: a picture that it begins with.
    """

    sampler: str
    sigmas: Tensor
    height: int
    width: int
    beginning: Beginning | None = None

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.sigmas) - 1


def second_pass(recipe: Recipe, factor: int, schedule: NoiseSchedule) -> Pass:
    """Return the second pass of a `recipe` with `hires`, but for what it begins with."""
    hires = recipe.hires
    assert hires is not None
    levels = partial(SIGMAS[hires.schedule or recipe.schedule], schedule)
    sigmas = remaining(levels, hires.steps or recipe.steps, hires.strength, "exact")
    return Pass(hires.sampler or recipe.sampler, sigmas, hires.height // factor, hires.width // factor)


def _with_seed(recipe: Recipe, seed: int) -> Recipe:
    if recipe.variation is None:
        return recipe.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"variation": recipe.variation.model_copy(update={"seed": seed})})


def _overlap(tile: int) -> int:
    """Return how far tiles overlap, in pixels: a quarter, in whole latents of any model."""
    return max(32, tile // 128 * 32)


def start(sampler: str, sigma: float) -> float:
    """Return how strong the first noise is for a solver that begins at noise level `sigma`.

    DDIM begins with pure noise of variance 1 in its own scaling, where `x_t = x / sqrt(1 + sigma^2)` (Song et al.
    2010.02502); the others with noise of level sigma, as k-diffusion has it.
    """
    return float((1 + sigma**2) ** 0.5) if sampler == "ddim" else sigma


def batches(recipes: Sequence[Recipe], size: int) -> Iterator[Sequence[Recipe]]:
    """Yield `recipes` in parts of at most `size`.

    Raises:
        InvalidInput: `size` is below 1.
    """
    if size < 1:
        raise InvalidInput(f"A batch of {size} pictures is not possible. Use 1 or more.")
    for first in range(0, len(recipes), size):
        yield recipes[first : first + size]


def _image(pixels: Tensor) -> Image.Image:
    """Return the image of `pixels` (3, H, W) in [-1, 1]."""
    levels = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())

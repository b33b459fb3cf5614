"""A model that makes pictures: words to context, noise to latents step by step, latents to pixels."""

from __future__ import annotations

import copy
import platform
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

import impasto
from impasto.adapters.attach import attached
from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.samplers import SAMPLERS, Denoise, Step
from impasto.diffusion.schedules import NoiseSchedule
from impasto.errors import InvalidInput, InvalidRecipe, PictureFailed
from impasto.models.specs import ModelSpec
from impasto.pictures.canvas import Canvas, prepared
from impasto.pictures.infotext import Hashes
from impasto.pictures.origin import Origin, pixels_digest
from impasto.pipeline import hashes
from impasto.pipeline.beginnings import Beginning, from_canvas, noise_for
from impasto.pipeline.calls import called, identified
from impasto.pipeline.checks import check
from impasto.pipeline.latents import Latents, pixels
from impasto.pipeline.library import Library
from impasto.pipeline.passes import Pass, passes
from impasto.pipeline.picture import Picture, Progress
from impasto.pipeline.previews import Projection, fitted
from impasto.pipeline.solvers import understood
from impasto.pipeline.steering import levels_of, network, steered, trained_levels
from impasto.pipeline.words import Words
from impasto.recipe import MAX_SEED, Draw, Recipe
from impasto.weights.checkpoint import About
from impasto.weights.load import Networks

LATENT_UPSCALERS: dict[str, tuple[str, bool]] = {
    "latent": ("bilinear", False),
    "latent-antialiased": ("bilinear", True),
    "latent-nearest": ("nearest", False),
    "latent-nearest-exact": ("nearest-exact", False),
    "latent-bicubic": ("bicubic", False),
    "latent-bicubic-antialiased": ("bicubic", True),
}
"""Modes of torch's `interpolate`, and whether they are antialiased, by the names that recipes give them."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory, ready to make pictures.

    Attributes:
        networks: its networks and tokenizer, which must not change while this is in use.
        about: its name and its own settings.
        library: adapters and embeddings that prompts may call.
        second: the model that makes second passes whose recipes name it; see `followed_by`.
    """

    networks: Networks
    about: About
    library: Library = field(default_factory=Library)
    second: Model | None = None

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
    def hashes(self) -> Hashes:
        """By what A1111 knows the files that it came from."""
        return hashes.of(self.networks)

    @cached_property
    def words(self) -> Words:
        """Its text encoder, with a memory."""
        return Words(self.networks.tokenizer, self.networks.text_encoder, self.library)

    @cached_property
    def latents(self) -> Latents:
        """Its autoencoder."""
        vae = self.spec.vae
        return Latents(self.networks.vae, vae.factor, vae.scaling_factor, self.name)

    @property
    def dtype(self) -> str:
        """Number format of the networks, as recipes name it."""
        return str(self._weight.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """That the networks are on."""
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        return next(self.networks.unet.parameters())

    @property
    def inpaints(self) -> bool:
        """Whether the UNet sees a mask and a masked picture besides the latents."""
        return self.spec.unet.in_channels == 2 * self.spec.vae.latent_channels + 1

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise levels that the UNet was trained on."""
        return trained_levels(self.spec)

    @cached_property
    @torch.inference_mode()
    def preview(self) -> Projection:
        """Latents to small pictures without the autoencoder; fitted when it is first asked for."""
        return fitted(self.latents.of, min(self.spec.resolution, 256))

    def recipe(self, prompt: str, *, tool: str | None = None, **choices: Any) -> Recipe:
        """Return the recipe for `prompt`; what is not among the `choices` (None counts as not) is the model's own.

        Without a seed, one is drawn at random. Sampler and schedule may have the names of any program, such as
        `DPM++ 2M Karras`; see `impasto.diffusion.names.find`. Adapters may be given without their digests, as
        `{"name": "ink", "weight": 0.8}`; those that the prompt calls, and embeddings, are found too.

        Args:
            prompt: what the picture is to show.
            tool: the program whose names sampler and schedule have, `a1111` for example; None for any.
            choices: fields of the recipe.

        Raises:
            InvalidRecipe: a choice that no recipe has, or a value out of range; lists every one.
            NotFound: no program knows the sampler or schedule, or there is no such adapter or embedding; lists the
                closest, and all.
        """
        own = {
            **self._own(),
            "seed": secrets.randbelow(2**32),
            "width": self.spec.resolution,
            "height": self.spec.resolution,
            **self.about.settings.plain(),
        }
        chosen = {key: value for key, value in choices.items() if value is not None}
        chosen = identified(understood(chosen, self.about.settings, tool), self.library)
        recipe = Recipe.parse({**own, "prompt": prompt, **chosen}, "The recipe", InvalidRecipe)
        return called(recipe, self.library, self.words)

    def recipes(self, prompt: str, count: int = 1, **choices: Any) -> list[Recipe]:
        """Return `count` recipes that differ in their seeds, which follow one another; see `recipe`.

        Where there is a variation, the seeds of the variation follow one another, and the recipe's own stays. Where
        noise is drawn for all pictures at once, they have one seed and are the pictures of one batch.

        Raises:
            InvalidRecipe, NotFound: as `recipe`, or there is no such number of pictures or seeds.
        """
        first = self.recipe(prompt, **choices)
        seed = first.variation.seed if first.variation else first.seed
        if not 1 <= count <= MAX_SEED - seed + 1:
            raise InvalidRecipe(f"{count} pictures from seed {seed} on cannot be made. Ask for 1 or more.")
        return [_numbered(first, k, count) for k in range(count)]

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
        second = self.second and self.second.in_float32()
        model = replace(self, networks=replace(self.networks, **parts), second=second)
        model.__dict__["digest"] = self.digest
        return model

    def followed_by(self, other: Model) -> Model:
        """Return this model with `other` to make the second passes whose recipes name it, as `hires.model`.

        Both share this one's adapters and embeddings. Latents go from one to the other as they are.

        Raises:
            InvalidInput: its latents are of another shape, or it runs in another number format or elsewhere.
        """
        mine, its = ((m.spec.vae.latent_channels, m.spec.vae.factor, m.dtype, m.device.type) for m in (self, other))
        if mine != its or other.inpaints:
            raise InvalidInput(f"{other.name} cannot take over from {self.name}: {its} instead of {mine}.")
        return replace(self, second=replace(other, library=self.library))

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
        check(self, batch)
        canvas = prepared(batch[0], {pixels_digest(image): image for image in sources})
        first, second = (model._levels(batch[0]) for model in (self, self._last(batch[0])))
        return self._steps(batch, passes(batch[0], first, second, self.spec.vae.factor), canvas)

    def _own(self) -> dict[str, str]:
        return {"model_name": self.name, "model_digest": self.digest, "dtype": self.dtype}

    def _levels(self, recipe: Recipe) -> NoiseSchedule:
        return levels_of(recipe, self.schedule)

    @torch.inference_mode()
    def _steps(self, recipes: tuple[Recipe, ...], parts: Sequence[Pass], canvas: Canvas | None) -> Iterator[Progress]:
        total, done = sum(part.steps for part in parts), 0
        beginning = from_canvas(canvas, recipes, self.latents, inpaints=self.inpaints) if canvas else None
        step: Step | None = None
        for part in parts:
            model = self if step is None else self._last(recipes[0])
            if step:
                beginning = Beginning(self._enlarged(recipes[0], step.x))
            for step in model._run(recipes, part, beginning):
                done += 1
                yield Progress(recipes, done, total, step.x, step.x0, canvas)

    def _last(self, recipe: Recipe) -> Model:
        """Return the model that finishes the pictures of `recipe`."""
        return self.second if self.second and recipe.hires and recipe.hires.model else self

    def _run(self, recipes: tuple[Recipe, ...], part: Pass, beginning: Beginning | None) -> Iterator[Step]:
        recipe, seen = recipes[0], beginning.seen if beginning else None
        adapted = partial(attached, self.networks, [self.library.used(use) for use in part.adapters])
        unet = network(self.networks.unet, self._weight.dtype, recipe.seamless, seen)
        with adapted():
            denoise: Denoise = steered(
                DENOISERS[self.spec.prediction](unet, self._levels(recipe)), recipes, part, self.words
            )
        noise = noise_for(part, recipes, self.spec.vae.latent_channels, self.spec.vae.factor)
        x = noise.initial().to(self.device)
        if beginning is None or beginning.anew:
            x = x * part.start
        else:
            x = beginning.latents + x * part.sigmas[0].item()
            denoise = beginning.kept(denoise)
        for step in _during(adapted, SAMPLERS[part.sampler](denoise, x, part.sigmas, noise, **part.options)):
            if not step.x.isfinite().all():
                raise PictureFailed(
                    f"{self.name} in {self.dtype} gave latents that are no numbers. Load it in float32."
                )
            yield step

    def _enlarged(self, recipe: Recipe, latents: Tensor) -> Tensor:
        hires, factor = recipe.hires, self.spec.vae.factor
        assert hires is not None
        if hires.upscaler in LATENT_UPSCALERS:
            size = (hires.height // factor, hires.width // factor)
            mode, antialias = LATENT_UPSCALERS[hires.upscaler]
            return F.interpolate(latents, size, mode=mode, antialias=antialias)
        images = self.decode(latents, recipe)
        large = [image.resize((hires.width, hires.height), Image.Resampling.LANCZOS) for image in images]
        return torch.cat([self._last(recipe).encode(image, recipe.vae_tile) for image in large])

    def pictures(self, progress: Progress) -> list[Picture]:
        """Return the pictures of the last step's `progress`; of an earlier one, what they are by then."""
        images = self._last(progress.recipes[0]).decode(progress.latents, progress.recipes[0])
        if progress.canvas:
            images = [progress.canvas.finished(image) for image in images]
        origin = self.origin(batch=len(images))
        return [
            Picture(image, recipe, origin, replace(self.hashes, parts=self.library.hashes(recipe)))
            for image, recipe in zip(images, progress.recipes, strict=True)
        ]

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
            PictureFailed: the pixels are not finite.
        """
        seamless, tile = (recipe.seamless, recipe.vae_tile) if recipe else (None, None)
        return self.latents.images(latents, seamless, tile)

    @torch.inference_mode()
    def encode(self, image: Image.Image, tile: int | None = None) -> Tensor:
        """Return the latents (1, C, h, w) of `image`, the most likely ones, so that they are always the same.

        Args:
            image: whose sides are multiples of the autoencoder's factor.
            tile: side in pixels of the tiles to encode it in.
        """
        return self.latents.of(pixels(image), tile)


def _during(context: Callable[[], AbstractContextManager[object]], steps: Iterator[Step]) -> Iterator[Step]:
    """Yield `steps`, each made within `context`, which is left while the caller has the step."""
    while True:
        with context():
            step = next(steps, None)
        if step is None:
            return
        yield step


def _numbered(recipe: Recipe, k: int, count: int) -> Recipe:
    """Return the recipe of picture `k`, from 0, of `count`."""
    if recipe.noise == "comfyui" and count > 1:
        return recipe.model_copy(update={"draw": Draw(count=count, row=k)})
    if recipe.variation is None:
        return recipe.model_copy(update={"seed": recipe.seed + k})
    seed = recipe.variation.seed + k
    return recipe.model_copy(update={"variation": recipe.variation.model_copy(update={"seed": seed})})


def batches(recipes: Sequence[Recipe], size: int) -> Iterator[Sequence[Recipe]]:
    """Yield `recipes` in parts of at most `size`.

    Raises:
        InvalidInput: `size` is below 1.
    """
    if size < 1:
        raise InvalidInput(f"A batch of {size} pictures is not possible. Use 1 or more.")
    for first in range(0, len(recipes), size):
        yield recipes[first : first + size]

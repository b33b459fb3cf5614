"""A model that makes pictures: words to context, noise to latents step by step, latents to pixels."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import impasto
from impasto.diffusion.denoisers import DENOISERS, Denoiser
from impasto.diffusion.guidance import Guided
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.errors import InvalidInput, InvalidRecipe, NotFound, PictureFailed
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.pictures import metadata
from impasto.pictures.origin import Commitment, Origin, Telling
from impasto.recipe import MAX_SEED, Recipe
from impasto.weights.checkpoint import About
from impasto.weights.load import Networks, load_folder

PACKAGED = Path(__file__).parents[1]
NAMES = ("glyph",)
"""Models that come with Impasto, each a folder in the package."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SHARED = ("sampler", "schedule", "steps", "guidance", "width", "height", "dtype", "noise", "model_digest", "adapters")
"""What the recipes of one batch have in common."""

REMEMBERED_TEXTS = 256


def load(
    model: str | os.PathLike[str] = "glyph", *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Model:
    """Load a model; see `impasto.load`."""
    device = find_device(device)
    dtype = torch.float32 if dtype is None and device.type == "cpu" else dtype
    loaded = load_folder(_folder(model), dtype, device)
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


def _folder(model: str | os.PathLike[str]) -> Path:
    if model in NAMES:
        path = PACKAGED / str(model)
        if not path.is_dir():
            raise NotFound(f"The model {model!r} is not in this installation. Give the path of a model's folder.")
        return path
    if not Path(model).is_dir():
        named = NotFound.among("model", os.fspath(model), NAMES)
        raise NotFound(f"{named} Or give the path of a folder with a model in it; {os.fspath(model)!r} is not one.")
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
    """

    recipes: tuple[Recipe, ...]
    step: int
    steps: int
    latents: Tensor
    x0: Tensor

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

        Raises:
            InvalidRecipe: as `recipe`, or there is no such number of pictures or seeds.
        """
        first = self.recipe(prompt, **choices)
        if not 1 <= count <= MAX_SEED - first.seed + 1:
            raise InvalidRecipe(f"{count} pictures from seed {first.seed} on cannot be made. Ask for 1 or more.")
        return [first.model_copy(update={"seed": first.seed + k}) for k in range(count)]

    def generate(self, prompt: str, *, count: int = 1, batch: int = 1, **choices: Any) -> list[Picture]:
        """Make pictures of `prompt`.

        Args:
            prompt: what they are to show.
            count: how many; picture k has the seed of the first one plus k.
            batch: how many to make at a time at most. One at a time, a picture is the same bit for bit whatever the
                count; more at a time take less time in all, and change a pixel by up to 1/255, since matrix products
                of another size are summed in another order.
            choices: any of `negative_prompt`, `seed`, `steps`, `guidance`, `sampler`, `schedule`, `width`, `height`.
                What is left out (or None) is the model's own; a seed is drawn at random. The recipe of each picture
                says what it was.

        Raises:
            InvalidRecipe: a value cannot be used.
            NotFound: no such sampler or schedule; lists those there are.
        """
        recipes = self.recipes(prompt, count, **choices)
        steps = (step for part in batches(recipes, batch) for step in self.steps(part))
        return [picture for step in steps if step.done for picture in self.pictures(step)]

    def steps(self, recipes: Recipe | Sequence[Recipe], *, any_model: bool = False) -> Iterator[Progress]:
        """Make the latents of a picture, or of a batch, step by step; `pictures` makes pictures of the last ones.

        Args:
            recipes: what to make. Those of a batch differ only in prompt, negative prompt and seed.
            any_model: also run recipes that were written for another model; the pictures' recipes then name this one.

        Raises:
            InvalidRecipe: a recipe that this model cannot run, or a batch of unlike ones.
            NotFound: no such sampler or schedule; lists those there are.
        """
        batch = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
        if any_model:
            batch = tuple(recipe.model_copy(update=self._own()) for recipe in batch)
        self._check(batch)
        return self._steps(batch)

    def _own(self) -> dict[str, str]:
        return {"model_name": self.name, "model_digest": self.digest, "dtype": self.dtype}

    @torch.inference_mode()
    def _steps(self, recipes: tuple[Recipe, ...]) -> Iterator[Progress]:
        recipe = recipes[0]
        factor = self.spec.vae.factor
        shape = (self.spec.vae.latent_channels, recipe.height // factor, recipe.width // factor)
        noise = ImageNoise([recipe.seed for recipe in recipes], shape)
        denoiser = self._denoiser()
        sigmas = SIGMAS[recipe.schedule](denoiser.schedule, recipe.steps)
        x = noise.initial().to(self.device) * start(recipe.sampler, sigmas[0].item())
        for step in SAMPLERS[recipe.sampler](self._guided(denoiser, recipes), x, sigmas, noise):
            yield Progress(recipes, step.index + 1, recipe.steps, step.x, step.x0)

    def _denoiser(self) -> Denoiser:
        spec, unet = self.spec, self.networks.unet
        dtype = DTYPES[self.dtype]
        schedule = NoiseSchedule.scaled_linear(spec.beta_start, spec.beta_end, spec.train_timesteps)

        def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            out: Tensor = unet(x.to(dtype), t, context)  # latents and solver stay in float32
            return out.float()

        return DENOISERS[spec.prediction](network, schedule)

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
        if recipe.sampler not in SAMPLERS:
            raise NotFound.among("sampler", recipe.sampler, SAMPLERS)
        if recipe.schedule not in SIGMAS:
            raise NotFound.among("schedule", recipe.schedule, SIGMAS)
        if problem := self._unrunnable(recipe):
            raise InvalidRecipe(problem)

    def _unrunnable(self, recipe: Recipe) -> str | None:
        if recipe.model_digest != self.digest:
            return (
                f"The recipe is for the model {recipe.model_name!r} ({recipe.model_digest}), "
                f"not for {self.name!r} ({self.digest}); the picture would be another one."
            )
        factor = self.spec.vae.factor
        if recipe.width % factor or recipe.height % factor:
            size = f"{recipe.width}x{recipe.height}"
            return f"{self.name} makes pictures with sides that are multiples of {factor}, not {size}."
        if recipe.dtype != self.dtype:
            return f"The recipe is in {recipe.dtype}; the model was loaded in {self.dtype}. Load it in {recipe.dtype}."
        if recipe.adapters:
            names = ", ".join(adapter.name for adapter in recipe.adapters)
            return f"The recipe uses adapters ({names}), which this model has not been given."
        if self.spec.unet.in_channels != self.spec.vae.latent_channels:
            return f"{self.name} fills in parts of a given picture; it does not make one from words alone."
        return None

    def pictures(self, progress: Progress) -> list[Picture]:
        """Return the pictures of the last step's `progress`; of an earlier one, what they are by then."""
        images = self.decode(progress.latents)
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
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Return the images of `latents` (B, C, H, W), one at a time, so that none depends on its neighbours.

        Raises:
            PictureFailed: the latents or pixels are not finite.
        """
        return [_image(self._decoded(latent)) for latent in latents.split(1)]

    def _decoded(self, latent: Tensor) -> Tensor:
        vae = self.networks.vae
        pixels = vae.decode((latent / self.spec.vae.scaling_factor).to(DTYPES[self.dtype]))[0]
        if not pixels.isfinite().all():
            raise PictureFailed(f"{self.name} in {self.dtype} gave pixels that are no numbers. Load it in float32.")
        return pixels


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

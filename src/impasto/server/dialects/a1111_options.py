"""A1111's settings and checkpoints, as far as there are any here: what a client chooses for all of its requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from impasto.errors import InvalidInput, NotFound
from impasto.pictures import infotext

NOISES = {"GPU": "a1111-nv", "NV": "a1111-nv", "CPU": "a1111-cpu"}
"""Ours for `randn_source`; NV is what a CUDA device draws, on any machine."""

FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
"""Ours for `samples_format`."""

HARMLESS = frozenset(
    {
        "enable_pnginfo", "grid_save", "live_previews_enable",
        "return_grid", "return_mask", "return_mask_composite", "samples_save", "save_images_add_number",
        "save_images_before_face_restoration", "save_to_dirs", "sd_checkpoint_cache", "sd_checkpoint_hash",
        "sd_checkpoints_limit", "sd_vae_checkpoint_cache", "send_seed", "send_size", "show_progress_every_n_steps",
        "show_progressbar",
    }
)  # fmt: skip
"""Settings that clients send and that change no picture here."""

NO_VAE = ("", "automatic", "none")


@dataclass(frozen=True)
class Checkpoint:
    """A model, as A1111's API lists them.

    Attributes:
        id: ours.
        name: what people call it.
        digest: `sha256:<64 hex>`.
    """

    id: str
    name: str
    digest: str

    @property
    def sha256(self) -> str:
        """The digest's hexadecimal digits."""
        return self.digest.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """As many of them as A1111 shows."""
        return infotext.short(self.digest)

    @property
    def title(self) -> str:
        """Name and short hash, by which clients choose."""
        return f"{self.name} [{self.short}]"

    def listed(self) -> dict[str, Any]:
        """Return the row of `/sd-models`; the file is named, its place is nobody's business."""
        return {
            "title": self.title,
            "model_name": self.name,
            "hash": self.short,
            "sha256": self.sha256,
            "filename": f"{self.name}.safetensors",
            "config": None,
        }


def checkpoint(name: str, known: Collection[Checkpoint]) -> Checkpoint:
    """Return the one of `known` that `name` means: its title, name, id, or a hash of 10 or 64 digits.

    Raises:
        NotFound: it means none of them; lists their titles.
    """
    wanted = name.strip().removesuffix(".safetensors").removesuffix(".ckpt")
    for one in known:
        if wanted in (one.title, one.name, one.id, one.sha256, one.short):
            return one
    raise NotFound.among("checkpoint", name, [one.title for one in known])


@dataclass(frozen=True)
class Options:
    """A client's settings, as far as there are any: A1111 has one set for everybody, we have one a client.

    Attributes:
        checkpoint: the model's id; None for the server's default.
        clip_skip: A1111's count, 1 is none.
        noise: where noise comes from.
        noise_delta: what is added to the seed for the noise of the steps.
        exact_steps: whether a picture that begins with another one takes all of its steps.
        format: of the pictures that are sent.
    """

    checkpoint: str | None = None
    clip_skip: int = 1
    noise: str = NOISES["GPU"]
    noise_delta: int = 0
    exact_steps: bool = False
    format: str = "png"

    def changed(self, settings: Mapping[str, Any], known: Collection[Checkpoint]) -> Options:
        """Return these with `settings`, by A1111's keys.

        Raises:
            NotFound: no such checkpoint.
            InvalidInput: a setting that is not understood here, or a value of one; lists every one.
        """
        now, problems = self, []
        for key, value in settings.items():
            try:
                now = replace(now, **_setting(key, value, known))
            except InvalidInput as problem:
                problems.append(str(problem))
        if problems:
            raise InvalidInput("\n".join(problems))
        return now

    def listed(self, current: Checkpoint) -> dict[str, Any]:
        """Return what `/options` says; every key of it can be sent back."""
        return {
            "sd_model_checkpoint": current.title,
            "sd_checkpoint_hash": current.sha256,
            "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": self.clip_skip,
            "eta_noise_seed_delta": self.noise_delta,
            "img2img_fix_steps": self.exact_steps,
            "randn_source": "NV" if self.noise == "a1111-nv" else "CPU",
            "samples_format": "jpg" if self.format == "jpeg" else self.format,
            "samples_save": True,
            "enable_pnginfo": True,
            "live_previews_enable": True,
        }


def _setting(key: str, value: Any, known: Collection[Checkpoint]) -> dict[str, Any]:
    """Return what `value` of A1111's setting `key` changes in `Options`."""
    if key == "sd_model_checkpoint":
        return {"checkpoint": checkpoint(str(value), known).id}
    if key == "CLIP_stop_at_last_layers":
        if isinstance(value, (int, float)) and 1 <= value <= 12 and value == int(value):
            return {"clip_skip": int(value)}
        raise InvalidInput(f"CLIP_stop_at_last_layers is a whole number from 1 to 12, not {value!r:.80}.")
    if key == "randn_source":
        return {"noise": _among("randn_source", str(value).upper(), NOISES)}
    if key == "samples_format":
        return {"format": _among("samples_format", str(value).lower(), FORMATS)}
    if key == "sd_vae" and str(value).lower() not in NO_VAE:
        raise InvalidInput(f"sd_vae {value!r:.80}: a model brings its own autoencoder here. Use 'Automatic'.")
    if key == "eta_noise_seed_delta":
        if isinstance(value, int) and 0 <= value < 2**32:
            return {"noise_delta": int(value)}
        raise InvalidInput(f"eta_noise_seed_delta is a whole number from 0, not {value!r:.80}.")
    if key == "img2img_fix_steps":
        return {"exact_steps": bool(value)}
    if key in HARMLESS or key == "sd_vae":
        return {}
    understood = (
        "sd_model_checkpoint, CLIP_stop_at_last_layers, randn_source, eta_noise_seed_delta, img2img_fix_steps, "
        "samples_format"
    )
    raise InvalidInput(f"The setting {key!r:.80} is not understood here. Those that are: {understood}.")


def _among(key: str, value: str, choices: Mapping[str, str]) -> str:
    if value not in choices:
        raise InvalidInput(f"{key} {value!r:.80} is not known here. Choose one of: {', '.join(choices)}.")
    return choices[value]

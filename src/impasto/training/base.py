"""The model that is taught: its networks, each loaded when it is needed and let go of after that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from impasto.diffusion.denoisers import DENOISERS, Denoiser, Network
from impasto.diffusion.schedules import NoiseSchedule
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.weights.checkpoint import Checkpoint, Component
from impasto.weights.detect import open_model
from impasto.weights.load import load_module


@dataclass(frozen=True, eq=False)
class Base:
    """A finished model.

    Attributes:
        checkpoint: its files.
        device: that its networks are to be on.
        dtype: of the networks that do not learn.
    """

    checkpoint: Checkpoint
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def open(cls, path: Path, device: str, precision: str) -> Base:
        """Open the model at `path`; see `open_model` for what can be wrong with it."""
        return cls(open_model(path), torch.device(device), getattr(torch, precision))

    @property
    def spec(self) -> ModelSpec:
        """What its networks are."""
        return self.checkpoint.spec

    def text_encoder(self, dtype: torch.dtype | None = None) -> CLIPTextEncoder:
        """Return the text encoder, frozen."""
        part = self._part("text_encoder")
        return load_module(lambda: CLIPTextEncoder(self.spec.text), part, dtype or self.dtype, self.device)

    def unet(self, dtype: torch.dtype | None = None) -> UNet:
        """Return the UNet, frozen."""
        part = self._part("unet")
        return load_module(lambda: UNet(self.spec.unet), part, dtype or self.dtype, self.device)

    def vae(self) -> AutoencoderKL:
        """Return the autoencoder, frozen, in float32: in half precision some overflow."""
        part = self._part("vae")
        return load_module(lambda: AutoencoderKL(self.spec.vae), part, torch.float32, self.device)

    def _part(self, name: str) -> Component:
        """Return a component whose weights leave memory with its network."""
        part = self.checkpoint.components[name]
        return replace(part, file=part.file.mapped_anew())

    @property
    def step(self) -> int:
        """What the sides of pictures have to be multiples of."""
        return self.spec.vae.factor * self.spec.unet.factor

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels that the UNet was trained on."""
        return schedule_of(self.spec)

    def denoiser(self, network: Network) -> Denoiser:
        """Return what `network` means by what it predicts."""
        return denoiser_of(self.spec, network)


def schedule_of(spec: ModelSpec) -> NoiseSchedule:
    """Return the noise levels that a model of `spec` is trained on."""
    return NoiseSchedule.scaled_linear(spec.beta_start, spec.beta_end, spec.train_timesteps)


def denoiser_of(spec: ModelSpec, network: Network) -> Denoiser:
    """Return what `network` means by what a model of `spec` predicts."""
    return DENOISERS[spec.prediction](network, schedule_of(spec))

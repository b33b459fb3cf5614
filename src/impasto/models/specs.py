"""The table of models: a model is a row here and a layout of its files in `weights/layouts/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from impasto.models.clip import CLIPTextConfig
from impasto.models.unet import UNetConfig
from impasto.models.vae import VAEConfig
from impasto.schema import Frozen


class ModelSpec(Frozen):
    """Everything about a model but its weights."""

    name: str = Field(description="what people type")
    unet: UNetConfig = Field(description="the network that predicts")
    vae: VAEConfig = Field(description="the autoencoder between pictures and latents")
    text: CLIPTextConfig = Field(description="the text encoder")
    tokenizer: str = Field(description="'clip', or the name of a merges file in the model's folder")
    prediction: Literal["epsilon", "v_prediction"] = Field(description="what the UNet predicts")
    train_timesteps: int = Field(default=1000, ge=1, description="steps of the noise schedule it was trained on")
    beta_start: float = Field(default=0.00085, gt=0, lt=1, description="first beta of the scaled-linear schedule")
    beta_end: float = Field(default=0.012, gt=0, lt=1, description="last beta of the scaled-linear schedule")
    resolution: int = Field(ge=1, description="side of the pictures it was trained on, in pixels")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a picture at the model's own resolution."""
        side = self.resolution // self.vae.factor
        return (self.vae.latent_channels, side, side)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.unet.cross_attention_dim != self.text.hidden_size:
            raise ValueError(
                f"the UNet attends to width {self.unet.cross_attention_dim}, "
                f"the text encoder gives {self.text.hidden_size}"
            )
        if self.unet.out_channels != self.vae.latent_channels:
            raise ValueError(
                f"the UNet gives {self.unet.out_channels} channels, the autoencoder takes {self.vae.latent_channels}"
            )
        if self.resolution % (step := self.vae.factor * self.unet.factor):
            raise ValueError(f"resolution {self.resolution} must be a multiple of {step}")
        return self


_SD_1_4 = ModelSpec(
    name="sd-1.4",
    unet=UNetConfig(),
    vae=VAEConfig(),
    text=CLIPTextConfig(),
    tokenizer="clip",
    prediction="epsilon",
    resolution=512,
)

_GLYPH = ModelSpec(
    name="glyph",
    unet=UNetConfig(
        in_channels=16,
        out_channels=16,
        block_out_channels=(144, 288),
        layers_per_block=1,
        attention=(True, True),
        heads=(3, 6),
        cross_attention_dim=192,
        norm_num_groups=16,
    ),
    vae=VAEConfig(
        block_out_channels=(32, 48, 64, 112, 160),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=16,
        scaling_factor=1.0,
    ),
    text=CLIPTextConfig(
        vocab_size=4096,
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
    ),
    tokenizer="merges.txt",
    prediction="v_prediction",
    resolution=128,
)

SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _SD_1_4,
        _SD_1_4.model_copy(update={"name": "sd-1.4-inpainting", "unet": UNetConfig(in_channels=9)}),
        _GLYPH,
    )
}

"""What Stable Diffusion's own files call the parts of our networks, and what the files of a generation share.

Sources: CompVis/stable-diffusion (`UNetModel`, `AutoencoderKL`, `FrozenCLIPEmbedder`) and Stability-AI/stablediffusion
(`FrozenOpenCLIPEmbedder`, which leaves out the last layer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from impasto.models.clip import CLIPTextConfig
from impasto.models.tokenizer import EOS
from impasto.models.unet import UNetConfig
from impasto.models.vae import VAEConfig
from impasto.weights.layouts.names import NameTable, Row, within

UNET_RESNET = (
    Row("norm1", "in_layers.0"),
    Row("conv1", "in_layers.2"),
    Row("time_emb_proj", "emb_layers.1"),
    Row("norm2", "out_layers.0"),
    Row("conv2", "out_layers.3"),
    Row("conv_shortcut", "skip_connection"),
)

UNET_ENDS = (
    Row("conv_in", "input_blocks.0.0"),
    Row("time_embedding.linear_1", "time_embed.0"),
    Row("time_embedding.linear_2", "time_embed.2"),
    *within(UNET_RESNET, "mid_block.resnets.0.", "middle_block.0."),
    Row("mid_block.attentions.0", "middle_block.1"),
    *within(UNET_RESNET, "mid_block.resnets.1.", "middle_block.2."),
    Row("conv_norm_out", "out.0"),
    Row("conv_out", "out.2"),
)

VAE_RESNET = (
    Row("norm1", "norm1"),
    Row("conv1", "conv1"),
    Row("norm2", "norm2"),
    Row("conv2", "conv2"),
    Row("conv_shortcut", "nin_shortcut"),
)

VAE_MID = (
    *within(VAE_RESNET, "mid_block.resnets.0.", "mid.block_1."),
    Row("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
    # 1x1 convolutions there, linear layers here.
    Row("mid_block.attentions.0.to_q.weight", "mid.attn_1.q.weight", ones=2),
    Row("mid_block.attentions.0.to_q", "mid.attn_1.q"),
    Row("mid_block.attentions.0.to_k.weight", "mid.attn_1.k.weight", ones=2),
    Row("mid_block.attentions.0.to_k", "mid.attn_1.k"),
    Row("mid_block.attentions.0.to_v.weight", "mid.attn_1.v.weight", ones=2),
    Row("mid_block.attentions.0.to_v", "mid.attn_1.v"),
    Row("mid_block.attentions.0.to_out.0.weight", "mid.attn_1.proj_out.weight", ones=2),
    Row("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
    *within(VAE_RESNET, "mid_block.resnets.1.", "mid.block_2."),
    Row("conv_in", "conv_in"),
    Row("conv_norm_out", "norm_out"),
    Row("conv_out", "conv_out"),
)

CLIP = tuple(Row(name, name) for name in ("embeddings", "encoder", "final_layer_norm"))

OPEN_CLIP_ENDS = (
    Row("embeddings.token_embedding", "token_embedding"),
    Row("embeddings.position_embedding.weight", "positional_embedding"),
    Row("final_layer_norm", "ln_final"),
)

OPEN_CLIP_LAYER = (
    Row("layer_norm1", "ln_1"),
    Row(tuple(f"self_attn.{x}_proj.weight" for x in "qkv"), "attn.in_proj_weight"),
    Row(tuple(f"self_attn.{x}_proj.bias" for x in "qkv"), "attn.in_proj_bias"),
    Row("self_attn.out_proj", "attn.out_proj"),
    Row("layer_norm2", "ln_2"),
    Row("mlp.fc1", "mlp.c_fc"),
    Row("mlp.fc2", "mlp.c_proj"),
)


def unet_table(config: UNetConfig) -> NameTable:
    """Return the names of the UNet, which numbers its layers and its changes of size through."""
    return NameTable([*UNET_ENDS, *_going_down(config), *_going_up(config)])


def _going_down(config: UNetConfig) -> Iterator[Row]:
    number = 1
    for level, attends in enumerate(config.attention):
        block = f"down_blocks.{level}"
        for layer in range(config.layers_per_block):
            yield from within(UNET_RESNET, f"{block}.resnets.{layer}.", f"input_blocks.{number}.0.")
            if attends:
                yield Row(f"{block}.attentions.{layer}", f"input_blocks.{number}.1")
            number += 1
        if level < len(config.attention) - 1:
            yield Row(f"{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op")
            number += 1


def _going_up(config: UNetConfig) -> Iterator[Row]:
    number = 0
    for place, attends in enumerate(reversed(config.attention)):
        block = f"up_blocks.{place}"
        for layer in range(config.layers_per_block + 1):
            yield from within(UNET_RESNET, f"{block}.resnets.{layer}.", f"output_blocks.{number}.0.")
            if attends:
                yield Row(f"{block}.attentions.{layer}", f"output_blocks.{number}.1")
            number += 1
        if place < len(config.attention) - 1:
            yield Row(f"{block}.upsamplers.0.conv", f"output_blocks.{number - 1}.{2 if attends else 1}.conv")


def vae_table(config: VAEConfig) -> NameTable:
    """Return the names of the autoencoder, whose decoder counts its levels from the finest."""
    rows = [Row("quant_conv", "quant_conv"), Row("post_quant_conv", "post_quant_conv")]
    for half in ("encoder.", "decoder."):
        rows += within(VAE_MID, half, half)
    for level in range(levels := len(config.block_out_channels)):
        down, up = f"encoder.down_blocks.{level}.", f"decoder.up_blocks.{levels - 1 - level}."
        for layer in range(config.layers_per_block):
            rows += within(VAE_RESNET, f"{down}resnets.{layer}.", f"encoder.down.{level}.block.{layer}.")
        for layer in range(config.layers_per_block + 1):
            rows += within(VAE_RESNET, f"{up}resnets.{layer}.", f"decoder.up.{level}.block.{layer}.")
        if level < levels - 1:
            rows.append(Row(f"{down}downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"))
        if level:
            rows.append(Row(f"{up}upsamplers.0.conv", f"decoder.up.{level}.upsample.conv"))
    return NameTable(rows)


def clip_table(_: CLIPTextConfig) -> NameTable:
    """Return the names of OpenAI's text encoder, which are transformers' and ours."""
    return NameTable(CLIP)


def open_clip_table(config: CLIPTextConfig) -> NameTable:
    """Return the names of OpenCLIP's text encoder, in which queries, keys and values are one tensor."""
    rows = list(OPEN_CLIP_ENDS)
    for layer in range(config.num_hidden_layers):
        rows += within(OPEN_CLIP_LAYER, f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}.")
    return NameTable(rows)


@dataclass(frozen=True)
class Family:
    """What the files of one generation of Stable Diffusion have in common.

    Attributes:
        architecture: its id in ModelSpec, without what is predicted.
        text: prefix of the text encoder's tensors.
        text_table: their names after the prefix.
        tokens: name, after the prefix, of the token vectors; a file with it is of this family.
        positions: name of the position vectors.
        layer: pattern of a layer's first feed-forward weight.
        left_out: how many of the last layers nobody reads.
        activation: of the text encoder.
        heads: (channels of a level) -> attention heads of the UNet there.
        pad_token: of the tokenizer.
    """

    architecture: str
    text: str
    text_table: Callable[[CLIPTextConfig], NameTable]
    tokens: str
    positions: str
    layer: str
    left_out: int
    activation: str
    heads: Callable[[int], int]
    pad_token: str


FAMILIES: dict[str, Family] = {
    "sd-1": Family(
        architecture="stable-diffusion-v1",
        text="cond_stage_model.transformer.text_model.",
        text_table=clip_table,
        tokens="embeddings.token_embedding.weight",
        positions="embeddings.position_embedding.weight",
        layer="encoder.layers.{}.mlp.fc1.weight",
        left_out=0,
        activation="quick_gelu",
        heads=lambda _: 8,
        pad_token=EOS,
    ),
    "sd-2": Family(
        architecture="stable-diffusion-v2",
        text="cond_stage_model.model.",
        text_table=open_clip_table,
        tokens="token_embedding.weight",
        positions="positional_embedding",
        layer="transformer.resblocks.{}.mlp.c_fc.weight",
        left_out=1,
        activation="gelu",
        heads=lambda channels: channels // 64,
        pad_token="!",
    ),
}

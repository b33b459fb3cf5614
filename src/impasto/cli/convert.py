"""`impasto convert`: a model in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text


def convert(
    source: str,
    target: Path,
    /,
    *,
    to: Annotated[Literal["ldm", "diffusers"], Parameter(alias="-t")],
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    ema: bool = False,
    vae: str | None = None,
    variant: str | None = None,
    prediction: Literal["epsilon", "v_prediction"] | None = None,
    prune: bool = False,
) -> None:
    """Write a model in another layout: one file as Stable Diffusion was released (ldm), or a folder (diffusers).

    Pickled files (.ckpt, .pt) are read without running anything in them. Nothing that is already there is overwritten.

    Args:
        source: file or folder of the model, or its name.
        target: file (ldm) or folder (diffusers) to write.
        to: the layout to write.
        dtype: number format of the weights; left out, as they are.
        ema: take the moving average of the weights, from a file that has both.
        vae: file, folder or name of an autoencoder to put in the place of the model's own.
        variant: which weights of a folder to take, such as fp16.
        prediction: what the model predicts, where the file does not say it or says it wrongly.
        prune: leave out what is no part of the model, such as moving averages.
    """
    import torch

    from impasto.weights.convert import convert as convert_model
    from impasto.weights.detect import Choices
    from impasto.weights.home import NAMES, PACKAGED
    from impasto.weights.store import find

    model = find(source, "model", {name: PACKAGED / name for name in NAMES})
    console = Console(stderr=True)
    choices = Choices(ema, prediction, variant, find(vae, "vae") if vae else None)
    with console.status(f"Converting {source} ..."):
        result = convert_model(
            model, target, to, dtype=getattr(torch, dtype) if dtype else None, choices=choices, prune=prune
        )
    console.print(Text(f"{result.about.name} {result.digest}"), soft_wrap=True)
    print(target)

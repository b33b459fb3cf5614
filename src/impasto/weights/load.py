"""Files to networks and back: strict, and in memory once."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from impasto.errors import InvalidInput, KeyMismatch, NotFound
from impasto.files import write_text
from impasto.models.clip import CLIPTextEncoder
from impasto.models.precision import widened
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.receipt import Receipt
from impasto.weights import files
from impasto.weights.checkpoint import About, Checkpoint, Component, identity
from impasto.weights.detect import Choices, open_model
from impasto.weights.layouts import diffusers, ldm

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Networks:
    """The parts of a model in memory."""

    spec: ModelSpec
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextEncoder
    unet: UNet
    vae: AutoencoderKL

    @property
    def digest(self) -> str:
        """Identity of the model as it is in memory now."""
        return identity(self.spec, self.tokenizer, _component_digests(_tensors(self)))


@dataclass(frozen=True, eq=False)
class LoadedModel(Networks):
    """The parts of a model in memory, and the files they came from."""

    checkpoint: Checkpoint

    @property
    def digest(self) -> str:
        """Identity of the model in the files, whatever its networks were converted to."""
        return self.checkpoint.digest


def load_model(
    path: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", choices: Choices | None = None
) -> LoadedModel:
    """Load the model at `path`, a folder or a single file, in evaluation mode and without gradients.

    Args:
        path: of the folder or file; what it is is decided by its content.
        dtype: of the networks; by itself as in the files, which then stay mapped instead of being read.
        device: that the networks are to be on.
        choices: what to read, where the files leave a choice.

    Raises:
        NotFound: there is no such folder or file, or a file that should be in it is not.
        InvalidInput: a file in it that should be JSON is not, or not of the right content.
        WeightsError: its weights or configurations cannot be used.
    """
    return build(open_model(path, choices), dtype, device)


def load_folder(path: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the model in the diffusers folder at `path`; see `load_model`."""
    if not diffusers.is_folder(path):
        raise NotFound(f"There is no model in {path}: a folder with {diffusers.INDEX} is needed.")
    return load_model(path, dtype, device)


def build(checkpoint: Checkpoint, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> LoadedModel:
    """Build the networks of `checkpoint`; see `load_model`."""
    spec, parts = checkpoint.spec, checkpoint.components
    text_encoder = _empty(lambda: CLIPTextEncoder(spec.text))
    unet = _empty(lambda: UNet(spec.unet))
    vae = _empty(lambda: AutoencoderKL(spec.vae))
    modules = {"text_encoder": text_encoder, "unet": unet, "vae": vae}
    for path in dict.fromkeys(component.file.path for component in parts.values()):
        _check(path, [(modules[name], part) for name, part in parts.items() if part.file.path == path])
    for name, module in modules.items():
        _fill(module, parts[name], dtype, device)
    return LoadedModel(spec, checkpoint.tokenizer, text_encoder, unet, vae, checkpoint)


def load_module(
    make: Callable[[], M], component: Component, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> M:
    """Make a network without memory of its own and give it the tensors of `component`.

    Raises:
        KeyMismatch: the tensors are not exactly the network's.
    """
    module = _empty(make)
    _check(component.file.path, [(module, component)])
    return _fill(module, component, dtype, device)


def _empty(make: Callable[[], M]) -> M:
    with torch.device("meta"), _Unfilled():
        return make()


def _fill(module: M, component: Component, dtype: torch.dtype | None, device: torch.device | str) -> M:
    tensors = {name: _tensor(component.file, theirs, dtype, device) for name, theirs in component.names.items()}
    module.load_state_dict(tensors, strict=True, assign=True)
    return widened(module).eval().requires_grad_(False)


class _Unfilled(TorchFunctionMode):
    """Leaves out the random first values that networks give themselves.

    On the meta device there is nothing to fill, and torch's way of not doing so imports its compiler, which takes
    seconds and 70 MB.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        values = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return values["tensor"] if "tensor" in values else args[0]
        return func(*args, **values)


def _check(path: Path, parts: Iterable[tuple[nn.Module, Component]]) -> None:
    """Compare what the file at `path` holds with all networks that it is to fill."""
    unknown, missing, misshapen = [], [], []
    for module, component in parts:
        entries = {name: component.file.entries[theirs] for name, theirs in component.names.items()}
        wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        unknown += [component.names[name] for name in entries if name not in wanted]
        missing += [component.called(name) for name in wanted if name not in entries]
        misshapen += [
            f"{component.names[name]}: {entries[name].shape} for {shape}"
            for name, shape in wanted.items()
            if name in entries and entries[name].shape != shape
        ]
    if unknown or missing or misshapen:
        raise KeyMismatch(str(path), unknown, missing, misshapen)


def _tensor(file: files.TensorFile, name: str, dtype: torch.dtype | None, device: torch.device | str) -> torch.Tensor:
    dtype = dtype or file.entries[name].dtype
    # What is converted is read and let go of tensor by tensor: pages of a mapping would stay.
    tensor = file[name] if dtype == file.entries[name].dtype else file.read(name)
    return tensor.to(device=device, dtype=dtype)


def save_folder(
    path: Path,
    networks: Networks,
    about: About,
    *,
    dtype: torch.dtype | None = None,
    receipt: Receipt | None = None,
    notices: Mapping[str, str] | None = None,
) -> str:
    """Write a model as a diffusers folder, whole or not at all, and return its digest.

    Args:
        path: of the folder; a model that is already there is replaced.
        networks: what to write.
        about: name and settings.
        dtype: to write the weights in; by itself as they are.
        receipt: what the model was made from; its `identity` and `components` are filled in.
        notices: texts to lie next to the weights (`ATTRIBUTION`, `LICENSE`), by file name.

    Raises:
        InvalidInput: something that is not a model is at `path`.
    """
    if path.exists() and not diffusers.is_folder(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidInput(f"{path} is not a model; it is not replaced by one. Choose another folder.")
    tensors = _tensors(networks, dtype)
    components = _component_digests(tensors)
    digest = identity(networks.spec, networks.tokenizer, components)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        diffusers.write(temporary, about, networks.spec, networks.tokenizer, tensors)
        if receipt:
            filled = _filled(receipt, digest, components)
            write_text(temporary / diffusers.RECEIPT, filled.canonical().decode("utf-8") + "\n")
        for name, text in (notices or {}).items():
            write_text(temporary / name, text)
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def save_file(
    path: Path,
    networks: Networks,
    about: About,
    *,
    dtype: torch.dtype | None = None,
    receipt: Receipt | None = None,
    extras: Mapping[str, torch.Tensor] | None = None,
    notices: Mapping[str, str] | None = None,
) -> str:
    """Write a model as one safetensors file in the layout of Stable Diffusion's own, and return its digest.

    Args:
        path: of the file; replaced whole if it is there.
        networks: what to write.
        about: name and settings.
        dtype: to write the weights in; by itself as they are.
        receipt: what the model was made from; its `identity` and `components` are filled in.
        extras: further tensors to write as they are, such as those that reading such a file left out.
        notices: texts that go with the weights (`ATTRIBUTION`, `LICENSE`), by file name; here in the file's header.

    Raises:
        InvalidInput: a folder is at `path`, or a tokenizer that the file cannot carry.
    """
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; the model is one file. Write to {path / 'model.safetensors'}.")
    parts = _tensors(networks, dtype)
    components = _component_digests(parts)
    digest = identity(networks.spec, networks.tokenizer, components)
    filled = receipt and _filled(receipt, digest, components)
    metadata = ldm.metadata(about, networks.spec, networks.tokenizer, filled, notices)
    files.save(path, {**ldm.tensors(networks.spec, parts), **(extras or {})}, metadata)
    return digest


def _filled(receipt: Receipt, digest: str, components: Mapping[str, str]) -> Receipt:
    return Receipt.parse({**receipt.plain(), "identity": digest, "components": components}, "The receipt")


def _tensors(networks: Networks, dtype: torch.dtype | None = None) -> dict[str, dict[str, torch.Tensor]]:
    states = {name: getattr(networks, name).state_dict() for name in diffusers.COMPONENTS}
    return {
        name: {key: tensor.detach().to("cpu", dtype or tensor.dtype) for key, tensor in state.items()}
        for name, state in states.items()
    }


def _component_digests(tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, str]:
    return {name: files.tensors_digest(part) for name, part in tensors.items()}


def _replace(new: Path, path: Path) -> None:
    old = new.with_suffix(".old")
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)

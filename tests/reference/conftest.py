"""Peers that cannot be imported as they come."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def k_diffusion() -> SimpleNamespace:
    """k-diffusion's `sampling` and `external`, without its training code.

    The package imports all of itself, and with it torchvision, wandb and more that neither module uses: an empty
    package with the same path takes its place, and an empty torchvision stands in while `k_diffusion.utils` is read.
    """
    spec = importlib.util.find_spec("k_diffusion")
    assert spec is not None, "k-diffusion is missing: `pip install --no-deps k-diffusion` and what it imports"
    package = ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations or ())
    functional = ModuleType("torchvision.transforms.functional")
    transforms = ModuleType("torchvision.transforms")
    vars(transforms)["functional"] = functional
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package.__name__, package)
        for module in (ModuleType("torchvision"), transforms, functional):
            patch.setitem(sys.modules, module.__name__, module)
        return SimpleNamespace(
            sampling=importlib.import_module("k_diffusion.sampling"),
            external=importlib.import_module("k_diffusion.external"),
        )

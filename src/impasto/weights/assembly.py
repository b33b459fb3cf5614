"""A model of which one network came from elsewhere: what its receipt says, so that nothing of what it is gets lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from impasto import __version__
from impasto.models.specs import ModelSpec
from impasto.models.vae import VAEConfig
from impasto.receipt import CorpusUse, Parent, Receipt
from impasto.schema import read_json
from impasto.weights.checkpoint import Checkpoint, Component, Substitute
from impasto.weights.layouts import diffusers


def with_vae(model: Checkpoint, path: Path, config: VAEConfig, component: Component) -> Checkpoint:
    """Return `model` with the autoencoder at `path`, opened, and with a receipt that names both.

    Reads all weights, for the digests, once for as long as the files stay as they are. An autoencoder that is the
    model's own changes nothing.
    """
    # The latents are the model's own, whatever the autoencoder was saved with.
    config = config.model_copy(update={"scaling_factor": model.spec.vae.scaling_factor})
    spec = ModelSpec.parse({**dict(model.spec), "vae": config}, f"{model.spec.name} with {path}")
    components = {**model.components, "vae": component}
    whole = dataclasses.replace(
        model, spec=spec, components=components, receipt=None, substitute=Substitute(path, model)
    )
    if whole.digest == model.digest:
        return model
    return dataclasses.replace(whole, receipt=_receipt(whole, path))


def _receipt(whole: Checkpoint, path: Path) -> Receipt:
    assert whole.substitute is not None
    model, digest = whole.substitute.model, whole.component_digests["vae"]
    own = _receipt_of(path, digest)
    parents = (
        Parent(name=model.about.name, identity=model.digest, role="model"),
        Parent(name=own.name if own else whole.substitute.name, identity=digest, role="autoencoder"),
    )
    licences = {receipt.licence if receipt else None for receipt in (model.receipt, own)}
    return Receipt(
        kind="assembly",
        name=model.about.name,
        identity=whole.digest,
        components=whole.component_digests,
        parents=parents,
        corpora=_learned(model.receipt, own),
        code=f"impasto {__version__}",
        licence=None if None in licences else " AND ".join(sorted(str(licence) for licence in licences)),
    )


def _learned(*receipts: Receipt | None) -> tuple[CorpusUse, ...]:
    uses = [use for receipt in receipts if receipt for use in receipt.corpora]
    return tuple(use for place, use in enumerate(uses) if use not in uses[:place])


def _receipt_of(path: Path, digest: str) -> Receipt | None:
    """Return the receipt that lies with the autoencoder at `path`, if it is of that one."""
    for place in (path / "vae" / diffusers.RECEIPT, path / diffusers.RECEIPT):
        if place.is_file():
            found = Receipt.parse(read_json(place), str(place))
            if digest in (found.identity, *found.components.values()):
                return found
    return None

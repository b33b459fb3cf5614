"""A tiny model with everything that a finished one has: receipt, makers, the manifest of its corpus."""

from __future__ import annotations

import json
from pathlib import Path

from impasto.corpus import store
from impasto.corpus.attribution import attribution
from impasto.corpus.policy import Policy
from impasto.corpus.record import Licence, Maker, Row, Source
from impasto.corpus.store import Corpus, Manifest, refused_root
from impasto.receipt import CorpusUse, Parent, Receipt
from impasto.schema import bytes_digest
from impasto.weights import files
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.corpus.icons import POLICY, row
from tests.weights import tiny

PICTURE = row().image


def rows() -> list[Row]:
    made = [("fox", "Ada", "MIT", "train"), ("owl", "Ada", "MIT", "train"), ("cat", "Bo", "CC-BY-4.0", "train")]
    return [
        row(
            source=Source(collection="noto", version="p@1", key=key, file="noto.json"),
            maker=Maker(name=maker),
            licence=Licence(spdx=licence, evidence="p@1"),
            concept=key,
            image=PICTURE.model_copy(update={"id": bytes_digest(key.encode())}),
            split=split,
        )
        for key, maker, licence, split in [*made, ("dog", "Bo", "MIT", "held-out")]
    ]


def corpus(folder: Path) -> Corpus:
    """Write the manifest of a corpus of four rows, without images, and return it."""
    (folder.parent / "policy.toml").write_text(POLICY)
    policy = Policy.read_toml(folder.parent / "policy.toml")
    fields = {"root": "", "refused_root": refused_root([]), "rows": 4, "refused": 0, "images_bytes": 0, "size": 32}
    manifest = Manifest(name="works", policy=policy.digest, plan="", builder={}, **fields)
    manifest = manifest.model_copy(update={"root": Corpus(folder, manifest, policy, rows()).root})
    store.write(folder, manifest, {"policy.toml": POLICY}, rows(), [], [])
    for images in (folder / "images").iterdir():
        images.unlink()
    (folder / "images").rmdir()
    return Corpus.open(folder)


def finished(folder: Path) -> Path:
    """Write the model into `folder`, and return that."""
    works = corpus(folder.parent / "works")
    trained = works.subset(lambda one: one.split == "train")
    use = CorpusUse(root=works.root, selection=trained.root, rows=3, policy=works.manifest.policy)
    networks = tiny.networks()
    vae = files.tensors_digest(networks.vae.state_dict())
    own = Receipt(kind="base", name="tiny-vae", components={"vae": vae}, corpora=(use,), code="impasto 0")
    receipt = Receipt(
        kind="base",
        name="tiny",
        parents=(Parent(name="tiny-vae", identity=vae, role="autoencoder"),),
        corpora=(use,),
        code="impasto 0",
        licence="Apache-2.0",
    )
    notices = {
        "ATTRIBUTION": attribution("works", trained.root, trained.rows),
        "vae/receipt.json": json.dumps(own.plain()),
    }
    save_folder(folder, networks, About(name="tiny", settings=Settings(steps=2)), receipt=receipt, notices=notices)
    works.folder.rename(folder / "corpus")
    return folder

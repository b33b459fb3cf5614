"""What a credential says, how large it is, and that it tells no more than the file does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from impasto.errors import CredentialError, InvalidInput, NotFound
from impasto.pictures import formats, metadata
from impasto.pictures.origin import pixels_digest
from impasto.recipe import FromPicture
from impasto.rights import credentials, identity
from impasto.rights.credentials import CREATED, EDITED, Made
from impasto.rights.identity import Identity
from tests.rights.conftest import DIGEST, RECEIPT, ROOT, image, recipe

Signed = Callable[..., Path]
ENDINGS = ("png", "jpg", "webp")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_made_picture(signed: Signed, maker: Identity, tmp_path: Path, ending: str) -> None:
    path = signed(f"fox.{ending}")
    found = credentials.read(path, maker.root)
    assert found
    assert found.store["validation_state"] == "Trusted"
    assert [(a["action"], a["digitalSourceType"]) for a in found.actions] == [("c2pa.created", CREATED)]
    said = found.generation
    assert said
    text = formats.texts(path)[formats.INFOTEXT_KEY]
    assert said.recipe == recipe().digest
    assert said.infotext == credentials.bytes_digest(text.encode())
    assert (said.model, said.receipts, said.corpora, said.seal) == (DIGEST, (RECEIPT.digest,), (ROOT,), None)
    assert said.pixels == (None if ending == "jpg" else pixels_digest(image()))
    assert metadata.read(path).recipe == recipe()
    metadata.save(image(), tmp_path / f"bare.{ending}", recipe())
    with Image.open(path) as now, Image.open(tmp_path / f"bare.{ending}") as before:
        assert pixels_digest(now) == pixels_digest(before)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("start", [None, FromPicture(image=DIGEST, strength=0.5)], ids=["made", "edited"])
def test_it_is_small(tmp_path: Path, maker: Identity, ending: str, start: FromPicture | None) -> None:
    path = tmp_path / f"fox.{ending}"
    metadata.save(image(), path, recipe(start=start))
    before = path.stat().st_size
    credentials.sign(path, Made(image(), recipe(start=start), [RECEIPT]), maker)
    assert 2000 < path.stat().st_size - before <= 4096


def test_an_edited_picture_names_its_source(signed: Signed, maker: Identity) -> None:
    source = signed("source.png")
    begun = recipe(start=FromPicture(image=pixels_digest(image()), strength=0.5))
    for name, sources in (("of file.png", [source]), ("of pixels.png", [image()])):
        found = credentials.read(signed(name, recipe=begun, sources=sources), maker.root)
        assert found
        assert found.store["validation_state"] == "Trusted"
        assert [action["action"] for action in found.actions] == ["c2pa.opened", "c2pa.edited"]
        assert found.actions[1]["digitalSourceType"] == EDITED
        assert [one["relationship"] for one in found.sources] == ["parentOf"]
        assert bool(found.sources[0].get("active_manifest")) == (name == "of file.png")


def test_an_enlarged_picture_is_an_edit_though_its_recipe_begins_with_nothing(signed: Signed) -> None:
    found = credentials.read(signed("large.png", sources=[signed("small.png")], edited=True))
    assert found
    assert found.actions[-1]["digitalSourceType"] == EDITED


def test_a_second_source_is_a_component(signed: Signed) -> None:
    begun = recipe(start=FromPicture(image=DIGEST, strength=0.5))
    sources = [signed("a.png"), signed("b.jpg")]
    found = credentials.read(signed("both.png", recipe=begun, sources=sources))
    assert found
    assert sorted(one["relationship"] for one in found.sources) == ["componentOf", "parentOf"]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_source_that_is_no_picture_does_not_lose_the_picture(signed: Signed, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source.png").write_bytes(content)
    begun = recipe(start=FromPicture(image=DIGEST, strength=0.5))
    found = credentials.read(signed("fox.png", recipe=begun, sources=[tmp_path / "source.png"]))
    assert found
    assert len(found.sources) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_private_picture_shows_a_seal_and_nothing_else(signed: Signed, maker: Identity, ending: str) -> None:
    found = credentials.read(path := signed(f"fox.{ending}", "private"), maker.root)
    assert found
    assert found.generation
    assert found.generation.seal == formats.texts(path)["impasto-seal"]
    assert found.generation.stated().keys() - {"pixels"} == {"format", "seal"}
    assert found.store["validation_state"] == "Trusted"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("telling", ["private", "none"])
def test_nothing_leaks(signed: Signed, maker: Identity, ending: str, telling: str) -> None:
    source = signed(f"source.{ending}")
    begun = recipe(start=FromPicture(image=DIGEST, strength=0.5))
    path = signed(f"fox.{ending}", telling, recipe=begun, sources=[source])
    found, of_source = credentials.read(path), credentials.read(source)
    assert found
    assert of_source
    store, content = json.dumps(found.store), path.read_bytes()
    secrets = ["secret", "tiny", DIGEST, ROOT, RECEIPT.digest, begun.digest, recipe().digest, of_source.label]
    if telling == "none":
        secrets += [maker.name, str(maker.chain[0].serial_number)]
    for secret in secrets:
        assert secret not in store
        assert secret.encode() not in content
        assert bytes.fromhex(secret.removeprefix("sha256:")) not in content if secret.startswith("sha256") else True


def test_two_pictures_that_tell_nothing_cannot_be_told_to_have_one_maker(signed: Signed) -> None:
    stores = [credentials.read(signed(name, "none")) for name in ("a.png", "b.png")]
    numbers = [store.manifest["signature_info"]["cert_serial_number"] for store in stores if store]
    assert len(set(numbers)) == 2
    assert [store.generation.stated().keys() for store in stores if store and store.generation] == [
        {"format", "pixels"}
    ] * 2


def test_the_file_is_whole_or_as_it_was(maker: Identity, tmp_path: Path) -> None:
    metadata.save(image(), tmp_path / "fox.png", recipe())
    before = (tmp_path / "fox.png").read_bytes()
    broken = identity.Identity(identity.make().certificates, maker.key, "es256")
    with pytest.raises(CredentialError, match="cannot sign"):
        credentials.sign(tmp_path / "fox.png", Made(image(), recipe()), broken)
    assert (tmp_path / "fox.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fox.png"]


def test_no_other_format(tmp_path: Path, maker: Identity) -> None:
    image().save(tmp_path / "fox.gif")
    with pytest.raises(InvalidInput, match="formats pictures are saved in"):
        credentials.sign(tmp_path / "fox.gif", Made(image(), recipe()), maker)


def test_reading_what_has_none(tmp_path: Path) -> None:
    image().save(tmp_path / "bare.png")
    assert credentials.read(tmp_path / "bare.png") is None
    with pytest.raises(NotFound):
        credentials.read(tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(CredentialError, match="cannot be read"):
        credentials.read(tmp_path / "text.png")

"""Content credentials: a signed statement in a picture's file of what made it and what it was made from.

C2PA Technical Specification 2.4, by c2pa-python. Nothing is asked of a network: there is no time stamp, and neither
manifests nor revocations are fetched. A credential tells no more than the file's own texts do, and of those only
digests.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from PIL import Image

import impasto
from impasto.errors import CredentialError, InvalidInput, NotFound
from impasto.files import write_bytes
from impasto.pictures import formats
from impasto.pictures.origin import pixels_digest
from impasto.receipt import Parent, Receipt
from impasto.recipe import Recipe
from impasto.rights import identity as identities
from impasto.rights.binding import ALGORITHM, code_of, written
from impasto.rights.identity import Identity
from impasto.schema import Digest, Frozen, bytes_digest

if TYPE_CHECKING:
    pass

MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

ASSERTION = "org.impasto.generation"
"""Label of our own assertion, whose content is a `Generation`."""

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
CREATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
EDITED = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"

OFFLINE: Mapping[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
    "builder": {"thumbnail": {"enabled": False}},
}
"""Settings of c2pa for all that is done here."""


class RemoteCredentials(CredentialError):
    """The file says where its credentials are, which is elsewhere; nothing is fetched."""


class Generation(Frozen):
    """What our assertion says: digests, which bind what the file tells without telling it, and names that it tells.

    Attributes:
        format: version of this format.
        recipe: digest of the recipe in the file.
        infotext: of A1111's text in the file, as UTF-8.
        seal: of a recipe that its maker keeps (`pictures.origin.Commitment`).
        pixels: `pixels_digest`, where the format keeps every pixel.
        model: identity of the model.
        receipts: digests of the receipts of the model and of the adapters, where they have them.
        parts: what the model was put together from, where that is no file of its own: `load(vae=...)`.
        corpora: Merkle roots of what those learned from.
    """

    format: Literal["impasto-generation/1"] = "impasto-generation/1"
    recipe: Digest | None = None
    infotext: Digest | None = None
    seal: Digest | None = None
    pixels: Digest | None = None
    model: Digest | None = None
    receipts: tuple[Digest, ...] = ()
    parts: tuple[Parent, ...] = ()
    corpora: tuple[Digest, ...] = ()

    def stated(self) -> dict[str, Any]:
        """Return the data as JSON types, without what is not said."""
        return {key: value for key, value in self.plain().items() if value}


@dataclass(frozen=True, eq=False)
class Made:
    """A picture that was made, and from what.

    Attributes:
        image: its pixels.
        recipe: that gave them.
        receipts: of the model and the adapters, those there are.
        sources: the pictures that it was made from, as files, whose own credentials are carried on, or as pixels; the
            first is the one that was changed.
        edited: whether it is an earlier picture changed; by itself, whether the recipe begins with one.
    """

    image: Image.Image
    recipe: Recipe
    receipts: Sequence[Receipt] = ()
    sources: Sequence[Path | Image.Image] = ()
    edited: bool | None = None

    @property
    def is_edit(self) -> bool:
        """Whether it is an earlier picture that was changed."""
        return self.recipe.start is not None if self.edited is None else self.edited


def sign(path: Path, made: Made, identity: Identity | None = None) -> None:
    """Put a credential into the picture file at `path`, the last thing to be written into it.

    How much it tells is how much the file does: of a file with a recipe (`--metadata full`) digests of recipe,
    infotext, model, receipts and corpora; of one with a seal (`private`) that seal; of one that tells nothing (`none`)
    that a model made it, signed by an identity that was made for this file alone.

    Args:
        path: a PNG, JPEG or WebP file as `pictures.metadata.save` leaves it; replaced whole.
        made: what is in it.
        identity: who signs; by itself the person's own.

    Raises:
        InvalidInput: no such format.
        CredentialError: the file cannot be signed, or not by this identity.
    """
    mime = MIME[formats.ending(path)]
    told = _told(path)
    named = told.keys() & {"impasto", "impasto-seal"}
    signer = (identity or identities.own()) if named else identities.make_once()
    statement = _statement(_generation(made, told, lossless=mime != "image/jpeg"), edited=made.is_edit)
    if made.recipe.soft_binding and "impasto" in told:
        statement["assertions"].append(_soft_binding(made.recipe))
    sources = _sources(made, carried="impasto" in told)
    write_bytes(path, _signed(path.read_bytes(), mime, statement, signer, sources))


def _told(path: Path) -> dict[str, str]:
    """Return the texts in a file of our own making; those of a PNG lie before its pixels, which are not decoded."""
    with Image.open(path) as image:
        if image.format != "PNG":
            return formats.texts(path)
        return {key: str(text) for key, text in image.info.items() if key in (*formats.OWN_KEYS, formats.INFOTEXT_KEY)}


def _generation(made: Made, told: Mapping[str, str], *, lossless: bool) -> Generation:
    pixels = pixels_digest(made.image) if lossless else None
    if "impasto" not in told:
        return Generation(seal=told.get("impasto-seal"), pixels=pixels)
    infotext = told.get(formats.INFOTEXT_KEY)
    return Generation(
        recipe=made.recipe.digest,
        infotext=bytes_digest(infotext.encode("utf-8")) if infotext else None,
        pixels=pixels,
        model=made.recipe.model_digest,
        receipts=tuple(receipt.digest for receipt in made.receipts),
        parts=tuple(part for receipt in made.receipts if receipt.kind == "assembly" for part in receipt.parents),
        corpora=tuple(dict.fromkeys(use.root for receipt in made.receipts for use in receipt.corpora)),
    )


def _statement(generation: Generation, *, edited: bool) -> dict[str, Any]:
    """Return the manifest's definition."""
    action = {"action": "c2pa.edited" if edited else "c2pa.created", "digitalSourceType": EDITED if edited else CREATED}
    return {
        "claim_generator_info": [{"name": "Impasto", "version": impasto.__version__}],
        "assertions": [
            {"label": "c2pa.actions.v2", "created": True, "data": {"actions": [action]}},
            {"label": ASSERTION, "created": True, "data": generation.stated()},
        ],
    }


def _soft_binding(recipe: Recipe) -> dict[str, Any]:
    """Return the assertion that the picture can be told by a mark, and by which (C2PA 2.4, section 18.10)."""
    blocks = [{"scope": {}, "value": written(code_of(recipe))}]
    return {"label": "c2pa.soft-binding", "created": True, "data": {"alg": ALGORITHM, "blocks": blocks}}


@dataclass(frozen=True)
class _Source:
    """A picture that another was made from: what is said of it, and its file where that carries credentials on."""

    said: dict[str, str]
    file: Path | None = None


def _sources(made: Made, *, carried: bool) -> list[_Source]:
    """Return the pictures that an edit was made from, the one that was changed first; there always is that one."""
    if not made.is_edit:
        return []
    given = [source if carried and isinstance(source, Path) and _readable(source) else None for source in made.sources]
    relationships = ["parentOf", *("componentOf" for _ in given[1:])]
    return [
        _Source({"title": "source", "relationship": relationship, "instance_id": f"xmp.iid:{uuid4()}"}, file)
        for relationship, file in zip(relationships, given or [None], strict=True)
    ]


def _readable(path: Path) -> bool:
    try:
        read(path)
    except (CredentialError, NotFound):  # a source that cannot be told of is no reason to lose what was made from it
        return False
    return True


def _signed(
    content: bytes, mime: str, statement: dict[str, Any], identity: Identity, sources: Sequence[_Source] = ()
) -> bytes:
    """Return the file `content` with the manifest of `statement` in it."""
    import c2pa

    signed = io.BytesIO()
    definition = {**statement, "ingredients": [source.said for source in sources if source.file is None]}
    try:
        info = c2pa.C2paSignerInfo(identity.algorithm, identity.certificates.encode(), identity.key.encode(), None)
        with (
            c2pa.Context.from_dict(dict(OFFLINE)) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(definition, context) as builder,
        ):
            if sources:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)  # adds that the parent was opened
            for source in sources:
                if source.file:
                    builder.add_ingredient(source.said, _format(source.file), io.BytesIO(source.file.read_bytes()))
            builder.sign(signer, mime, io.BytesIO(content), signed)
    except c2pa.C2paError as error:
        raise CredentialError(f"{identity.name} cannot sign this picture: {error}") from error
    return signed.getvalue()


def _format(path: Path) -> str:
    """Return the media type of a picture by its content."""
    with Image.open(path) as image:
        return Image.MIME.get(image.format or "", "")


@dataclass(frozen=True, eq=False)
class Credentials:
    """The credentials in a file, ours or another program's.

    Attributes:
        store: the manifest store as c2pa gives it: `active_manifest`, `manifests`, `validation_results` ...
    """

    store: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Of the manifest that is about this file."""
        return str(self.store.get("active_manifest", ""))

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The one that is about this file."""
        return self._manifest(self.label)

    def _manifest(self, label: str) -> Mapping[str, Any]:
        found = self.store.get("manifests", {}).get(label)
        return found if isinstance(found, dict) else {}

    @property
    def signer(self) -> str:
        """Whom the certificate of the signature names, and who says so."""
        about = self.manifest.get("signature_info", {})
        names = dict.fromkeys(str(about[key]) for key in ("common_name", "issuer") if about.get(key))
        return ", ".join(names) or "nobody"

    @property
    def generator(self) -> str:
        """The program that wrote them."""
        told = self.manifest.get("claim_generator_info") or [{"name": self.manifest.get("claim_generator", "")}]
        return " ".join(str(told[0].get(key, "")) for key in ("name", "version")).strip() or "a program without a name"

    @property
    def actions(self) -> list[Mapping[str, Any]]:
        """What was done to the picture, in order."""
        found = [self._assertion(label) for label in ("c2pa.actions.v2", "c2pa.actions")]
        return [action for data in found if data for action in data.get("actions", []) if isinstance(action, dict)]

    @property
    def sources(self) -> list[Mapping[str, Any]]:
        """The pictures it was made from, as far as they are told."""
        return [source for source in self.manifest.get("ingredients", []) if isinstance(source, dict)]

    @cached_property
    def generation(self) -> Generation | None:
        """What Impasto says in it, where it was Impasto.

        Raises:
            CredentialError: something under our label that Impasto never wrote.
        """
        data = self._assertion(ASSERTION)
        try:
            return Generation.parse(data, "The statement of Impasto in the credentials") if data else None
        except InvalidInput as error:
            raise CredentialError(str(error)) from error

    def _assertion(self, label: str) -> dict[str, Any] | None:
        for assertion in self.manifest.get("assertions", []):
            if assertion.get("label") == label and isinstance(assertion.get("data"), dict):
                data: dict[str, Any] = assertion["data"]
                return data
        return None

    @property
    def held(self) -> set[str]:
        """C2PA's codes of what was found to hold of this file's own manifest."""
        return self._codes("success")

    @property
    def failed(self) -> set[str]:
        """C2PA's codes of what was found not to hold of it."""
        return self._codes("failure")

    def _codes(self, kind: str) -> set[str]:
        results = self.store.get("validation_results", {}).get("activeManifest", {})
        return {str(status.get("code")) for status in results.get(kind, [])}

    @property
    def signature_fits(self) -> bool:
        """Whether these are the credentials that were signed."""
        broken = ("claimSignature.m", "claim.")
        return "claimSignature.validated" in self.held and not any(code.startswith(broken) for code in self.failed)

    @property
    def failed_of_sources(self) -> set[str]:
        """C2PA's codes of what was found not to hold of the credentials of the pictures it was made from."""
        deltas = self.store.get("validation_results", {}).get("ingredientDeltas") or []
        found = (delta.get("validationDeltas", {}).get("failure", []) for delta in deltas)
        recorded = (source.get("validation_results", {}).get("activeManifest", {}) for source in self.sources)
        earlier = (results.get("failure", []) for results in recorded)
        return {str(status.get("code")) for statuses in (*found, *earlier) for status in statuses}


def read(path: Path, trust: str = "") -> Credentials | None:
    """Return the credentials in the file at `path`, whoever made them, with how far they hold; None when it has none.

    Args:
        path: of the file; what it is is decided by its content.
        trust: PEM of the certificates of those who are believed when they vouch for a signer.

    Raises:
        NotFound: no such file.
        RemoteCredentials: they are not in the file.
        CredentialError: the file or the credentials in it are damaged beyond reading.
    """
    import c2pa

    settings = {**OFFLINE, "trust": {"user_anchors": trust}} if trust else dict(OFFLINE)
    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(None, file, context=context) as reader,
        ):
            return Credentials(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        if "must fetch remote manifests" in str(error):
            raise RemoteCredentials(f"Its credentials are elsewhere, and nothing is fetched: {error}") from error
        raise CredentialError(f"The credentials of {path} cannot be read: {error}") from error
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error


def check(identity: Identity) -> None:
    """Sign a picture of one pixel with `identity` and read it back.

    Raises:
        CredentialError: c2pa does not take its certificates.
        InvalidInput: they do not lead to a root, so that no verifier could be told to believe them.
    """
    plain = io.BytesIO()
    Image.new("L", (1, 1)).save(plain, "PNG")
    signed = _signed(plain.getvalue(), "image/png", _statement(Generation(), edited=False), identity)
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        path = Path(folder, "one.png")
        path.write_bytes(signed)
        found = read(path, identities.authorities(identity.public))
        if found and "signingCredential.trusted" in found.held:
            return
    raise InvalidInput(f"The certificates of {identity.name} do not lead to a root. Add it at their end.")

"""What holds of a picture, what was changed, and what cannot be known."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from impasto.errors import CredentialError, ImpastoError, InvalidRecipe
from impasto.pictures import formats
from impasto.pictures.origin import Commitment, pixels_digest
from impasto.recipe import Recipe
from impasto.rights import credentials
from impasto.rights.binding import code_of, written
from impasto.rights.credentials import Credentials, Generation, RemoteCredentials
from impasto.rights.report import Finding, Report, stranger
from impasto.schema import bytes_digest

SOURCES = {
    "trainedAlgorithmicMedia": "made by a trained model",
    "compositeWithTrainedAlgorithmicMedia": "an earlier picture, changed with a trained model",
    "algorithmicMedia": "made by a program without a trained model",
    "digitalCapture": "taken by a camera",
    "computationalCapture": "taken by a camera and computed",
    "digitalCreation": "drawn by a person on a computer",
    "humanEdits": "changed by a person",
    "composite": "put together from several pictures",
    "negativeFilm": "scanned from a negative",
    "positiveFilm": "scanned from a slide",
    "print": "scanned from a print",
}
"""IPTC's digital source types, in words."""


SAID_ELSEWHERE = (
    "claim",  # claimSignature.mismatch, claim.missing ...
    "assertion.hashedURI",
    "assertion.missing",
    "signingCredential.",
    "ingredient.",
)
"""Beginnings of C2PA's codes of failure that have a sentence of their own."""


def picture(path: Path, trust: str = "", kept: Commitment | None = None) -> Report:
    """Verify the picture at `path`: its credentials, ours or another program's, and what its texts say.

    Args:
        path: of the file.
        trust: PEM of the certificates of those who are believed when they vouch for a signer.
        kept: what opens the seal of a recipe that is not shown.

    Raises:
        NotFound: no such file.
    """
    try:
        found = credentials.read(path, trust)
        generation = found.generation if found else None
    except RemoteCredentials as error:
        return Report("a picture whose credentials are elsewhere", (Finding("credentials", "unknown", str(error)),))
    except CredentialError as error:
        damaged = Finding("credentials", "changed", f"The file or its credentials are damaged or cut short: {error}")
        return Report("a damaged file", (damaged,))
    texts, unread = _texts(path)
    if found is None:
        return Report("a picture without credentials", tuple(_without(texts, unread)), tuple(_told(texts)))
    findings = [*_of_manifest(found), *_of_sources(found)]
    if generation and found.signature_fits:
        # Without a signature that fits, our own statement is anybody's.
        findings += _of_generation(generation, texts, path, kept, intact="assertion.dataHash.match" in found.held)
    return Report("a picture with credentials", tuple(findings), tuple(_said(found, generation, texts)))


def _texts(path: Path) -> tuple[dict[str, str], str]:
    """Return the texts in a picture, and why there are none where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damage that is found anyhow
            return formats.texts(path), ""
    except InvalidRecipe as error:
        return {}, str(error)


def _without(texts: dict[str, str], unread: str) -> Iterator[Finding]:
    if unread:
        yield Finding("file", "unknown", unread)
        return
    yield Finding(
        "credentials",
        "unknown",
        "It carries no credentials: it never had any, or they were removed, as many programs and web sites do.",
    )
    kinds = {"impasto": "a recipe", "impasto-seal": "the seal of a recipe", formats.INFOTEXT_KEY: "a text"}
    if there := [words for key, words in kinds.items() if key in texts]:
        words = " and ".join(there)
        yield Finding("texts", "unknown", f"It carries {words}, which anybody can have written or changed.")
    if "impasto" in texts:
        yield from _recipe_reads(texts["impasto"])


def _recipe_reads(text: str) -> Iterator[Finding]:
    try:
        Recipe.from_json(text, "Its recipe")
    except InvalidRecipe as error:
        yield Finding("recipe", "changed", f"Its recipe is damaged: {error}")


def _of_manifest(found: Credentials) -> Iterator[Finding]:
    """Look at what any credentials promise, whoever made them."""
    failed, held = found.failed, found.held
    if not found.signature_fits:
        yield Finding("signature", "changed", "The signature does not fit: the credentials were changed, or made up.")
        yield Finding("file", "unknown", "What such credentials say of the file counts for nothing.")
        return
    yield Finding("signature", "holds", "The signature fits what was signed.")
    yield _signer(found)
    if any(code.startswith("assertion.hashedURI") or code == "assertion.missing" for code in failed):
        yield Finding("statements", "changed", "Statements in the credentials were changed or removed.")
    bad = sorted(code for code in failed if code.endswith(("Hash.mismatch", "Hash.malformed")))
    if bad:
        yield Finding("file", "changed", f"The file was changed after it was signed ({', '.join(bad)}).")
    elif any(code.endswith("Hash.match") for code in held):
        yield Finding("file", "holds", "Nothing in the file was changed since it was signed.")
    else:
        yield Finding("file", "unknown", "The credentials do not say what file they belong to.")
    for code in sorted(code for code in failed if not code.startswith(SAID_ELSEWHERE) and code not in bad):
        if code.endswith(".untrusted"):
            yield Finding(
                "others", "unknown", f"Others who signed parts of the credentials are not known here ({code})."
            )
        else:
            yield Finding("statements", "changed", f"The credentials are not in order: {code}.")


def _signer(found: Credentials) -> Finding:
    who = found.signer
    if "signingCredential.trusted" in found.held:
        return Finding("signer", "holds", f"It was signed by {who}, whom you know.")
    reasons = {
        "signingCredential.expired": "whose certificate was not valid then, or is not any more",
        "claimSignature.outsideValidity": "whose certificate was not valid then, or is not any more",
        "signingCredential.invalid": "whose certificate is not fit for credentials",
        "signingCredential.ocsp.revoked": "whose certificate was taken back",
    }
    why = next((words for code, words in reasons.items() if code in found.failed), "")
    if why:
        return Finding("signer", "unknown", f"It was signed by {who}, {why}.")
    return stranger(who)


def _of_sources(found: Credentials) -> Iterator[Finding]:
    """Look at the pictures that it was made from."""
    own = {code for code in found.failed if code.startswith("ingredient.")}
    if wrong := (own | found.failed_of_sources) - {"signingCredential.untrusted"}:
        codes = ", ".join(sorted(wrong))
        yield Finding("sources", "changed", f"The credentials of a picture it was made from do not hold ({codes}).")
    elif any(source.get("active_manifest") for source in found.sources):
        yield Finding("sources", "holds", "The credentials of the pictures it was made from held when they were used.")


def _of_generation(
    said: Generation, texts: dict[str, str], path: Path, kept: Commitment | None, *, intact: bool
) -> Iterator[Finding]:
    """Look at what Impasto's statement binds, one by one, which tells what was changed where something was."""
    recipe = _recipe(texts)
    if said.recipe:
        yield _compared("recipe", said.recipe, recipe.digest if recipe else None, "recipe")
    if said.infotext:
        text = texts.get(formats.INFOTEXT_KEY)
        yield _compared("infotext", said.infotext, bytes_digest(text.encode("utf-8")) if text else None, "text")
    if said.seal:
        yield _compared("seal", said.seal, texts.get("impasto-seal"), "seal of its recipe")
        if kept:
            opened = kept.seal == said.seal
            words = "is the one that was sealed" if opened else "is not the one that was sealed"
            yield Finding("kept recipe", "holds" if opened else "changed", f"The recipe that was kept {words}.")
    if said.model and recipe and recipe.model_digest != said.model:
        yield Finding("model", "changed", "The recipe names another model than the credentials do.")
    if said.pixels:
        yield _pixels(said.pixels, path)
    elif not intact:
        yield Finding(
            "pixels", "unknown", "Whether the pixels are among what was changed cannot be told of this format."
        )


def _recipe(texts: dict[str, str]) -> Recipe | None:
    with suppress(InvalidRecipe):
        return Recipe.from_json(texts["impasto"]) if "impasto" in texts else None
    return None


def _compared(about: str, wanted: str, there: str | None, words: str) -> Finding:
    if there == wanted:
        return Finding(about, "holds", f"The {words} is the one that was signed.")
    if there is None:
        return Finding(about, "changed", f"The {words} was removed or damaged after it was signed.")
    return Finding(about, "changed", f"The {words} is not the one that was signed.")


def _pixels(wanted: str, path: Path) -> Finding:
    try:
        there = pixels_digest(formats.open_image(path))
    except ImpastoError as error:
        return Finding("pixels", "changed", f"The pixels cannot be read any more: {error}")
    if there == wanted:
        return Finding("pixels", "holds", "Every pixel is as it was made.")
    return Finding("pixels", "changed", "The pixels were changed after the picture was made.")


def _said(found: Credentials, generation: Generation | None, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    if not found.signature_fits:
        yield from _told(texts)
        return
    kinds = [str(action["digitalSourceType"]) for action in found.actions if action.get("digitalSourceType")]
    for kind in dict.fromkeys(kinds):
        name = kind.rpartition("/")[2]
        yield "is", SOURCES.get(name, name)
    yield "program", found.generator
    yield "steps", ", ".join(str(action.get("action", "")).removeprefix("c2pa.") for action in found.actions) or "none"
    for source in found.sources:
        words = "with credentials of its own" if source.get("active_manifest") else "without credentials"
        yield "made from", f"{source.get('title') or 'a picture'}, {words}"
    if generation:
        if generation.seal:
            yield "recipe", "kept by its maker, sealed here"
        if generation.model and "impasto" not in texts:
            yield "model", generation.model
        yield from (("put together from", f"{part.name} ({part.role}, {part.identity})") for part in generation.parts)
        yield from (("receipt", digest) for digest in generation.receipts)
        yield from (("learned from", f"a corpus with root {root}") for root in generation.corpora)
    yield from _told(texts)


def _told(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    recipe = _recipe(texts)
    if recipe is None:
        if text := texts.get(formats.INFOTEXT_KEY):
            yield "text", text.splitlines()[0] if text.strip() else ""
        return
    yield "model", f"{recipe.model_name} ({recipe.model_digest})"
    yield "prompt", recipe.prompt
    yield "seed", str(recipe.seed)
    if recipe.soft_binding:
        yield "soft binding", written(code_of(recipe))
    yield from (("adapter", f"{use.name} ({use.identity}), weight {use.weight:g}") for use in recipe.adapters)

"""What stands behind a picture, as far as it is here: the models and adapters that it names, their terms and makers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from impasto.errors import CredentialError, ImpastoError
from impasto.pictures import metadata
from impasto.recipe import Recipe
from impasto.rights import artefacts, credentials
from impasto.rights.artefacts import Artefact
from impasto.rights.credentials import Generation
from impasto.rights.lineage import Known
from impasto.rights.report import Finding, Report


class Named(NamedTuple):
    """Something that a recipe names: what people call it, and its digest."""

    name: str
    digest: str


def added(report: Report, path: Path, known: Known) -> Report:
    """Return the `report` of the picture at `path` with what is `known` here of what it was made with.

    A receipt that is here is compared with those that the picture's credentials name, where their signature fits.
    """
    recipe = None
    with suppress(ImpastoError):
        recipe = metadata.read(path).recipe
    if recipe is None:
        return report
    findings, says, signed = list(report.findings), list(report.says), _signed(path, report)
    for name, found in (one for named in _named(recipe) for one in _found(named, signed, known)):
        if found is None:
            says.append((name, "is not here, so that its terms and makers are not known"))
        else:
            findings += _receipt(found, set(signed.receipts) if signed else set())
            says += _terms(found)
    return replace(report, findings=tuple(findings), says=tuple(says))


def _found(named: Named, signed: Generation | None, known: Known) -> Iterator[tuple[str, Artefact | None]]:
    """Yield what is `named`, or where it was put together when it was loaded, its parts; None for what is not here."""
    found = known.find(named.digest, named.name)
    parts = signed.parts if signed and found is None and named.digest == signed.model else ()
    if not parts:
        yield named.name, found
    yield from ((part.name, known.find(part.identity, part.name)) for part in parts)


def _named(recipe: Recipe) -> list[Named]:
    hires = recipe.hires
    models = [Named(recipe.model_name, recipe.model_digest)]
    models += [Named(hires.model.name, hires.model.identity)] if hires and hires.model else []
    adapters = [*recipe.adapters, *((hires and hires.adapters) or ())]
    parts = [Named(use.name, use.identity) for use in adapters]
    parts += [Named(use.name, use.identity) for use in recipe.embeddings]
    return list(dict.fromkeys([*models, *parts]))


def _signed(path: Path, report: Report) -> Generation | None:
    """Return what credentials say that hold."""
    if not any(finding.about == "signature" and finding.state == "holds" for finding in report.findings):
        return None
    with suppress(CredentialError):
        found = credentials.read(path)
        return found.generation if found else None
    return None


def _receipt(found: Artefact, signed: set[str]) -> Iterator[Finding]:
    if found.receipt is None or not signed:
        return
    if found.receipt.digest in signed:
        yield Finding("receipt", "holds", f"The receipt of {found.name}, which is here, is the one that was signed.")
    else:
        yield Finding("receipt", "unknown", f"{found.name} is here with another receipt than was signed.")


def _terms(found: Artefact) -> Iterator[tuple[str, str]]:
    name = found.name
    if found.receipt is None:
        yield name, "has no receipt, so that what it was made from is not known"
        return
    yield f"{name} is under", found.receipt.licence or "terms that are not said"
    yield from ((f"{name} was made from", f"{one.name} ({one.role})") for one in found.receipt.parents)
    yield from ((f"{name} learned from", f"{use.rows:,} rows of {use.root}") for use in found.receipt.corpora)
    yield from artefacts.credits_of(found.receipt, found.credit)

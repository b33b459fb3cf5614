"""The signature of a folder: OpenSSF Model Signing 1.0, with the identity that signs pictures, without a network.

`model.sig` is a Sigstore bundle over the name and SHA-256 of every file; `signer.pem` beside it has the root that its
certificates lead to. Source: ossf/model-signing-spec, version 1.0.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from impasto.errors import CredentialError, InvalidInput
from impasto.files import write_bytes, write_text
from impasto.rights.identity import Identity, authorities
from impasto.schema import canonical_json, read_json

SIGNATURE, SIGNER = "model.sig", "signer.pem"

SHAPE = frozenset(
    {
        ".mediaType",
        ".verificationMaterial.x509CertificateChain.certificates.rawBytes",
        ".verificationMaterial.tlogEntries",
        ".dsseEnvelope.payload",
        ".dsseEnvelope.payloadType",
        ".dsseEnvelope.signatures.sig",
        ".dsseEnvelope.signatures.keyid",
    }
)
"""What a bundle has that is signed with certificates, and nothing else."""


def sign(folder: Path, identity: Identity) -> None:
    """Sign every file in `folder` with `identity`; leaves `model.sig` and `signer.pem` there.

    Raises:
        InvalidInput: a key of a kind that the standard does not have (not on an elliptic curve).
    """
    from model_signing import signing

    if not identity.algorithm.startswith("es"):
        raise InvalidInput(f"Models are signed with keys on elliptic curves, not {identity.algorithm}.")
    write_text(folder / SIGNER, identity.public)
    texts = {"key.pem": identity.key, "leaf.pem": _first(identity.certificates), "chain.pem": _others(identity)}
    with _files(texts) as (key, leaf, chain):
        config = signing.Config().use_certificate_signer(  # type: ignore[no-untyped-call]  # typed but for this
            private_key=key, signing_certificate=leaf, certificate_chain=[chain]
        )
        config.set_hashing_config(_hashing(folder)).sign(folder, folder / SIGNATURE)
    # One way to write it: what no signature covers, such as a space, cannot be changed unseen either.
    write_bytes(folder / SIGNATURE, canonical_json(read_json(folder / SIGNATURE)))


def holds(folder: Path) -> None:
    """Verify `model.sig` against every file in `folder` and against `signer.pem`.

    Raises:
        CredentialError: it does not fit; says why.
        ImportError: what verifies it is not installed.
    """
    import model_signing.verifying  # noqa: F401 - that it is not here says nothing of the signature

    try:
        _verify(folder, authorities((folder / SIGNER).read_text(encoding="ascii")))
    except Exception as error:  # a hostile bundle makes the library raise anything
        raise CredentialError(f"The signature does not fit: {error or type(error).__name__}") from error


def holds_under(folder: Path, roots: str) -> bool:
    """Return whether the signature leads to one of the `roots` (PEM, at least one)."""
    try:
        _verify(folder, roots)
    except Exception:  # as above
        return False
    return True


def _verify(folder: Path, roots: str) -> None:
    from model_signing import verifying

    with _files({"root.pem": roots}) as (root,):
        config = verifying.Config().use_certificate_verifier(certificate_chain=[root])  # type: ignore[no-untyped-call]  # typed but for this
        config.set_hashing_config(_hashing(folder)).verify(folder, folder / SIGNATURE)


def signed(folder: Path) -> dict[str, str]:
    """Return what `model.sig` says, path -> SHA-256 in hexadecimal digits; believed only after `holds`.

    Raises:
        CredentialError: it cannot be read.
    """
    try:
        content = (folder / SIGNATURE).read_bytes()
        bundle = json.loads(content)
        statement: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
        if content != canonical_json(bundle) or shape(bundle) != SHAPE:
            raise CredentialError(f"{SIGNATURE} is not as it was written: something was added to it or left out.")
        return {str(one["name"]): str(one["digest"]) for one in statement["predicate"]["resources"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CredentialError(f"{SIGNATURE} cannot be read: {error}") from error


def shape(value: Any, place: str = "") -> frozenset[str]:
    """Return the places of values in JSON, of all items of a list as one."""
    if isinstance(value, dict) and value:
        return frozenset().union(*(shape(one, f"{place}.{key}") for key, one in value.items()))
    if isinstance(value, list) and value:
        return frozenset().union(*(shape(one, place) for one in value))
    return frozenset({place})


def _hashing(folder: Path) -> Any:
    from model_signing import hashing

    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)  # type: ignore[no-untyped-call]  # typed but for this
    return config.set_ignored_paths(paths=[folder / SIGNATURE], ignore_git_paths=False)


@contextmanager
def _files(texts: dict[str, str]) -> Iterator[list[Path]]:
    """Lay `texts` into files that only their owner can read, while the block lasts: the library wants paths."""
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
        paths = [Path(folder) / name for name in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(text)
        yield paths


END = "-----END CERTIFICATE-----\n"


def _first(pem: str) -> str:
    return pem.partition(END)[0] + END


def _others(identity: Identity) -> str:
    return identity.certificates.partition(END)[2] + identity.root

"""The identity that pictures are signed with: a key and its certificates, the person's own, made at first use.

It is a pseudonym. The certificate that Impasto makes names nobody; it is one's own because nobody else has its key.
Requirements on certificates: C2PA Technical Specification 2.4, section 14.5 (X.509 certificates).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from impasto.errors import InvalidInput, NotFound
from impasto.weights.home import home

CERTIFICATES, KEY, ROOT = "certificates.pem", "key.pem", "root.pem"
KNOWN = "known"
"""Folder for the certificates of identities that were replaced: what they signed stays one's own."""

YEARS = 25
"""How long a certificate holds. Nothing here asks a time-stamp server, so that pictures hold no longer than it does."""

USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
USES_OF_AUTHORITIES = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")

PURPOSES = {
    ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string: "e-mail protection",
    "1.3.6.1.5.5.7.3.36": "document signing",
    "1.3.6.1.4.1.311.76.59.1.9": "C2PA signing",
    "1.3.6.1.4.1.62558.2.1": "C2PA claim signing",
}
"""Extended key usages, of which a certificate that signs credentials has to have one."""

CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Identity:
    """A key and its certificates.

    Attributes:
        certificates: in PEM, the key's own first, each signed by the next; without a root that everybody has to know.
        key: in PEM (PKCS 8), not encrypted.
        algorithm: C2PA's name of it, such as `es256`.
        root: in PEM, the root that these certificates lead to, where it is one's own.
    """

    certificates: str
    key: str
    algorithm: str
    root: str = ""

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, {self.fingerprint!r})"  # never the key

    @cached_property
    def chain(self) -> list[x509.Certificate]:
        """The certificates, the key's own first."""
        return x509.load_pem_x509_certificates(self.certificates.encode())

    @property
    def name(self) -> str:
        """Whom the certificate names."""
        return _common_name(self.chain[0].subject)

    @property
    def issuer(self) -> str:
        """Who says so."""
        return _common_name(self.chain[0].issuer)

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` of the certificate."""
        return f"sha256:{self.chain[0].fingerprint(hashes.SHA256()).hex()}"

    @property
    def valid(self) -> tuple[datetime, datetime]:
        """From when to when it may sign."""
        return self.chain[0].not_valid_before_utc, self.chain[0].not_valid_after_utc

    @property
    def public(self) -> str:
        """What to give to others, so that they can tell one's signatures: PEM, without any key."""
        return self.certificates + self.root


def place() -> Path:
    """Return the folder of the person's identity, there or not."""
    return home() / "identity"


def own(folder: Path | None = None) -> Identity:
    """Return the person's identity; makes one when there is none.

    Raises:
        InvalidInput: what is in the folder is not an identity.
    """
    folder = folder or place()
    if not (folder / KEY).is_file():
        keep(make(), folder, only_if_none=True)
    return _read(folder)


def make(name: str | None = None) -> Identity:
    """Return a new identity, its certificate signed by a root of its own, whose key is forgotten: it can sign no other.

    Args:
        name: whom the certificate is to name, up to 64 characters; by itself a pseudonym made of its key.

    Raises:
        InvalidInput: a name that no certificate can carry.
    """
    return _make(name, datetime.now(timezone.utc) - timedelta(days=1))


def make_once() -> Identity:
    """Return an identity for one picture whose maker says nothing: it tells neither who nor, but for the day, when."""
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return _make("Impasto, once", today - timedelta(days=1))


def _make(name: str | None, since: datetime) -> Identity:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = _named(name or f"Impasto user {_short(key.public_key())}")
    issuer = _named(f"Impasto root {_short(root_key.public_key())}")
    root = _certificate(issuer, issuer, root_key.public_key(), since)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root = root.add_extension(_use("key_cert_sign", "crl_sign"), critical=True)
    leaf = _certificate(subject, issuer, key.public_key(), since)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_use("digital_signature"), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = leaf.add_extension(authority, critical=False)
    signed = (builder.sign(root_key, hashes.SHA256()) for builder in (leaf, root))
    certificates, root_pem = (_pem(certificate) for certificate in signed)
    return Identity(certificates, _key_pem(key), "es256", root_pem)


def _named(name: str) -> x509.Name:
    try:
        parts = [(NameOID.ORGANIZATION_NAME, "Impasto, self-signed"), (NameOID.COMMON_NAME, name)]
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    except ValueError as error:
        raise InvalidInput(f"A certificate cannot name {name!r:.80}: {error}. Use 1 to 64 characters.") from error


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, since: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(since).not_valid_after(since + timedelta(days=365 * YEARS))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _use(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in (*USES, *USES_OF_AUTHORITIES)})


def _short(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()[:8]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: PrivateKeyTypes) -> str:
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*formats).decode("ascii")


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME) or name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(values[0].value) if values else "nobody"


def read(certificates: Path, key: Path) -> Identity:
    """Return the identity of a PEM file with a chain of `certificates`, the key's own first, and one with its `key`.

    Raises:
        NotFound: no such file.
        InvalidInput: not PEM, an encrypted key, or certificates that cannot sign credentials; says why.
    """
    private = _private(key)
    chain = _chain(certificates)
    for problem in _problems(chain, private):
        raise InvalidInput(f"{certificates} cannot sign pictures: {problem}.")
    issuers = [certificate for certificate in chain if certificate.subject != certificate.issuer or len(chain) == 1]
    root = [certificate for certificate in chain if certificate not in issuers]
    pem = "".join(map(_pem, issuers))
    return Identity(pem, _key_pem(private), _algorithm(private) or "", "".join(map(_pem, root)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error


def _private(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(_content(path), password=None)
    except TypeError as error:
        raise InvalidInput(f"{path} is an encrypted key. Give it decrypted: openssl pkcs8 -in {path}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path} is not a private key in PEM: {error}") from error


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(path))
    except ValueError as error:
        raise InvalidInput(f"{path} holds no certificates in PEM: {error}") from error


def _problems(chain: list[x509.Certificate], key: PrivateKeyTypes) -> list[str]:
    """Return what keeps `chain` from signing credentials with `key`."""
    leaf, now = chain[0], datetime.now(timezone.utc)
    try:
        use = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
        purposes = [oid.dotted_string for oid in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
    except x509.ExtensionNotFound:
        use, purposes = False, []
    found = {
        "its first certificate does not belong to the key": leaf.public_key() != key.public_key(),
        f"the key is none of {', '.join(CURVES)}, Ed25519 or RSA of 2048 bits or more": _algorithm(key) is None,
        f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d} only": not (
            leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
        ),
        "it is not for digital signatures (key usage)": not use,
        f"it is for none of {', '.join(PURPOSES.values())} (extended key usage)": not PURPOSES.keys() & set(purposes),
        "its certificates are not each signed by the next": not _follow(chain),
    }
    return [problem for problem, there in found.items() if there]


def _follow(chain: list[x509.Certificate]) -> bool:
    try:
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _algorithm(key: PrivateKeyTypes) -> str | None:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return CURVES.get(key.curve.name)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    return "ps256" if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048 else None


def keep(identity: Identity, folder: Path | None = None, *, only_if_none: bool = False) -> None:
    """Make `identity` the person's own; what an earlier one signed stays known as theirs, its key does not stay.

    Args:
        identity: to keep.
        folder: where; `place()` by itself.
        only_if_none: leave an identity that is already there, as when two programs make the first one at once.
    """
    folder = folder or place()
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".identity-", dir=folder.parent))  # for its owner only, from the start
    try:
        _write(new, identity)
        if folder.is_dir() and not only_if_none:
            _remember(folder, new / KNOWN)
            folder.replace(old := new.with_suffix(".old"))
            shutil.rmtree(old)
        if not folder.is_dir():
            _moved(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _moved(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not (folder / KEY).is_file():  # somebody else's, made meanwhile, is as good
            raise


def _write(folder: Path, identity: Identity) -> None:
    (folder / KNOWN).mkdir(exist_ok=True)
    for name, text in ((CERTIFICATES, identity.certificates), (ROOT, identity.root), (KEY, identity.key)):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            os.fsync(file.fileno())


def _remember(folder: Path, known: Path) -> None:
    if (folder / KNOWN).is_dir():
        shutil.copytree(folder / KNOWN, known, dirs_exist_ok=True)
    if (folder / CERTIFICATES).is_file():
        identity = _read(folder)
        (known / f"{identity.fingerprint.removeprefix('sha256:')}.pem").write_text(identity.public, encoding="ascii")


def _read(folder: Path) -> Identity:
    certificates, root, key = ((folder / name).read_text(encoding="ascii") for name in (CERTIFICATES, ROOT, KEY))
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
        x509.load_pem_x509_certificates(certificates.encode())
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{folder} holds no identity that can be read: {error}. Import or make one.") from error
    return Identity(certificates, key, _algorithm(private) or "", root)


def trusted(folder: Path | None = None) -> str:
    """Return the roots that the person's own signatures lead to, now and earlier: PEM, empty when they have none."""
    folder = folder or place()
    known = [path.read_text(encoding="ascii") for path in sorted((folder / KNOWN).glob("*.pem"))]
    if (folder / CERTIFICATES).is_file():
        known.append(_read(folder).public)
    return "".join(map(authorities, known))


def authorities(pem: str) -> str:
    """Return those of the certificates in `pem` that vouch for others.

    Raises:
        InvalidInput: there are none.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise InvalidInput(f"These are no certificates in PEM: {error}") from error
    vouching = [_pem(certificate) for certificate in certificates if _vouches(certificate)]
    if not vouching:
        raise InvalidInput("None of these certificates vouches for others. Give the root of who signed, in PEM.")
    return "".join(vouching)


def _vouches(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False

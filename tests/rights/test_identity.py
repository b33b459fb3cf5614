"""The identity that signs: made once, kept for its owner alone, imported when it is fit."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from impasto.errors import CredentialError, ImpastoError, InvalidInput, NotFound
from impasto.rights import credentials, identity
from impasto.rights.identity import CERTIFICATES, KEY


def test_it_is_made_once(tmp_path: Path) -> None:
    first, again = identity.own(tmp_path / "me"), identity.own(tmp_path / "me")
    assert first == again
    assert first != identity.make()
    assert first.name.startswith("Impasto user ")
    since, until = first.valid
    assert since < datetime.now(timezone.utc) < until


def test_its_own_home_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    identity.own()
    assert (tmp_path / "home" / "identity" / KEY).is_file()
    assert identity.trusted() == identity.own().root


@pytest.mark.skipif(os.name != "posix", reason="access rights of files are POSIX's")
def test_nobody_else_reads_the_key(tmp_path: Path) -> None:
    identity.own(tmp_path / "me")
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o700
    assert {stat.S_IMODE((tmp_path / "me" / name).stat().st_mode) for name in (KEY, CERTIFICATES)} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me"]


def test_the_key_is_not_shown() -> None:
    maker = identity.make()
    assert "PRIVATE" not in repr(maker) + maker.public
    assert "BEGIN" not in repr(maker)


def test_what_an_earlier_identity_signed_stays_known(tmp_path: Path) -> None:
    folder = tmp_path / "me"
    roots = [identity.own(folder).root]
    for name in ("Ada", "Grace"):
        identity.keep(identity.make(name), folder)
        roots.append(identity.own(folder).root)
    assert identity.own(folder).name == "Grace"
    known = identity.trusted(folder)
    assert all(root in known for root in roots)
    keys = [path for path in folder.rglob("*") if path.is_file() and "PRIVATE" in path.read_text()]
    assert keys == [folder / KEY]


def test_two_programs_that_make_the_first_one_at_once_agree(tmp_path: Path) -> None:
    identity.keep(first := identity.make(), tmp_path / "me", only_if_none=True)
    identity.keep(identity.make(), tmp_path / "me", only_if_none=True)
    assert identity.own(tmp_path / "me") == first


def test_no_name_that_no_certificate_can_carry() -> None:
    with pytest.raises(InvalidInput, match="1 to 64 characters"):
        identity.make("x" * 65)


def test_damage_is_said(tmp_path: Path) -> None:
    identity.own(tmp_path / "me")
    (tmp_path / "me" / KEY).write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InvalidInput, match="no identity that can be read"):
        identity.own(tmp_path / "me")


def test_one_picture_identities_tell_neither_who_nor_when() -> None:
    one, other = identity.make_once(), identity.make_once()
    assert one.name == other.name
    assert one.fingerprint != other.fingerprint
    assert one.valid[0].time().isoformat() == "00:00:00"


class Authority:
    """A root and what it signs, as somebody's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.certificate = self._signed("Root", self.key.public_key(), authority=True)

    def sign(self, key: Any, **changes: Any) -> x509.Certificate:
        return self._signed("Ada Lovelace", key.public_key(), **changes)

    def _signed(
        self,
        name: str,
        key: Any,
        *,
        authority: bool = False,
        days: int = 30,
        purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder(_name("Root"), _name(name), key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        mine = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(mine, critical=False)
        uses = dict.fromkeys((*identity.USES, *identity.USES_OF_AUTHORITIES), False)
        uses["key_cert_sign" if authority else "digital_signature"] = True
        builder = builder.add_extension(x509.KeyUsage(**uses), critical=True)
        if not authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return builder.sign(self.key, hashes.SHA384())


def _name(name: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "Analytical Engines"), (NameOID.COMMON_NAME, name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def write(folder: Path, key: Any, *chain: x509.Certificate, password: bytes = b"") -> tuple[Path, Path]:
    secret = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    (folder / "chain.pem").write_bytes(pem)
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["es256", "es384", "ed25519", "ps256"],
)
def test_ones_own_certificate_is_imported(
    tmp_path: Path, authority: Authority, key: Any, request: pytest.FixtureRequest
) -> None:
    read = identity.read(*write(tmp_path, key, authority.sign(key), authority.certificate))
    credentials.check(read)
    assert (read.algorithm, read.name, read.issuer) == (request.node.callspec.id, "Ada Lovelace", "Root")
    assert len(read.chain) == 1  # everybody has to have the root from elsewhere
    identity.keep(read, tmp_path / "me")
    assert identity.own(tmp_path / "me") == read


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("another key", "does not belong to the key"),
        ("old", "it is valid from"),
        ("for servers", "extended key usage"),
        ("weak", "RSA of 2048 bits"),
        ("strange issuer", "not each signed by the next"),
        ("no root", "do not lead to a root"),
        ("an authority's", "key usage"),
        ("encrypted", "encrypted key"),
        ("no certificate", "no certificates in PEM"),
        ("no key", "not a private key in PEM"),
        ("no file", "Cannot read"),
    ],
)
def test_what_cannot_sign_is_refused(tmp_path: Path, authority: Authority, flaw: str, message: str) -> None:
    key = rsa.generate_private_key(65537, 1024) if flaw == "weak" else ec.generate_private_key(ec.SECP256R1())
    changes: dict[str, Any] = {
        "old": {"days": -1},
        "for servers": {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
        "an authority's": {"authority": True},
    }.get(flaw, {})
    chain = [authority.sign(key, **changes), (Authority() if flaw == "strange issuer" else authority).certificate]
    paths = write(tmp_path, key, *chain[: 1 if flaw == "no root" else 2], password=b"x" * (flaw == "encrypted"))
    if flaw == "another key":
        write(tmp_path, ec.generate_private_key(ec.SECP256R1()), *chain)
    if flaw in ("no certificate", "no key"):
        paths[flaw == "no key"].write_text("hello")
    if flaw == "no file":
        paths[0].unlink()
    with pytest.raises(ImpastoError, match=message) as error:
        credentials.check(identity.read(*paths))
    assert isinstance(error.value, InvalidInput | NotFound | CredentialError)

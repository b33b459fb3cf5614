"""`impasto identity`: who signs the pictures that are made here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from impasto.rights.identity import Identity

app = App(name="identity", help="Show, make or import the identity that signs pictures.")


@app.command
def show(*, pem: Annotated[bool, Parameter(name="--pem")] = False) -> None:
    """Show whose signature pictures carry that are made here; makes an identity when there is none.

    Args:
        pem: print the certificates, without the key: what to give to others, who then verify with "--trust FILE".
    """
    from impasto.rights import identity

    own = identity.own()
    if pem:
        print(own.public, end="")
        return
    _print(own)


@app.command
def make(*, name: str | None = None) -> None:
    """Make a new identity; what the earlier one signed stays yours, but its key is gone.

    Args:
        name: whom the certificate is to name; left out, a pseudonym. Nobody has checked either.
    """
    from impasto.rights import identity

    identity.keep(new := identity.make(name))
    _print(new)


@app.command(name="import")
def import_(certificates: Path, key: Path, /) -> None:
    """Sign with a certificate of your own from now on, which has to be fit for C2PA.

    Args:
        certificates: a PEM file: the certificate of the key, then each one that signed the one before, up to the root.
        key: a PEM file with the private key, not encrypted. It is copied to where only you can read it.
    """
    from impasto.rights import credentials, identity

    credentials.check(new := identity.read(certificates, key))
    identity.keep(new)
    _print(new)


def _print(identity: Identity) -> None:
    from impasto.rights.identity import place

    since, until = identity.valid
    print(f"name         {identity.name}")
    print(f"vouched by   {identity.issuer}")
    print(f"certificate  {identity.fingerprint}")
    print(f"algorithm    {identity.algorithm}")
    print(f"valid        {since:%Y-%m-%d} to {until:%Y-%m-%d}")
    print(f"kept in      {place()}")

"""No network: a promise that the interpreter keeps, whatever library breaks it.

Impasto opens a connection to elsewhere only to pull a model. Who wants to be sure says `--offline`, or sets
`IMPASTO_OFFLINE=1`: from then on the interpreter itself refuses each connection and name look-up that leaves this
machine, by an audit hook (PEP 578), which nothing in the process can take away again.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

from impasto.errors import Offline

VARIABLE = "IMPASTO_OFFLINE"
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def asked() -> bool:
    """Return whether the variable says so."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def cut() -> None:
    """Refuse every connection that leaves this machine, in this process and in those of Impasto that it starts.

    From then on such a connection raises `Offline`.
    """
    os.environ[VARIABLE] = os.environ["HF_HUB_OFFLINE"] = "1"
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in LOOKUPS and not _numeric(arguments[0]):
        _raise(arguments[0])
    if event in CONNECTIONS and isinstance(arguments[1], tuple) and not _here(arguments[1][0]):
        _raise(arguments[1][0])


def _raise(host: Any) -> None:
    raise Offline(f"A connection to {host!r} was refused: --offline, or {VARIABLE}, forbids the network.")


def _numeric(host: Any) -> bool:
    """Return whether `host` needs no look-up: an address, this machine, or none."""
    return host in (None, "", b"", "localhost", b"localhost") or _address(host) is not None


def _here(host: Any) -> bool:
    address = _address(host)
    return host == "localhost" or bool(address and address.is_loopback)


def _address(host: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host).partition("%")[0])
    except ValueError:
        return None

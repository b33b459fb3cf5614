"""Connections to addresses that were looked at: a name is resolved, each address checked, and one of them connected to.

Who checks a name first and connects to it by name afterwards asks twice, and may be told two things (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Closed(Exception):
    """A host that has no address, or one in a private network.

    Attributes:
        passing: whether asking for its address again may give another answer.
    """

    def __init__(self, words: str, *, passing: bool = False) -> None:
        super().__init__(words)
        self.passing = passing


def public(text: str) -> bool:
    """Return whether the address `text` is one of the open internet, also where it wraps another."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.teredo or address.sixtofour:
            return False  # tunnels, which lead wherever they say
        if address in NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.ipv4_mapped or address
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolved(host: str, port: int | None, *, private: bool) -> list[str]:
    """Return the addresses of `host`.

    Raises:
        Closed: it has none; or one of them is no public one, unless `private` ones may be asked.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except socket.gaierror as error:
        passing = error.errno == socket.EAI_AGAIN
        raise Closed(f"no address for {host}: {error.strerror or error}", passing=passing) from error
    except (OSError, UnicodeError) as error:
        raise Closed(f"no address for {host}: {error}") from error
    if not private and not all(map(public, found)):
        raise Closed(f"{host} is in a private network")
    return list(dict.fromkeys(found))


def pools(connections: int, *, private: bool) -> Any:
    """Return urllib3's pools, at most `connections` to a host, none to an address that was not checked."""
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, private=private)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, private=private)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager = urllib3.PoolManager(num_pools=1024, maxsize=connections, retries=False)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _connected(wanted: Any, *, private: bool) -> socket.socket:
    """Connect as urllib3's connection `wanted` would, to an address that was checked."""
    from urllib3.util.connection import create_connection

    addresses = resolved(wanted.host, wanted.port, private=private)
    for place, address in enumerate(addresses, 1):
        try:
            return create_connection(
                (address, wanted.port), wanted.timeout, wanted.source_address, wanted.socket_options
            )
        except OSError:
            if place == len(addresses):
                raise
    raise Closed(f"no address for {wanted.host}")

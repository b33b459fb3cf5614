"""What holds for every test: no network, no clock, the same examples each time."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# Peers ask hubs for files unless told not to, and read this when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"

# What a person has pulled, and what is remembered of their files, is not the tests' to see or to change.
os.environ["IMPASTO_HOME"] = tempfile.mkdtemp(prefix="impasto-tests-")

# A loaded machine is no failure, and the same commit gives the same examples.
hypothesis.settings.register_profile("impasto", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("impasto")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise AssertionError(f"A test tried to connect to {address!r}.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Take away the handlers that a test's program set up: they write to what pytest has closed by then."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)

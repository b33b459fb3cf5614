"""What happens, for whoever wants to know: the newest state of each thing, numbered.

An event says all of the thing that it is about, so that of each thing only the newest event matters and who missed some
needs no more than the newest of each. So there is nothing to overflow, however slowly somebody listens.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from impasto.errors import InvalidInput

REMEMBERED = 2000
"""Things whose newest event is kept."""


class TooManySubscribers(InvalidInput):
    """As many listen as may."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        number: later ones have a higher one.
        name: what kind of thing it is about.
        thing: id of the thing.
        data: what it is now.
    """

    number: int
    name: str
    thing: str
    data: dict[str, Any]


class Hub:
    """Where events come in from any thread, and go out to those that listen in the event loop."""

    def __init__(self, most: int = 256) -> None:
        self._run, self._most = secrets.token_hex(4), most
        self._newest: OrderedDict[tuple[str, str], Event] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._closed = False

    def publish(self, name: str, thing: str, data: dict[str, Any]) -> None:
        """Tell everybody that `thing` is now `data`."""
        with self._lock:
            self._number += 1
            self._newest.pop((name, thing), None)
            self._newest[name, thing] = Event(self._number, name, thing, data)
            while len(self._newest) > REMEMBERED:
                self._newest.popitem(last=False)
            self._wake()

    def check_room(self) -> None:
        """Raise TooManySubscribers when as many listen as may."""
        if len(self._listeners) >= self._most:
            raise TooManySubscribers(f"{self._most} listen already, as many as may. Try again later.")

    def retract(self, name: str, thing: str) -> None:
        """Forget what was told of `thing`, which is no longer."""
        with self._lock:
            self._newest.pop((name, thing), None)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            self._closed = True
            self._wake()

    def _wake(self) -> None:
        for signal, loop in self._listeners.items():
            loop.call_soon_threadsafe(signal.set)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def mark(self, event: Event) -> str:
        """Return the name under which `event` can be returned to: `Last-Event-ID`."""
        return f"{self._run}-{event.number}"

    def since(self, mark: str | None) -> int | None:
        """Return the number of the event that `mark` names; None when it is of another run, and nothing is known."""
        run, _, number = (mark or "").partition("-")
        return int(number) if run == self._run and number.isascii() and number.isdigit() and len(number) < 16 else None

    @property
    def last(self) -> int:
        """Number of the newest event."""
        with self._lock:
            return self._number

    def _since(self, after: int) -> list[Event]:
        """Return the events after number `after`, without a look at those before."""
        fresh = list(takewhile(lambda event: event.number > after, reversed(self._newest.values())))
        return fresh[::-1]

    async def subscribe(
        self, after: int, wanted: Callable[[Event], bool] = lambda _: True, patience: float = 15.0
    ) -> AsyncIterator[Event | None]:
        """Yield the events after number `after` as they come, and None when nothing came for `patience` seconds.

        Raises:
            TooManySubscribers: as many listen as may.
        """
        signal = asyncio.Event()
        with self._lock:
            self.check_room()
            self._listeners[signal] = asyncio.get_running_loop()
        try:
            while True:
                signal.clear()
                with self._lock:
                    fresh, closed = self._since(after), self._closed
                for event in fresh:
                    after = event.number
                    if wanted(event):
                        yield event
                if closed:
                    return
                try:
                    await asyncio.wait_for(signal.wait(), patience)
                except (asyncio.TimeoutError, TimeoutError):
                    yield None
        finally:
            with self._lock:
                del self._listeners[signal]

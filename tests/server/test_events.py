"""Events: the newest of each thing, in order, from wherever one left off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from impasto.server import events
from impasto.server.events import Event, Hub, TooManySubscribers


async def take(hub: Hub, after: int, count: int, **more: Any) -> list[Event | None]:
    found = []
    stream = hub.subscribe(after, **more)
    async for event in stream:
        found.append(event)
        if len(found) == count:
            break
    await stream.aclose()
    return found


def test_who_comes_late_gets_the_newest_of_each_thing() -> None:
    hub = Hub()
    for n in range(5):
        hub.publish("job", "a", {"n": n})
    hub.publish("job", "b", {"n": 0})
    hub.publish("job", "a", {"n": 5})
    found = asyncio.run(take(hub, 0, 2))
    assert [(event.thing, event.data["n"]) for event in found if event] == [("b", 0), ("a", 5)]


def test_who_returns_gets_what_was_missed_and_no_more() -> None:
    hub = Hub()
    hub.publish("job", "a", {})
    hub.publish("job", "b", {})
    (first,) = asyncio.run(take(hub, 0, 1))
    assert first is not None
    after = hub.since(hub.mark(first))
    assert after == 1
    (second,) = asyncio.run(take(hub, after, 1))
    assert second is not None
    assert second.thing == "b"


@pytest.mark.parametrize("mark", [None, "", "x", "abcd-1", "-1", "{run}-x", "{run}-", "{run}-²", "{run}-" + "9" * 30])
def test_a_mark_of_another_run_says_nothing(mark: str | None) -> None:
    hub = Hub()
    run = hub.mark(Event(1, "", "", {})).partition("-")[0]
    assert hub.since(mark and mark.replace("{run}", run)) is None


def test_events_come_as_they_happen_from_any_thread() -> None:
    hub = Hub()

    async def main() -> list[Event | None]:
        taking = asyncio.create_task(take(hub, 0, 2, wanted=lambda event: event.thing != "b"))
        await asyncio.sleep(0.01)
        for thing in ("a", "b", "c"):
            await asyncio.to_thread(hub.publish, "job", thing, {})
            await asyncio.sleep(0.01)
        return await asyncio.wait_for(taking, 5)

    assert [event.thing for event in asyncio.run(main()) if event] == ["a", "c"]
    assert hub.listeners == 0


def test_patience_ends_with_a_sign_of_life() -> None:
    assert asyncio.run(take(Hub(), 0, 2, patience=0.01)) == [None, None]


def test_closing_ends_every_subscription() -> None:
    hub = Hub()

    async def main() -> list[Event | None]:
        taking = asyncio.create_task(take(hub, 0, 9))
        await asyncio.sleep(0.01)
        hub.close()
        return await asyncio.wait_for(taking, 5)

    assert asyncio.run(main()) == []


def test_too_many_are_turned_away() -> None:
    hub = Hub(most=1)

    async def main() -> None:
        stream = hub.subscribe(0, patience=0.01)
        assert await stream.__anext__() is None
        with pytest.raises(TooManySubscribers, match="1 listen"):
            await hub.subscribe(0).__anext__()
        await stream.aclose()
        assert await hub.subscribe(0, patience=0.01).__anext__() is None

    asyncio.run(main())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 3)
    hub = Hub()
    for n in range(10):
        hub.publish("job", str(n), {})
    assert [event.thing for event in asyncio.run(take(hub, 0, 3)) if event] == ["7", "8", "9"]

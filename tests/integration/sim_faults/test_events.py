"""Private events under faults, over real sockets."""

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.integration


async def test_events_come_before_the_reply(venue: Any) -> None:
    private = await venue.private()
    await venue.once("event_before_reply", ms_min=400, ms_max=400)
    order = asyncio.create_task(venue.place("early"))
    last = {"upbit": "done", "binance": "trade"}[venue.name]
    while venue.kind(await venue.told(private)) != last:
        pass
    assert not order.done()
    assert (await order)[0] in (200, 201)


async def test_an_event_comes_twice(venue: Any) -> None:
    private = await venue.private()
    await venue.once("duplicate_event")
    await venue.place("twice")
    assert await venue.told(private) == (first := await venue.told(private))
    assert venue.kind(first) == "new"
    assert venue.kind(await venue.told(private)) != "new"


async def test_an_event_comes_late(venue: Any) -> None:
    private = await venue.private()
    await venue.once("late_event", ms_min=100, ms_max=100)
    await venue.place("late")
    kinds = []
    while "new" not in kinds:
        kinds.append(venue.kind(await venue.told(private)))
    assert "trade" in kinds[:-1]

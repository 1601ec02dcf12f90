"""WebSockets under faults: cut, silent, incomplete, sent away."""

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.integration


async def test_sockets_are_cut(venue: Any) -> None:
    public, private = await venue.public(), await venue.private()
    await venue.once("disconnect", sockets="private")
    assert (await venue.closed(private)).rcvd is None
    await venue.told(public)
    await venue.once("disconnect", sockets="public", clean=True)
    ended = (await venue.closed(public)).rcvd
    assert ended is not None
    assert (ended.code, ended.reason) == (1001, "going away")
    _, stats, _ = await venue.get("/sim/stats")
    assert stats["venues"][venue.name]["closed"] == {"fault: disconnect": 2}


async def test_one_of_several_sockets_is_cut(venue: Any) -> None:
    clients = [await venue.public() for _ in range(3)]
    await venue.once("disconnect", connections=1)
    ends = [asyncio.create_task(venue.closed(client)) for client in clients]
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    _, stats, _ = await venue.get("/sim/stats")
    for end in pending:
        end.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    assert (len(done), stats["venues"][venue.name]["clients"]) == (1, 2)


async def test_a_socket_falls_silent_and_answers_pings(venue: Any) -> None:
    public, private = await venue.public(), await venue.private()
    await venue.once("silent_stall", ms_min=0, ms_max=0)
    while True:  # what was on its way
        try:
            async with asyncio.timeout(0.3):
                await public.recv()
        except TimeoutError:
            break
    await (await public.ping())
    await venue.place("unheard")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await private.recv()
    await venue.faults(clear=["silent_stall"])
    await venue.told(public)
    await venue.place("heard")
    assert venue.kind(await venue.told(private)) == "new"
    _, stats, _ = await venue.get("/sim/stats")
    assert stats["venues"][venue.name]["withheld"] > 0


async def test_an_update_is_missing(binance: Any) -> None:
    diffs = await binance.public()
    last = (await binance.told(diffs))["u"]
    await binance.once("sequence_gap")
    gaps = 0
    for _ in range(5):
        event = await binance.told(diffs)
        gaps += event["U"] != last + 1
        last = event["u"]
    assert gaps == 1


async def test_maintenance(venue: Any) -> None:
    public, private = await venue.public(), await venue.private()
    await venue.once("maintenance", ms_min=0, ms_max=0)
    for client in (public, private):
        ended = (await venue.closed(client)).rcvd
        assert ended is not None
        assert ended.code == 1001
    async with venue.http.get(f"http://{venue.at}{venue.ping}") as reply:
        assert reply.status == 503
        assert "aintenance" in await reply.text() or venue.name == "upbit"
    with pytest.raises(InvalidStatus) as refused:
        await venue.public()
    assert refused.value.response.status_code == 503
    await venue.faults(clear="all")
    assert (await venue.get(venue.ping))[0] == 200
    await venue.public()


async def test_a_shutdown_is_announced_and_comes(binance: Any) -> None:
    raw, combined, api = [
        await binance.open(path) for path in ("/ws/none@trade", "/stream?streams=none@trade", "/ws-api/v3")
    ]
    await binance.once("shutdown_notice", ms_min=100, ms_max=100)
    first, second, third = [await binance.told(client) for client in (raw, combined, api)]
    assert (first["e"], second["stream"], third["event"]["e"]) == (
        "serverShutdown", "!serverShutdown", "serverShutdown",
    )  # fmt: skip
    assert second["data"]["e"] == "serverShutdown"
    late = await binance.public()
    await asyncio.sleep(0.1)
    binance.exchanges.on_time()
    for client in (raw, combined, api):
        await binance.closed(client)
    await binance.told(late)

"""The switchboard of each venue, on its port."""

from typing import Any

import pytest

pytestmark = pytest.mark.integration


async def test_mistakes_change_nothing(venues: dict[str, Any]) -> None:
    venue = venues["upbit"]
    _, before, _ = await venue.get("/sim/faults")
    for order in (
        {"set": {"delay": {"share": 1}, "delai": {}}},
        {"set": {"delay": {"share": 2}}},
        {"once": {"shutdown_notice": {}}},
        {"once": {"delay": {"venue": "binance"}}},
        {"colour": 1},
    ):
        url = f"http://{venue.at}/sim/faults"
        async with venue.http.post(url, json=order, headers=venue.control) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"]
    _, state, _ = await venue.get("/sim/faults")
    assert state == before


async def test_each_port_has_faults_of_its_own(venues: dict[str, Any]) -> None:
    await venues["upbit"].faults(set={"rate_limited": {"share": 1.0}})
    assert (await venues["upbit"].get(venues["upbit"].ping))[0] == 429
    assert (await venues["binance"].get(venues["binance"].ping))[0] == 200
    await venues["upbit"].faults(clear=["rate_limited"])
    assert (await venues["upbit"].get(venues["upbit"].ping))[0] == 200

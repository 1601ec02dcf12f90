"""What is asked after a stream was lost, and what is told of the answers."""

import pytest

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.recovery import open_orders, recover
from arbshard.errors import VenueUnavailable
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.upbit.account import UpbitAccount

UPBIT = UpbitAccount()


def row(number, state="wait", executed="0"):
    return {
        "market": "KRW-BTC", "uuid": str(number), "side": "bid", "state": state,
        "executed_volume": executed, "remaining_volume": "1", "identifier": f"ab12c-{number}",
    }  # fmt: skip


async def test_orders_that_changed_meanwhile_are_told(markets, tag, heard, script):
    orders = VenueOrders("upbit", tag, markets["upbit"])
    orders.update(heard(client_id=f"{tag}-1", order_id="1"))
    orders.update(heard(client_id=f"{tag}-2", order_id="2"))
    asker = script(
        orders_open=[row(2, executed="0.1")], orders_closed=[row(3, "done", "1")], order=row(1, "cancel")
    )
    told = []
    number = await recover(UPBIT, asker, orders, 1_000_000, told.append)
    assert {(one.venue_order_id, one.state) for one in told} == {
        ("1", "EXPIRED"), ("2", "PARTIAL"), ("3", "FILLED"),
    }  # fmt: skip
    assert number == 3
    assert asker.paths == ["orders/open", "orders/closed", "order"], "what a list told is not asked again"
    assert all(urgent for _, _, urgent in asker.asked)
    assert int(asker.asked[1][1]["start_time"]) < 1_000_000, "a silent death is noticed late"


async def test_binance_is_asked_about_the_markets_of_late(tag, markets, frames, script):
    venue = BinanceAccount()
    orders = VenueOrders("binance", tag, markets["binance"])
    orders.update(venue.read(frames.binance_trade(X="FILLED")))
    asker = script(openOrders=[], allOrders=[])
    assert await recover(venue, asker, orders, 1_000_000, pytest.fail) == 0
    assert [(path, params.get("symbol")) for path, params, _ in asker.asked] == [
        ("openOrders", None), ("allOrders", "BTCUSDT"),
    ]  # fmt: skip


async def test_pages_are_asked_for_until_one_is_not_full(script):
    asker = script(orders_open=None)
    asker.then("orders/open", [row(n) for n in range(100)], [row(100)])
    found = await open_orders(UPBIT, asker)
    assert len(found) == 101
    assert [params["page"] for _, params, _ in asker.asked] == ["1", "2"]


async def test_an_endless_list_is_cut(script):
    asker = script(orders_open=[row(n) for n in range(100)])
    assert len(await open_orders(UPBIT, asker)) == 1000


async def test_silence_is_for_the_caller_to_bear(tag, markets, script, lost):
    orders = VenueOrders("upbit", tag, markets["upbit"])
    with pytest.raises(VenueUnavailable, match="no answer"):
        await recover(UPBIT, script(orders_open=lost), orders, 0, pytest.fail)

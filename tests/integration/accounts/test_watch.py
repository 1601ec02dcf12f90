"""Accounts watched on the embedded exchanges by real calls: events, statements, losses in between."""

import asyncio
import time
from collections import defaultdict
from decimal import ROUND_DOWN, Decimal

import pytest

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.rest_client import Asker
from arbshard.accounts.watch import VenueWatch
from arbshard.clock import SystemClock
from arbshard.data.clients import open_client
from arbshard.data.listings import find_universe
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.model.money import exact
from arbshard.model.order import Order
from arbshard.shm.budget import Budget
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.registry import get_adapter, rate_windows

pytestmark = pytest.mark.integration
TAG = "ab12c"


class Counts(defaultdict):
    def __init__(self):
        super().__init__(int)

    def count(self, name):
        self[name] += 1

    def set(self, name, value):
        self[name] = value


class Watched:
    """One venue's watch, and what it said."""

    def __init__(self, world, venue, universe, budget):
        clock = SystemClock()
        self.venue = venue
        self.counts = Counts()
        self.events = []
        self.statements = []
        self.client = open_client(venue, world.config, world.keys[venue], clock)
        gate = RateLimiter(budget, world.config.live, clock, self.counts.count)
        self.pair = universe.pairs[0]
        markets = {leg.market.symbol: leg.market for leg in universe.legs() if leg.market.venue == venue}

        async def send(statement):
            self.statements.append(statement)

        self.watch = VenueWatch(
            get_adapter(venue).account,
            world.config,
            world.keys[venue],
            Asker(venue, self.client, gate),
            VenueOrders(venue, TAG, markets),
            self.events.append,
            send,
            self.client.set_clock,
            self.counts,
            clock,
        )

    def order(self, number, price, quantity="1", notional=None):
        leg = self.pair.leg(self.venue)
        limit = leg.rules.round_price(price, "buy")
        quantity = leg.rules.round_quantity(notional / limit if notional else Decimal(quantity))
        return Order(f"s1-0-1-{number}-h0", leg.market, "buy", quantity, limit)

    async def place(self, order, **changes):
        request = get_adapter(self.venue).orders.place(order, f"{TAG}-{order.client_id}")
        params = {name: value for name, value in {**request.params, **changes}.items() if value}
        answer = await self.client.call(request._replace(params=params))
        assert answer.status in (200, 201), answer.body
        return answer


@pytest.fixture
async def watched(world, tmp_path):
    universe = await find_universe(world.config)
    budget = Budget.open(tmp_path, "accounts", rate_windows())
    started = []

    async def begin(venue):
        one = Watched(world, venue, universe, budget)
        started.append((one, asyncio.create_task(one.watch.run())))
        async with asyncio.timeout(10):
            while not (one.counts["stream_up"] and one.statements):
                await asyncio.sleep(0.01)
        return one

    yield begin
    for one, task in started:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.client.close()
    budget.close()


async def price_of(one):
    """What a buyer meets now."""
    leg = one.pair.leg(one.venue)
    rest = get_adapter(one.venue).rest
    (call,) = rest.calls([leg.market.symbol], 5)
    path, _, query = call.path.partition("?")
    params = dict(part.split("=") for part in query.split("&"))
    answer = await one.client.call(VenueRequest("GET", path, params, {}, private=False))
    ((_, book),) = rest.decode(call, answer.body, 1)
    return exact(book.best_ask)


def shown(balances, venue):
    """Amounts as the venue prints them: Upbit cuts them to eight decimals, and a fee may have nine."""
    digit = Decimal("1e-8") if venue == "upbit" else Decimal("1e-30")
    return {
        name: tuple(amount.quantize(digit, ROUND_DOWN) for amount in amounts)
        for name, amounts in balances.items()
    }


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_an_order_is_told_whole_and_the_account_stated_exact(world, watched, until, venue):
    one = await watched(venue)
    opening = {currency: (free, locked) for currency, free, locked in one.statements[0].balances}
    price = await price_of(one)
    notional = Decimal(100_000) if venue == "upbit" else Decimal(70)
    order = one.order(1, price * Decimal("1.01"), notional=notional)
    await one.place(order)
    await until(lambda: any(event.state in ("FILLED", "CANCELED", "EXPIRED") for event in one.events))
    fills = [fill for event in one.events for fill in event.fills]
    assert sum(fill.quantity for fill in fills) == max(event.filled for event in one.events) > 0
    assert {event.client_id for event in one.events} == {order.client_id}
    before = one.statements[-1].at_ms
    await until(lambda: one.statements[-1].settled and one.statements[-1].at_ms > before)
    account = await world.account(venue)
    told = {currency: (free, locked) for currency, free, locked in one.statements[-1].balances}
    real = {
        currency: (Decimal(row["free"]), Decimal(row["locked"]))
        for currency, row in account["balances"].items()
        if Decimal(row["free"]) or Decimal(row["locked"])
    }
    assert shown(told, venue) == shown(real, venue), "the statement is what the venue's own books say"
    changes = defaultdict(Decimal)
    for fill in fills:
        for currency, change in fill.changes():
            changes[currency] += change
    explained = {name: (free + changes[name], locked) for name, (free, locked) in opening.items()}
    assert shown(told, venue) == shown(explained, venue), "the fills that were told add up to what changed"


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_what_happens_while_the_stream_is_lost_is_told_afterwards(world, watched, until, venue):
    one = await watched(venue)
    price = await price_of(one)
    notional = Decimal(20_000) if venue == "upbit" else Decimal(15)
    resting = one.order(2, price * Decimal("0.9"), notional=notional)
    tif = {"time_in_force": ""} if venue == "upbit" else {"timeInForce": "GTC"}
    await one.place(resting, **tif)
    await until(lambda: [event.state for event in one.events] == ["ACCEPTED"])
    await until(lambda: bool(one.statements[-1].open_orders))
    name, symbol, remaining = one.statements[-1].open_orders[0]
    assert (name, symbol, remaining) == (
        f"{TAG}-{resting.client_id}",
        resting.market.symbol,
        resting.quantity,
    )
    one.statements.clear()
    # Events are held back for so long that only REST can tell what comes next.
    await world.keep(venue, late_event={"share": 1.0, "ms_min": 600_000, "ms_max": 600_000})
    cancel = {"identifier": f"{TAG}-{resting.client_id}"}
    if venue == "binance":
        cancel = {"symbol": resting.market.symbol, "origClientOrderId": f"{TAG}-{resting.client_id}"}
    path = get_adapter(venue).orders.find(resting.market, "").path
    answer = await one.client.call(VenueRequest("DELETE", path, cancel, {}))
    assert answer.status == 200, answer.body
    await asyncio.sleep(0.3)
    assert [event.state for event in one.events] == ["ACCEPTED"]
    await world.fault(venue, disconnect={"sockets": "private"})
    ended = {"upbit": "EXPIRED", "binance": "CANCELED"}[venue]  # Upbit has one word for both
    await until(lambda: one.events[-1].state == ended)
    assert one.counts["reconnects"] == 1
    assert one.events[-1].fills == ()


async def test_a_venue_in_maintenance_is_waited_for(world, watched, until):
    one = await watched("upbit")
    await world.fault("upbit", maintenance={"ms_min": 1500, "ms_max": 1500})
    await until(lambda: one.counts["poll_errors"] > 0)
    stated = len(one.statements)
    await until(lambda: len(one.statements) > stated and one.counts["stream_up"] >= 1, 20)
    assert one.statements[-1].at_ms <= time.time() * 1000

"""Connections that are lost by all processes of a host at once, on virtual time."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from arbshard.accounts.stream import PrivateStream
from arbshard.config import VenuesConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.clients import HttpVenueClient
from arbshard.data.order_socket import SocketVenueClient
from arbshard.data.stream import Target
from arbshard.execution.live.connecting import ORDERS_SHARE, in_turn
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer
from arbshard.venues.binance.order_socket import BinanceOrderSocket
from arbshard.venues.binance.signing import BinanceSigning
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter, get_venue, rate_windows
from support import virtual_time as v

KEYS = Keys("binance", "access", "secret")
WINDOW_S = 300.0
ALLOWED = 300
"""Attempts to connect that Binance allows an address in five minutes."""


class Ignoring:
    def on_up(self):
        pass

    def on_order(self, report):
        pass

    def on_balances(self, report):
        pass

    def count(self, name):
        pass

    def set(self, name, value):
        pass


class HostOfWorkers:
    """The processes of one machine that have private connections: workers, and the accounts process."""

    def __init__(self, run_dir):
        self.run_dir = run_dir
        self.clock = v.LoopClock()
        self.orders, self.accounts = v.Host(), v.Host()
        self.budgets = []

    def budget(self, owner):
        self.budgets.append(Budget.open(self.run_dir, owner, rate_windows()))
        return self.budgets[-1]

    def keep_orders(self, shard, opener=None):
        budget, name = self.budget(f"worker-{shard}"), f"worker-{shard}"
        http = HttpVenueClient("binance", "http://x", BinanceSigning(), KEYS, None, self.clock, 5000)
        opener = opener or in_turn(self.orders.open, "binance", budget, self.clock, ORDERS_SHARE)
        target = Target("ws://nowhere", 30.0)
        client = SocketVenueClient(
            "binance", BinanceOrderSocket(), target, KEYS, http, self.clock, 1.0, "auto", opener, name
        )
        return asyncio.ensure_future(client.keep_open())

    def keep_account(self):
        ignoring, opener = Ignoring(), self.accounts.open
        stream = PrivateStream(
            get_adapter("binance").account,
            replace(VenuesConfig().binance, ws_url="wss://binance.invalid"),
            KEYS,
            ignoring,
            ignoring,
            self.clock,
            5000,
            "auto",
            in_turn(opener, "binance", self.budget("accounts"), self.clock),
        )
        return asyncio.ensure_future(stream.run())


@pytest.fixture
def on_time(tmp_path):
    """Runs what a test does with a host on virtual time."""
    hosts = []

    def run(work):
        async def whole():
            hosts.append(HostOfWorkers(tmp_path))
            return await work(hosts[-1])

        return v.run(whole())

    yield run
    for host in hosts:
        for budget in host.budgets:
            budget.close()


def most_in_a_window(tries_s):
    return max(sum(at <= other < at + WINDOW_S for other in tries_s) for at in tries_s)


def test_an_outage_of_an_hour_stays_within_the_limit_of_the_address(on_time):
    """Binance bans an address that goes beyond it, and with it every order of the host."""

    async def work(host):
        host.orders.refuse = host.accounts.refuse = 1 << 30
        for shard in range(30):
            host.keep_orders(shard)
        host.keep_account()
        await asyncio.sleep(3600)
        return host.orders.tries_s, host.accounts.tries_s

    orders_s, account_s = on_time(work)
    of_feeds = get_venue("binance").connection_rules.connects
    assert of_feeds.window_s == WINDOW_S
    assert most_in_a_window(orders_s + account_s) + of_feeds.count <= ALLOWED
    assert len(orders_s) > 500  # and it goes on trying
    gaps_s = [later - at for at, later in itertools.pairwise(account_s)]
    assert max(gaps_s) < 60  # the workers have left the private stream its part


def test_without_turns_the_same_outage_is_beyond_the_limit(on_time):
    async def work(host):
        host.orders.refuse = 1 << 30
        for shard in range(30):
            host.keep_orders(shard, host.orders.open)
        await asyncio.sleep(600)
        return host.orders.tries_s

    assert most_in_a_window(on_time(work)) > ALLOWED


def test_workers_do_not_all_try_at_the_same_moments(on_time):
    async def work(host):
        host.orders.refuse = 1 << 30
        for shard in range(4):
            host.keep_orders(shard)
        await asyncio.sleep(200)
        return host.orders.tries_s

    tries_s = on_time(work)
    # The first two tries of each are at once, every other one after a pause of its own.
    assert len({round(at, 6) for at in tries_s}) == len(tries_s) - 2 * 4 + 1


def test_nothing_connects_to_a_venue_that_refuses_everything(on_time):
    """A ban grows with every further attempt."""

    async def work(host):
        host.keep_orders(0)
        host.keep_account()
        other = host.budget("worker-1")
        began_s = asyncio.get_running_loop().time()
        other.block("binance", host.clock.monotonic_ns() + 120_000_000_000)
        await asyncio.sleep(300)
        return [at - began_s for at in (*host.orders.tries_s, *host.accounts.tries_s)]

    waited_s = on_time(work)
    assert len(waited_s) >= 2
    assert all(waited >= 120 for waited in waited_s)
    assert min(waited_s) < 130


@pytest.mark.parametrize("who", ["the accounts process", "the feeds"])
def test_all_processes_learn_of_a_ban_and_none_connects_until_it_is_over(on_time, who):
    """Each attempt during a ban makes it longer, up to three days."""

    async def work(host):
        banned = Answer(418, b"", {"retry-after": "600"})
        feeds = AddressBlock("binance", host.clock, host.budget("supervisor"))
        for shard in range(3):
            host.keep_orders(shard)
        await asyncio.sleep(10)
        assert len(host.orders.open_now) == 3
        if who == "the feeds":
            feeds.learn(banned)
        else:
            host.accounts.refuse, host.accounts.answer = 1, banned
        host.keep_account()
        await asyncio.sleep(1)
        for stream in host.orders.open_now:
            stream.end()
        tried = len(host.orders.tries_s), len(host.accounts.tries_s)
        assert tried == (3, 0 if who == "the feeds" else 1)
        await asyncio.sleep(590)
        assert (len(host.orders.tries_s), len(host.accounts.tries_s)) == tried
        assert 0 < feeds.connects_left_s() < 10
        await asyncio.sleep(60)
        assert feeds.connects_left_s() == 0
        assert len(host.orders.open_now) == 3
        assert len(host.accounts.open_now) == 1

    on_time(work)


def test_too_many_attempts_stop_further_ones_and_no_order(on_time):
    async def work(host):
        host.orders.refuse, host.orders.answer = 1, Answer(429, b"", {"retry-after": "200"})
        host.keep_orders(0)
        await asyncio.sleep(1)
        host.keep_account()
        await asyncio.sleep(190)
        assert (len(host.orders.tries_s), len(host.accounts.tries_s)) == (1, 0)
        assert host.budgets[-1].spend({"binance_weight": 1}, 1.0, host.clock.monotonic_ns())
        await asyncio.sleep(60)
        assert len(host.orders.open_now) == len(host.accounts.open_now) == 1

    on_time(work)

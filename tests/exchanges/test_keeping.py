"""Accounts outlive the exchange that kept them: what was acknowledged is known to the next one."""

import os
import sqlite3
from decimal import Decimal

import pytest

from arbshard.config import SimAccountsConfig, SimConfig
from arbshard.errors import ConfigError, RunFailed
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.order import Ticket
from arbshard.exchanges.accounts.state import audit
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.keeping import AccountsFile
from arbshard.exchanges.world import SimWorld

CONFIG = SimConfig(coins=2)


class Venue:
    """One incarnation of Binance's accounts and matching."""

    def __init__(self, path, first_number=1, **accounts):
        self.world = SimWorld(CONFIG)
        _, found = seeded_accounts(SimAccountsConfig(**accounts), self.world.upbit, self.world.binance)
        (self.account,) = found
        self.matcher = Matcher(self.world.binance, BinanceMoney(), first_number)
        self.file = AccountsFile(path)
        self.file.keep("binance", self.account, self.matcher)

    def place(self, client_id, factor, tif="gtc", quantity="0.01"):
        """A purchase of bitcoin at ``factor`` times the ask."""
        book = self.world.binance["BTCUSDT"]
        price = (Decimal(book.best_ask) / 10**8 * Decimal(factor)).quantize(Decimal("0.01"))
        ticket = Ticket("BTCUSDT", "buy", "limit", tif, price, Decimal(quantity), client_id=client_id)
        return self.matcher.place(self.account, ticket, 1)


@pytest.fixture
def begin(tmp_path):
    """Starts the venue on the same file; a former incarnation is left as SIGKILL would leave it."""
    made = []

    def build(**settings):
        one = Venue(tmp_path / "accounts.sqlite", **settings)
        made.append(one)
        return one

    yield build
    for one in made:
        one.file.close()


def test_orders_fills_balances_and_numbers_are_known_again(begin):
    first = begin()
    filled = first.place("filled", "1.02", "ioc")
    waits = first.place("waits", "0.8")
    canceled = first.place("canceled", "0.8")
    first.matcher.cancel(first.account, canceled, 2)
    before = audit(first.account)
    assert [one["status"] for one in before["orders"]] == ["done", "open", "canceled"]
    second = begin(quote_away=Decimal(5))
    assert audit(second.account) == before
    assert [order.id for order in second.account.open_orders.values()] == [waits.id]
    assert second.account.by_client_id["filled"].fills == filled.fills
    assert second.account.has_used("canceled")
    assert not second.account.has_used("never")
    later = second.place("later", "1.02", "ioc")
    assert later.number == canceled.number + 1
    assert {fill.trade_id for fill in later.fills}.isdisjoint(fill.trade_id for fill in filled.fills)


def test_an_order_that_waited_still_fills_and_is_canceled(begin):
    first = begin()
    first.place("waits", "0.8")
    first.place("goes", "0.8")
    second = begin()
    goes, waits = (second.account.by_client_id[name] for name in ("goes", "waits"))
    second.matcher.cancel(second.account, goes, 2)
    assert second.account.wallet.locked("USDT") == waits.held
    second.world.binance["BTCUSDT"].advance(
        float(waits.price) * 0.99, 1.0
    )  # the market comes down to the order
    assert second.matcher.on_step("BTCUSDT", 3)
    assert waits.status == "done"
    third = begin()
    assert audit(third.account) == audit(second.account)
    assert third.account.by_client_id["waits"].fills


def test_every_acknowledged_change_is_there_whenever_it_is_killed(begin):
    """After each single change a successor is started."""
    first = begin()
    for number in range(8):
        order = first.place(f"o{number}", "1.02" if number % 2 else "0.8", "ioc" if number % 3 else "gtc")
        assert audit(begin().account) == audit(first.account)
        if order.is_open:
            first.matcher.cancel(first.account, order, 5)
            assert audit(begin().account) == audit(first.account)


def test_what_is_forgotten_is_forgotten_in_the_file_too(begin, monkeypatch):
    monkeypatch.setattr("arbshard.exchanges.accounts.account.ORDERS_MAX", 3)
    monkeypatch.setattr("arbshard.exchanges.accounts.account.CLIENT_IDS_MAX", 5)
    first = begin()
    for number in range(12):
        first.place(f"o{number}", "1.02", "ioc", "0.0001")
    assert first.account.orders_dropped > 0
    second = begin()
    assert audit(second.account) == audit(first.account)
    assert [second.account.has_used(f"o{number}") for number in range(12)] == [False] * 7 + [True] * 5


def test_nobody_else_can_read_it(begin, tmp_path):
    before = os.umask(0o000)
    try:
        begin().place("filled", "1.02", "ioc")
    finally:
        os.umask(before)
    assert {path.name for path in tmp_path.iterdir()} == {
        "accounts.sqlite", "accounts.sqlite-wal", "accounts.sqlite-shm",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--accounts-file: "):
        AccountsFile(tmp_path / "none" / "accounts.sqlite")


def test_a_change_that_cannot_be_kept_is_not_acknowledged(begin, tmp_path):
    first = begin()
    with sqlite3.connect(tmp_path / "accounts.sqlite") as other:
        other.execute("DROP TABLE orders")
    with pytest.raises(RunFailed, match="cannot be kept"):
        first.place("lost", "1.02", "ioc")
    assert isinstance(first.file.failure, RunFailed)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_a_file_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "accounts.sqlite"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--accounts-file: .*accounts\.sqlite"):
        AccountsFile(path)


def test_accounts_that_cannot_be_begun_leave_nothing_half_written(begin, tmp_path) -> None:
    path = tmp_path / "accounts.sqlite"
    AccountsFile(path).close()
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE counters")
        other.execute(
            "CREATE TABLE counters (venue, next_order, next_trade, orders_dropped, CHECK (venue = ''))"
        )
    with pytest.raises(ConfigError, match=r"--accounts-file: .*accounts\.sqlite cannot be used"):
        begin()
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM openings").fetchone() == (0,)

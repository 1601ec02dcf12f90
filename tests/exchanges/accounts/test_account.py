from decimal import Decimal

import msgspec
import pytest

from arbshard.config import SimAccountsConfig, SimPermissions
from arbshard.exchanges.accounts import account as account_module
from arbshard.exchanges.accounts.account import Accounts, TradingAccount, seeded_accounts
from arbshard.exchanges.accounts.order import SimOrder, Ticket, WalletChanged
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.world import SimWorld


def new_account(key: str = "key") -> TradingAccount:
    return TradingAccount(key, "secret", Wallet({}), SimPermissions())


def new_order(number: int, client_id: str = "") -> SimOrder:
    ticket = Ticket("KRW-BTC", "buy", "limit", client_id=client_id)
    return SimOrder(number, f"id{number}", ticket, "BTC", "KRW", 0, 0)


def test_opening_balances_are_the_same_coins_on_both_venues(world: SimWorld) -> None:
    config = SimAccountsConfig(
        quote_home=Decimal(5), quote_away=Decimal(6), coins_notional=Decimal(1_000_000), upbit_key="mine"
    )
    home, away = seeded_accounts(config, world.upbit, world.binance)
    one, two = home.get("mine"), away.get("sim-binance-key")
    assert one is not None
    assert two is not None
    assert home.get("sim-upbit-key") is None
    assert one.wallet.free("KRW") == 5
    assert two.wallet.free("USDT") == 6
    assert one.wallet.free("USDT") == 0
    for base in ("BTC", "ETH", "XRP"):
        quantity = one.wallet.free(base)
        assert quantity == two.wallet.free(base)
        assert quantity * 10**8 % world.binance[f"{base}USDT"].listing.lot == 0
        worth = quantity * world.upbit[f"KRW-{base}"].best_bid / 10**8
        assert 990_000 < worth <= 1_000_000


def test_secrets_are_long_enough_for_any_signing_library_and_unknown_keys_are_refused() -> None:
    config = SimAccountsConfig()
    assert (
        min(len(config.upbit_secret), len(config.binance_secret)) >= 64
    )  # HS512 wants a key as long as its hash
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"upbit_keys": "x"}, SimAccountsConfig)
    assert msgspec.convert({"quote_home": "1.5"}, SimAccountsConfig).quote_home == Decimal("1.5")


def test_one_account_per_key() -> None:
    with pytest.raises(AssertionError):
        Accounts(new_account(), new_account())


def test_the_newest_order_has_the_client_id_and_the_id_stays_used() -> None:
    account = new_account()
    first, second = new_order(1, "mine"), new_order(2, "mine")
    account.add_order(first)
    account.add_order(second)
    assert account.by_client_id["mine"] is second
    account.burn_client_id("failed")
    assert account.has_used("failed")
    assert not account.has_used("other")


def test_old_finished_orders_are_forgotten_open_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "ORDERS_MAX", 2)
    account = new_account()
    for number in range(6):
        order = new_order(number, f"c{number}")
        account.add_order(order)
        if number:
            order.status = "done"
            account.close_order(order)
    assert list(account.orders) == ["id0", "id3", "id4", "id5"]
    assert account.orders_dropped == 2
    assert "c1" not in account.by_client_id
    assert account.has_used("c1")


def test_memory_of_client_ids_and_of_untold_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "CLIENT_IDS_MAX", 2)
    monkeypatch.setattr(account_module, "EVENTS_MAX", 2)
    account = new_account()
    for name in ("a", "b", "c"):
        account.burn_client_id(name)
    assert [account.has_used(name) for name in ("a", "b", "c")] == [False, True, True]
    events = [WalletChanged((), at_ms) for at_ms in range(3)]
    for event in events:
        account.record(event)
    assert account.take_events() == tuple(events[1:])
    assert account.events_lost == 1
    assert account.take_events() == ()

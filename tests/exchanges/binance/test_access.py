from decimal import Decimal
from typing import Any

import pytest

from arbshard.config import SimPermissions
from arbshard.errors import ConfigError
from arbshard.exchanges.accounts.account import Accounts, TradingAccount
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.binance.access import Access
from arbshard.exchanges.binance.refusals import BinanceRefusal


def make(key: str = "key-1", *, ed25519_public: str = "", **rights: bool) -> TradingAccount:
    wallet = Wallet({"USDT": Decimal(1)})
    return TradingAccount(key, "secret", wallet, SimPermissions(**rights), ed25519_public=ed25519_public)


def test_accounts_by_key() -> None:
    one, two = make("one"), make("two")
    access = Access(Accounts(one, two))
    assert access.account("one") is one
    assert access.account("two") is two


@pytest.mark.parametrize(
    ("key", "code"), [("", -2014), ("no key", -2014), ("x" * 129, -2014), ("three", -2015), ("blind", -2015)]
)
def test_keys_that_open_nothing(key: str, code: int) -> None:
    access = Access(Accounts(make("one"), make("blind", can_read=False)))
    with pytest.raises(BinanceRefusal) as refused:
        access.account(key)
    assert (refused.value.code, refused.value.status) == (code, 401)


def test_a_public_key_that_is_none_is_found_out_at_the_start() -> None:
    with pytest.raises(ConfigError, match="binance_ed25519_public"):
        Access(Accounts(make(ed25519_public="not a key")))


def test_events_of_others_are_not_told(client: Any) -> None:
    client.signed("userDataStream.subscribe.signature")
    venue = client.venue
    venue.order(price=venue.far())
    events = venue.account.take_events()
    assert client.session.on_events(make("another"), events, venue.now_ms) == ()
    assert len(client.session.on_events(venue.account, events, venue.now_ms)) == 2

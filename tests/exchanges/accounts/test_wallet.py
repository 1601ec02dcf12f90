from decimal import Decimal

import pytest

from arbshard.exchanges.accounts.wallet import Wallet, WalletBalance


def test_locking_spending_and_what_changed() -> None:
    wallet = Wallet({"KRW": Decimal(100), "BTC": Decimal(1)})
    assert wallet.take_changed() == ()
    wallet.lock("KRW", Decimal(60))
    assert wallet.balance("KRW") == WalletBalance("KRW", Decimal(40), Decimal(60))
    wallet.spend("KRW", Decimal(50))
    wallet.unlock("KRW", Decimal(10))
    wallet.credit("ETH", Decimal(2))
    assert wallet.take_changed() == (
        WalletBalance("KRW", Decimal(50), Decimal(0)),
        WalletBalance("ETH", Decimal(2), Decimal(0)),
    )
    assert wallet.take_changed() == ()
    wallet.lock("ETH", Decimal(2))
    wallet.spend("ETH", Decimal(2))
    assert [balance.currency for balance in wallet.balances()] == ["KRW", "BTC", "ETH"]


def test_nothing_is_no_change() -> None:
    wallet = Wallet({"KRW": Decimal(1)})
    wallet.unlock("KRW", Decimal(0))
    assert wallet.take_changed() == ()


@pytest.mark.parametrize(
    ("action", "amount"),
    [("lock", 2), ("unlock", 1), ("spend", 1), ("credit", -1), ("spend", -1)],
)
def test_never_negative(action: str, amount: int) -> None:
    wallet = Wallet({"KRW": Decimal(1)})
    with pytest.raises(AssertionError):
        getattr(wallet, action)("KRW", Decimal(amount))
    assert wallet.balance("KRW") == WalletBalance("KRW", Decimal(1), Decimal(0))

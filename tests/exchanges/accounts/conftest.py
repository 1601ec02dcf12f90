"""A desk of one's own: a market with a book, a wallet, a matcher with Upbit's or with received-side fees."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from arbshard.config import SimPermissions
from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.order import OrderChanged, Side, SimOrder, Ticket
from arbshard.exchanges.accounts.rules import FillFee
from arbshard.exchanges.accounts.taking import amount_of
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.book import SimSide
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.upbit.money import UpbitMoney
from arbshard.model.money import ZERO

SYMBOL = "ABCUSDT"
NOW_MS = 1_795_000_000_000


class ReceivedFee:
    """A thousandth of what is received, rounded to 8 digits."""

    dust_is_done = True
    fee_rate = Decimal("0.001")

    def order_id(self, number: int) -> str:
        return str(number)

    def trade_id(self, number: int) -> str:
        return str(number)

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:
        return funds

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:
        received = quantity if side == "buy" else funds
        return FillFee((received * rate).quantize(Decimal("1e-8")), side == "buy")


class Desk:
    """One account at one market (lot 0.001, tick 0.01)."""

    def __init__(self, market: SimMarket, rules: object, fill_share: Callable[[], float]) -> None:
        self.market = market
        self.account = TradingAccount(
            "key", "secret", Wallet({"USDT": Decimal(1_000_000), "ABC": Decimal(10_000)}), SimPermissions()
        )
        self.matcher = Matcher({SYMBOL: market}, rules, fill_share=fill_share)
        self.steps = 0

    def ticket(self, side: str, **options: object) -> Ticket:
        terms = {"kind": "limit" if "price" in options else "market"} | options
        for name in ("price", "quantity", "funds"):
            if terms.get(name) is not None:
                terms[name] = Decimal(str(terms[name]))
        return Ticket(SYMBOL, side, **terms)

    def place(self, side: str, **options: object) -> SimOrder:
        order = self.matcher.place(self.account, self.ticket(side, **options), NOW_MS)
        assert isinstance(order, SimOrder), order
        return order

    def step(self, price: float) -> bool:
        self.steps += 1
        self.market.advance(price, 0.1)
        return self.matcher.on_step(SYMBOL, NOW_MS + self.steps)

    def depth(self, side: SimSide) -> Decimal:
        return amount_of(sum(side.sizes))

    def told(self) -> list[str]:
        return [
            event.kind if isinstance(event, OrderChanged) else "wallet"
            for event in self.account.take_events()
        ]

    def best(self, side: str) -> Decimal:
        return amount_of(self.market.best_bid if side == "bid" else self.market.best_ask)

    def held(self) -> dict[str, Decimal]:
        held = {"USDT": ZERO, "ABC": ZERO}
        for order in self.account.open_orders.values():
            held[order.held_currency] += order.held
        return held


@pytest.fixture
def make_desk(make_market: Callable[..., SimMarket]) -> Callable[..., Desk]:
    """``make_desk("upbit")`` or ``make_desk("received", price=…, depth=…, seed=…)``."""

    def make(fees: str = "upbit", fill_share: Callable[[], float] = lambda: 1.0, **market: object) -> Desk:
        rules = UpbitMoney() if fees == "upbit" else ReceivedFee()
        return Desk(make_market(**market), rules, fill_share)

    return make

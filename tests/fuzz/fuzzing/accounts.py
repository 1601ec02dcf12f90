"""Targets: what the venues say of our account and orders, by private stream and by REST, and what the live executor
reads from their answers. Only the documented error, or amounts that are amounts.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from arbshard.accounts.orders import VenueOrders
from arbshard.errors import FrameError, VenueError
from arbshard.execution.live.errors import understand
from arbshard.model.market import Market
from arbshard.model.order import Fill, Order
from arbshard.venues.base.account import AccountVenue, ReportedBalances, ReportedOrder, VenueBalance
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.registry import get_adapter
from arbshard.venues.upbit.account import UpbitAccount
from fuzzing import corpus
from fuzzing.target import require

_TAG = "ab12c"
_MARKETS = {
    "upbit": Market("upbit", "KRW-BTC", "BTC", "KRW"),
    "binance": Market("binance", "BTCUSDT", "BTC", "USDT"),
}


def _is_amount(value: Decimal) -> bool:
    return value.is_finite() and value >= 0


def _require_order(order: ReportedOrder) -> None:
    require(
        _is_amount(order.filled) and _is_amount(order.remaining),
        f"filled {order.filled} of {order.remaining}",
    )
    if order.fill is not None:
        require(bool(order.fill.trade_id), "a fill without an id")
        for amount in (order.fill.quantity, order.fill.price, order.fill.fee):
            require(_is_amount(amount), f"a fill with {amount}")


def _require_balances(balances: Sequence[VenueBalance]) -> None:
    for one in balances:
        require(_is_amount(one.free) and _is_amount(one.locked), f"a balance of {one}")


class PrivateStreamTarget:
    """A venue's private stream, and what is made of its order events."""

    blind = 0.3

    def __init__(self, venue: AccountVenue, frames: Sequence[bytes]) -> None:
        self.name = f"{venue.name} private stream"
        self.corpus = frames
        self._venue = venue
        market = _MARKETS[venue.name]
        self._orders = VenueOrders(venue.name, _TAG, {market.symbol: market}, kept=50)

    def __call__(self, case: bytes) -> str:
        """``FrameError``, or sound news."""
        try:
            heard = self._venue.read(case)
        except FrameError:
            return "refused"
        if isinstance(heard, ReportedOrder):
            _require_order(heard)
            self._orders.update(heard)
        elif isinstance(heard, ReportedBalances):
            _require_balances(list(heard.balances.values()))
        return type(heard).__name__

    def close(self) -> None:
        """Nothing is held."""


class AccountTarget:
    """A venue's answers about the account."""

    blind = 0.3

    def __init__(self, venue: AccountVenue, bodies: Sequence[bytes]) -> None:
        self.name = f"{venue.name} account"
        self.corpus = bodies
        self._venue = venue

    def __call__(self, case: bytes) -> str:
        """Every reader gets every body."""
        venue = self._venue
        date = case[:40].decode("latin-1")
        read: tuple[Callable[[], object], ...] = (
            lambda: _require_balances(list(venue.balances_of(case).values())),
            lambda: [_require_order(order) for order in venue.orders_of(case)],
            lambda: _require_order(venue.order_of(case)),
            lambda: venue.clock_of(case, {"date": date}),
        )
        outcome = "refused"
        for number, one in enumerate(read):
            try:
                one()
                outcome = ("balances", "orders", "order", "clock")[number]
            except FrameError:
                continue
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class RepliesTarget:
    """Answers to orders, as the live executor reads them."""

    blind = 0.3

    def __init__(self, venue: str, bodies: Sequence[bytes]) -> None:
        self.name = f"{venue} order replies"
        self.corpus = bodies
        self._venue = venue
        self._order = Order("s1-0-1-1-h0", _MARKETS[venue], "buy", Decimal("0.001"), Decimal(60_000))

    def __call__(self, case: bytes) -> str:
        """``VenueError``, or fills that may be booked."""
        outcome = "refused"
        try:
            standing = get_adapter(self._order.market.venue).orders.read(self._order, case)
            outcome = standing.state
            require(_is_amount(standing.filled), f"filled {standing.filled}")
            self._require_fills(standing.fills)
        except VenueError:
            pass
        if self._venue == "binance":
            try:
                self._require_fills(
                    get_adapter(self._order.market.venue).orders.read_trades(self._order, case)
                )
                outcome = "trades"
            except VenueError:
                pass
        for status in (200, 400, 429, 503):
            understand(self._venue, status, case)
        return outcome

    def _require_fills(self, fills: Sequence[Fill]) -> None:
        for fill in fills:
            require(_is_amount(fill.quantity) and _is_amount(fill.price), f"{fill.quantity} at {fill.price}")
            require(_is_amount(fill.fee), f"a fee of {fill.fee}")

    def close(self) -> None:
        """Nothing is held."""


def targets() -> list[PrivateStreamTarget | AccountTarget | RepliesTarget]:
    """All of them."""
    upbit, binance = UpbitAccount(), BinanceAccount()
    return [
        PrivateStreamTarget(upbit, corpus.upbit_private()),
        PrivateStreamTarget(binance, corpus.binance_private()),
        AccountTarget(upbit, corpus.upbit_account()),
        AccountTarget(binance, corpus.binance_account()),
        RepliesTarget("upbit", corpus.upbit_account()),
        RepliesTarget("binance", corpus.binance_account()),
    ]

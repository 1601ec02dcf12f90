"""Defines the names of the unified calls that requests make, and the structures that answers hold."""

from decimal import Decimal
from typing import Final

import msgspec

MARKETS: Final = "/markets"
ORDER_BOOK: Final = "/order_book"
TIME: Final = "/time"
CREATE_ORDER: Final = "/create_order"
FIND_ORDER: Final = "/find_order"
ORDER_TRADES: Final = "/order_trades"
OPEN_ORDERS: Final = "/open_orders"
RECENT_ORDERS: Final = "/recent_orders"
BALANCES: Final = "/balances"
FEES: Final = "/fees"


class Fee(msgspec.Struct):
    """Is a fee that was paid."""

    cost: Decimal | None = None
    currency: str | None = None


class UnifiedTrade(msgspec.Struct):
    """Is one execution of an order."""

    id: str
    amount: Decimal
    price: Decimal
    cost: Decimal | None = None
    fee: Fee | None = None


class UnifiedOrder(msgspec.Struct, rename={"client_id": "clientOrderId"}):
    """Is an order; ccxt leaves out what the venue does not state."""

    id: str
    client_id: str | None = None
    symbol: str | None = None
    side: str | None = None
    status: str | None = None
    amount: Decimal | None = None
    filled: Decimal | None = None
    remaining: Decimal | None = None
    trades: list[UnifiedTrade] | None = None
    fees: list[Fee] | None = None
    timestamp: int | None = None


class Time(msgspec.Struct):
    """Holds the venue's time (wall milliseconds); None where it has no call for that."""

    time: int | None


class ErrorText(msgspec.Struct):
    """Is the answer to a call that failed."""

    error: list[str]
    """Names of ccxt's exception class and of those it derives from, the most exact first."""
    message: str = ""
    """The venue's own text."""

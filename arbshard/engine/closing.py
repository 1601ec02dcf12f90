"""Computes what closing a position would bring, at the present books."""

from typing import NamedTuple

from arbshard.engine.edge import BPS, Terms, walk
from arbshard.model.book import BookTop, OrderBookSnapshot


class HeldPosition(NamedTuple):
    """Holds an open position as floats: what the tick path needs of ``model.position.Position``."""

    position_id: str
    buy_is_home: bool
    """Whether the entry bought on the home venue."""
    long_base: float
    short_base: float
    home_quote: float
    """Flow in home quote so far, including all fees."""
    away_quote: float
    entry_notional: float
    opened_ns: int
    """When it was opened, as monotonic time: see ``clock.monotonic_of``."""


class Closing(NamedTuple):
    """Describes closing a position now."""

    sell_quantity: float
    """Base to sell where it was bought."""
    buy_quantity: float
    """Gross base to buy back where it was sold."""
    sell_worst: float
    buy_worst: float
    pnl: float
    """Result of the whole round trip, in reporting currency."""
    net_bps: float
    """``pnl`` in basis points of the entry's notional."""
    is_whole: bool
    """Whether both books are deep enough for all of it."""


def close_now(
    held: HeldPosition, home: OrderBookSnapshot, away: OrderBookSnapshot, fx: tuple[float, float], back: Terms
) -> Closing:
    """Walk both books with the whole position; return what closing it brings.

    ``fx`` is (bid, ask); ``back`` are the terms of the direction that undoes the entry. Where a book is not deep
    enough the rest is valued at its last price, and ``is_whole`` is then false.
    """
    buy_book, sell_book = (away, home) if held.buy_is_home else (home, away)
    buy_quantity = held.short_base / back.base_kept
    sold = walk(sell_book.bids, held.long_base)
    bought = walk(buy_book.asks, buy_quantity)
    received = sold.total(held.long_base) * back.proceeds_factor
    paid = bought.total(buy_quantity) * back.cost_factor
    if held.buy_is_home:
        home_quote, away_quote = held.home_quote + received, held.away_quote - paid
    else:
        home_quote, away_quote = held.home_quote - paid, held.away_quote + received
    pnl = home_quote + away_quote * (fx[0] if away_quote >= 0 else fx[1])
    return Closing(
        sell_quantity=held.long_base,
        buy_quantity=buy_quantity,
        sell_worst=sold.worst,
        buy_worst=bought.worst,
        pnl=pnl,
        net_bps=pnl / held.entry_notional * BPS if held.entry_notional > 0 else 0.0,
        is_whole=sold.quantity >= held.long_base * (1 - 1e-9)
        and bought.quantity >= buy_quantity * (1 - 1e-9),
    )


def gap_bps(
    home: BookTop | OrderBookSnapshot, away: BookTop | OrderBookSnapshot, fx: tuple[float, float]
) -> float:
    """Return by how much home is dearer than away, in basis points, mid to mid and before any cost.

    ``fx`` is (bid, ask) of one away quote in home quote; its mid is used. Negative means that home is cheaper.
    """
    return (home.mid / (away.mid * (fx[0] + fx[1]) / 2) - 1) * BPS

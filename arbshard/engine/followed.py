"""Finds what a refused entry would have brought: it is followed at the books that come, by the rules of exit.

It is pure, and nothing is sent. The entry is valued at the average prices of the walked books, and the exit
likewise, so latency and failed orders are left out: the figures show which rule costs or saves money, not how much
an order would have made.
"""

from typing import NamedTuple

from arbshard.engine.closing import HeldPosition
from arbshard.engine.edge import Edge, Terms
from arbshard.model.refusal import Refusal


class FollowedEntry(NamedTuple):
    """Describes a refused entry as if it had been made."""

    reason: Refusal
    held: HeldPosition


class FollowedOutcome(NamedTuple):
    """Describes what a refused entry would have brought."""

    reason: Refusal
    pnl: float
    """Result of the whole round trip, after fees, in reporting currency."""


def follow(reason: Refusal, edge: Edge, terms: Terms, now_ns: int) -> FollowedEntry:
    """Return the position that ``edge`` would have opened now; ``terms`` are those of its direction."""
    paid = edge.buy_quantity * edge.buy_price * terms.cost_factor
    received = edge.sell_quantity * edge.sell_price * terms.proceeds_factor
    home_quote, away_quote = (-paid, received) if terms.buy_is_home else (received, -paid)
    held = HeldPosition(
        position_id="",
        buy_is_home=terms.buy_is_home,
        long_base=edge.buy_quantity * terms.base_kept,
        short_base=edge.sell_quantity,
        home_quote=home_quote,
        away_quote=away_quote,
        entry_notional=edge.cost,
        opened_ns=now_ns,
    )
    return FollowedEntry(reason, held)

"""``arbshard.worker`` with a broken paper venue. ``$BROKEN_PAPER`` says in which way."""

import os
from collections.abc import Callable
from decimal import Decimal

from arbshard.execution.paper import PaperVenue
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.order import Order, OrderResult
from arbshard.worker.main import main


def filled(venue: PaperVenue, order: Order, price: Decimal, promised: Decimal) -> OrderResult:
    """All of ``order`` at ``price``."""
    return OrderResult(
        order, "FILLED", (venue._fill(order, order.quantity, price, 0),), decision_price=promised
    )


def as_decided(
    venue: PaperVenue, order: Order, _: OrderBookSnapshot | None, promised: Decimal, now_ns: int
) -> OrderResult:
    """At the books of the decision, whatever has happened since."""
    del now_ns
    return filled(venue, order, promised, promised)


def too_good(
    venue: PaperVenue, order: Order, _: OrderBookSnapshot | None, promised: Decimal, now_ns: int
) -> OrderResult:
    """One percent better than the books, so that every trade is won."""
    del now_ns
    better = Decimal("0.99") if order.side == "buy" else Decimal("1.01")
    return filled(venue, order, promised * better, promised)


def entries_only(
    venue: PaperVenue, order: Order, _: OrderBookSnapshot | None, promised: Decimal, now_ns: int
) -> OrderResult:
    """The first order of each market, which is a leg of an entry, and nothing after that."""
    del now_ns
    if vars(venue).setdefault("has_filled", False):
        return OrderResult(order, "EXPIRED", detail="made by the test", decision_price=promised)
    vars(venue)["has_filled"] = True
    return filled(venue, order, promised, promised)


KINDS: dict[str, Callable[..., OrderResult]] = {
    "as_decided": as_decided,
    "too_good": too_good,
    "entries_only": entries_only,
}

if __name__ == "__main__":
    setattr(PaperVenue, "match", KINDS[os.environ["BROKEN_PAPER"]])  # noqa: B010 - mypy refuses the assignment
    raise SystemExit(main())

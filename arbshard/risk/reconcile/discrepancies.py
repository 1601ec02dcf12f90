"""Where venues and ledger differ, as people and status are told. Pure; asked by ``core`` and ``note``."""

from collections.abc import Iterator

from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.wire.reconciliation import (
    Difference,
    Reconciliation,
    StrayOrder,
    UnknownOrder,
    VenueStatement,
)


def reconciliation_of(reconciler: Reconciler, state: PortfolioState) -> Reconciliation:
    """All of it."""
    return Reconciliation(
        tag=reconciler.tag,
        statements=tuple(_statements(reconciler)),
        differences=tuple(
            Difference(*account, known.stated, known.booked, known.since_ms, reconciler.blocked_by(account))
            for account, known in sorted(state.reconciled.differences.items())
        ),
        strays=tuple(
            StrayOrder(venue, client_id, one.symbol, one.remaining, one.since_ms, one.pair)
            for (venue, client_id), one in sorted(state.reconciled.strays.items())
        ),
        unknown=tuple(_unknown(state)),
    )


def _statements(reconciler: Reconciler) -> Iterator[VenueStatement]:
    for venue in reconciler.venues:
        heard = reconciler.heard(venue)
        yield VenueStatement(venue, heard.at_ms, heard.settled, heard.compared_ms, heard.open_orders)


def _unknown(state: PortfolioState) -> Iterator[UnknownOrder]:
    for trade in state.trades.values():
        for result in trade.orders:
            if result.state == "UNKNOWN":
                market = result.order.market
                yield UnknownOrder(
                    market.venue,
                    result.order.client_id,
                    market.symbol,
                    trade.intent.pair,
                    trade.intent.decided_ms,
                )

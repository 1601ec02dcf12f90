"""Computes the edge: what buying on one venue and selling on the other nets, after fees and FX, for a given
quantity.

It uses floats only, because it runs on every tick; ``execution.plan`` makes exact orders of the result.

For a gross quantity Q bought at price p_b and q = Q (1 - f_base) sold at p_s:

    cost     = Q p_b (1 + f_quote) X_buy          in reporting currency
    proceeds = q p_s (1 - f_sell) X_sell
    edge     = proceeds / cost - 1

f_base is the buyer's fee where it is taken in the coin (else 0), f_quote where it is taken in money (else 0). X is 1
on the home venue; on the away venue it is the FX bid when selling there (the USDT received must be sold) and the FX
ask when buying there (the USDT spent must be bought).
"""

from typing import NamedTuple

from arbshard.model.book import Levels
from arbshard.model.market import Direction, Pair

BPS = 10_000.0


class Terms(NamedTuple):
    """Holds what a direction of a pair costs, apart from prices. It is constant while rules and fees do
    not change.
    """

    base_kept: float
    """1 - f_base."""
    cost_factor: float
    """1 + f_quote."""
    proceeds_factor: float
    """1 - f_sell."""
    buy_lot: float
    sell_lot: float
    buy_is_home: bool


class Edge(NamedTuple):
    """Describes a trade that could be made now."""

    buy_quantity: float
    """Gross base to buy."""
    sell_quantity: float
    """Base to sell: what remains after a fee that is taken in the coin."""
    buy_price: float
    """Average price, in the buy venue's quote."""
    sell_price: float
    buy_worst: float
    """Price of the last level that is taken: the limit of the order."""
    sell_worst: float
    net_bps: float
    gross_bps: float
    """Edge before fees, at the same FX."""
    cost: float
    """Cost in reporting currency, including the fee."""


class BookWalk(NamedTuple):
    """Describes the result of walking a quantity through one side of a book."""

    price: float
    """Average price."""
    worst: float
    quantity: float
    """Base; it is less than requested when the book is not deep enough."""

    def total(self, quantity: float) -> float:
        """Return the worth of the ``quantity`` that was requested, with what the book does not hold at its last
        price.
        """
        return self.quantity * self.price + (quantity - self.quantity) * self.worst


def terms_of(pair: Pair, direction: Direction) -> Terms:
    """Return the constants of one direction of a pair."""
    buy, sell = (pair.home, pair.away) if direction == "buy_home" else (pair.away, pair.home)
    buy_fee = float(buy.fees.buy_bps) / BPS
    in_base = buy.fees.buy_fee_in_base
    return Terms(
        base_kept=1 - buy_fee if in_base else 1.0,
        cost_factor=1.0 if in_base else 1 + buy_fee,
        proceeds_factor=1 - float(sell.fees.sell_bps) / BPS,
        buy_lot=float(buy.rules.lot),
        sell_lot=float(sell.rules.lot),
        buy_is_home=direction == "buy_home",
    )


def walk(levels: Levels, quantity: float) -> BookWalk:
    """Return average and worst price of taking ``quantity`` from ``levels``, as far as they go."""
    left = quantity
    dust = abs(quantity) * 1e-12  # the remainder of float subtractions must not reach one more level
    paid = 0.0
    worst = levels[0][0]
    for price, size in levels:
        take = min(left, size)
        paid += take * price
        left -= take
        worst = price
        if left <= dust:
            break
    taken = quantity - max(left, 0.0)
    return BookWalk(paid / taken if taken > 0 else worst, worst, taken)


def top_edge_bps(ask: float, bid: float, terms: Terms, fx: float) -> float:
    """Return the net edge of buying at ``ask`` and selling at ``bid``, in basis points.

    ``fx`` is the side that applies: bid when buying at home, ask otherwise.
    """
    ratio = terms.base_kept * terms.proceeds_factor / terms.cost_factor
    ratio = ratio * fx if terms.buy_is_home else ratio / fx
    return (bid / ask * ratio - 1) * BPS


def least_edge_bps(wanted_bps: float, against_bps: float, floor_bps: float) -> float:
    """Return the edge that brings ``wanted_bps`` when the pair's level is ``against_bps`` against the trade.

    That much of each edge never comes back, or is gained when the gap returns to the level. No edge is below
    ``floor_bps``, which is risk's limit.
    """
    return max(wanted_bps + against_bps, floor_bps)


def find_edge(
    asks: Levels,
    bids: Levels,
    terms: Terms,
    fx: float,
    *,
    entry_bps: float,
    min_edge_bps: float,
    cost_max: float,
    sell_max: float,
) -> Edge | None:
    """Return the largest trade that nets ``entry_bps`` on average and of which each unit nets ``min_edge_bps``.

    The deeper the books are walked, the less the next unit nets. ``entry_bps`` judges the trade as a whole: cheap
    units at the top pay for dearer ones below them, and the walk ends where the average would fall below it.
    ``min_edge_bps`` judges each unit by itself: one that nets less is never bought, however much the others bring,
    because it would use money and room for less than it costs to close it again.

    ``asks`` are of the venue to buy on, ``bids`` of the venue to sell on. ``cost_max`` (reporting currency, fee
    included) and ``sell_max`` (base) bound the quantity by limits and balances. The result is None when no unit nets
    enough, or nothing is left after rounding to both lots.
    """
    cost_rate = terms.cost_factor if terms.buy_is_home else terms.cost_factor * fx
    sale_rate = terms.proceeds_factor * fx if terms.buy_is_home else terms.proceeds_factor
    kept = terms.base_kept
    # A unit bought at `ask` and sold at `bid` clears when bid * hurdle >= ask.
    hurdle = sale_rate * kept / (cost_rate * (1 + min_edge_bps / BPS))
    # The same for the average; `surplus` is what the units so far net beyond it, as money at the asks.
    mean_hurdle = sale_rate * kept / (cost_rate * (1 + entry_bps / BPS))
    surplus = 0.0
    quantity = 0.0
    cost_left = cost_max
    sell_left = sell_max
    bids_left = iter(bids)
    bid, bid_size = next(bids_left)
    for ask, ask_size in asks:
        ask_left = ask_size
        while ask_left > 0.0:
            if bid * hurdle < ask:
                return _clearing(quantity, asks, bids, terms, fx, entry_bps)
            by_bid = bid_size / kept
            bound = min(cost_left / (ask * cost_rate), sell_left / kept)
            gain = bid * mean_hurdle - ask
            if gain < 0.0:
                bound = min(bound, surplus / -gain)
            take = min(ask_left, by_bid, bound)
            quantity += max(take, 0.0)
            if take >= bound:
                return _clearing(quantity, asks, bids, terms, fx, entry_bps)
            surplus += take * gain
            cost_left -= take * ask * cost_rate
            sell_left -= take * kept
            ask_left -= take
            if take < by_bid:
                bid_size -= take * kept
                continue
            bid, bid_size = next(bids_left, (0.0, 0.0))
    return _clearing(quantity, asks, bids, terms, fx, entry_bps)


def _clearing(
    quantity: float, asks: Levels, bids: Levels, terms: Terms, fx: float, entry_bps: float
) -> Edge | None:
    """Return the edge of ``quantity``, or of one lot less where rounding took the average below ``entry_bps``."""
    edge = edge_at(quantity, asks, bids, terms, fx)
    if edge is None or edge.net_bps >= entry_bps:
        return edge
    less = edge_at(edge.buy_quantity - max(terms.buy_lot, terms.sell_lot), asks, bids, terms, fx)
    return less if less is not None and less.net_bps >= entry_bps else None


def edge_at(quantity: float, asks: Levels, bids: Levels, terms: Terms, fx: float) -> Edge | None:
    """Return the edge of buying ``quantity`` (gross), good or bad; None when less than a lot is left
    after rounding.
    """
    if terms.base_kept == 1.0:
        lot = max(terms.buy_lot, terms.sell_lot)  # lots are powers of ten: the coarser fits both
        buy_quantity = sell_quantity = floor_lot(quantity, lot)
    else:
        buy_quantity = floor_lot(quantity, terms.buy_lot)
        sell_quantity = floor_lot(buy_quantity * terms.base_kept, terms.sell_lot)
    if buy_quantity <= 0.0 or sell_quantity <= 0.0:
        return None
    bought = walk(asks, buy_quantity)
    sold = walk(bids, sell_quantity)
    buy_fx, sell_fx = (1.0, fx) if terms.buy_is_home else (fx, 1.0)
    gross_cost = buy_quantity * bought.price * buy_fx
    cost = gross_cost * terms.cost_factor
    proceeds = sell_quantity * sold.price * sell_fx * terms.proceeds_factor
    return Edge(
        buy_quantity=buy_quantity,
        sell_quantity=sell_quantity,
        buy_price=bought.price,
        sell_price=sold.price,
        buy_worst=bought.worst,
        sell_worst=sold.worst,
        net_bps=(proceeds / cost - 1) * BPS,
        gross_bps=(buy_quantity * sold.price * sell_fx / gross_cost - 1) * BPS,
        cost=cost,
    )


def floor_lot(quantity: float, lot: float) -> float:
    """Return ``quantity`` rounded down to ``lot``, ignoring the last bits of a float: 0.3 / 0.1 is three lots."""
    return int(quantity / lot * (1 + 1e-12)) * lot

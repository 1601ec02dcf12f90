"""The edge, calculated slowly and exactly with fractions, straight from the formula in ``engine.edge``.

Nothing is walked step by step: the price of the unit at any depth is looked up, and the depth where it stops
paying is searched among the few places where a price changes.
"""

from fractions import Fraction


def price_at(levels, depth):
    """Price of the unit that lies at ``depth`` base units into the book; None beyond its end."""
    for price, size in levels:
        depth -= Fraction(size)
        if depth < 0:
            return Fraction(price)
    return None


def total(levels, quantity):
    """Money for taking ``quantity`` (which the book must hold)."""
    money = Fraction(0)
    left = quantity
    for price, size in levels:
        take = min(left, Fraction(size))
        money += take * Fraction(price)
        left -= take
    assert left == 0, left
    return money


def depth_of(levels):
    return sum((Fraction(size) for _, size in levels), Fraction(0))


def rates(terms, fx):
    """(cost of one quote unit paid, proceeds of one quote unit received), in reporting currency."""
    cost, proceeds = Fraction(terms.cost_factor), Fraction(terms.proceeds_factor)
    return (cost, proceeds * Fraction(fx)) if terms.buy_is_home else (cost * Fraction(fx), proceeds)


def unit_edge_bps(asks, bids, terms, fx, depth):
    """Net edge of the gross unit at ``depth``; None where one of the books has ended."""
    kept = Fraction(terms.base_kept)
    ask, bid = price_at(asks, depth), price_at(bids, depth * kept)
    if ask is None or bid is None:
        return None
    cost, proceeds = rates(terms, fx)
    return (bid * kept * proceeds / (ask * cost) - 1) * 10_000


def clearing_depth(asks, bids, terms, fx, min_edge_bps):
    """How deep, in gross base units, every unit still nets ``min_edge_bps``."""
    kept = Fraction(terms.base_kept)
    changes = {Fraction(0)}
    for levels, share in ((asks, Fraction(1)), (bids, kept)):
        depth = Fraction(0)
        for _, size in levels:
            depth += Fraction(size)
            changes.add(depth / share)
    places = sorted(changes)
    for start in places:
        edge = unit_edge_bps(asks, bids, terms, fx, start)
        if edge is None or edge < Fraction(min_edge_bps):
            return start
    return places[-1]


def affordable(asks, terms, fx, cost_max):
    """Gross base units that ``cost_max`` buys, fee included."""
    rate = rates(terms, fx)[0]
    money = Fraction(cost_max) / rate
    quantity = Fraction(0)
    for price, size in asks:
        take = min(Fraction(size), money / Fraction(price))
        quantity += take
        money -= take * Fraction(price)
    return quantity


def best_quantity(asks, bids, terms, fx, *, min_edge_bps, cost_max, sell_max):
    """The gross quantity to buy, before rounding to lots."""
    return min(
        clearing_depth(asks, bids, terms, fx, min_edge_bps),
        affordable(asks, terms, fx, cost_max),
        Fraction(sell_max) / Fraction(terms.base_kept),
    )


def lots(quantity, lot):
    """``quantity`` down to whole lots; the lot is meant as it was written, not as its float."""
    step = Fraction(str(lot))
    return quantity // step * step


def net_bps(asks, bids, terms, fx, buy, sell):
    """Net edge of buying ``buy`` and selling ``sell`` through both books."""
    cost, proceeds = rates(terms, fx)
    return (total(bids, sell) * proceeds / (total(asks, buy) * cost) - 1) * 10_000

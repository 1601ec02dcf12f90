"""``FeeRule`` allows no entries where an account pays more than the configured fee. Pure; for ``limits.guard``.

The venue's account endpoint states what a taker pays. A stated fee above the configured one refuses the entries of
all pairs of the venue, because their edges and what exits cost are calculated with too little; exits go on. A stated
fee below it is only shown: edges are then calculated with the larger one. Where fees are paid in a coin of the
venue's own with a discount, the configured fee may lie between three quarters of the stated one and all of it.
"""

from decimal import Decimal
from typing import NamedTuple

from arbshard.model.market import Direction, Leg, Pair, Side
from arbshard.model.money import plain
from arbshard.model.refusal import Refusal
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import AccountFees

_DISCOUNTED = Decimal("0.75")
_OFF_BPS = Decimal("0.01")
"""Fees that differ by less are the same."""


class StatedFee(NamedTuple):
    """A stated fee that is not the configured one."""

    venue: str
    side: Side
    symbol: str
    configured_bps: Decimal
    stated_bps: Decimal
    since_ms: int

    @property
    def is_above(self) -> bool:
        """Return whether the stated fee is above the configured one, so that entries are refused."""
        return self.stated_bps > self.configured_bps


class FeeRule:
    """Compares the fees that accounts state with the configured ones."""

    def __init__(self) -> None:
        self._stated: dict[str, tuple[AccountFees, int]] = {}
        """Stated fees and the wall time in ms at which they were first stated, by venue."""

    def set_fees(self, venue: str, fees: AccountFees, now_ms: int) -> None:
        """Use the fees that ``venue`` states now."""
        known = self._stated.get(venue)
        if known is None or known[0] != fees:
            self._stated[venue] = fees, now_ms

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Refuse with 507 a pair whose way out pays a fee above the configured one; None when it may be entered."""
        del direction, moment
        for leg in (pair.home, pair.away):
            for one in self.differing(leg):
                if one.is_above:
                    detail = (
                        f"{one.venue} states a fee of {plain(one.stated_bps)} bps for a {one.side}, "
                        f"configured are {plain(one.configured_bps)}"
                    )
                    return Objection(Refusal.FEE_ABOVE_CONFIGURED, detail)
        return None

    def differing(self, leg: Leg) -> list[StatedFee]:
        """Return the fees of the leg's venue that are not the configured ones."""
        known = self._stated.get(leg.market.venue)
        if known is None:
            return []
        fees, since_ms = known
        sides: tuple[tuple[Side, Decimal, Decimal], ...] = (
            ("buy", leg.fees.buy_bps, fees.buy_bps),
            ("sell", leg.fees.sell_bps, fees.sell_bps),
        )
        found = []
        for side, configured, stated in sides:
            least = stated * _DISCOUNTED if fees.paid_in else stated
            if not least - _OFF_BPS <= configured <= stated + _OFF_BPS:
                paid = least if configured < least else stated
                found.append(StatedFee(leg.market.venue, side, fees.symbol, configured, paid, since_ms))
        return found

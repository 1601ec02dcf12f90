"""Applies what lasting faults change at a venue: whether its key is valid, its markets, its fees, the gaps of coins.

It is pure; ``spells`` says when. Each method puts one fault's settings in force; None restores what is usual.
"""

from collections.abc import Iterable
from decimal import Decimal

from arbshard.config.sim import (
    ChangedFeesFault,
    ChangedRulesFault,
    ClosedWalletFault,
    LateFramesFault,
    MarketStateFault,
    QuietBookFault,
    WrongFrameFault,
)
from arbshard.exchanges.accounts.rules import MoneyRules
from arbshard.exchanges.market import RuleFactors, SimMarket
from arbshard.exchanges.world import FX_SYMBOL, MarketWorld

_BPS = Decimal(10_000)


def is_meant(names: str, market: SimMarket) -> bool:
    """Return whether ``names`` (symbols or coins, separated by commas) means ``market``; empty means all."""
    wanted = {name.strip() for name in names.split(",")} - {""}
    return not wanted or bool(wanted & {market.symbol, market.listing.base})


class Conditions:
    """Holds the conditions at one venue."""

    def __init__(self, venue: str, world: MarketWorld, money: MoneyRules | None = None) -> None:
        """Begin with the usual conditions; without ``money`` the venue has no fees."""
        self.is_key_revoked = False
        self._venue = venue
        self._world = world
        self._markets = world.markets(venue)
        self._money = money
        self._usual_rate = money.fee_rate if money is not None else Decimal(0)

    def meant(self, names: str) -> list[SimMarket]:
        """Return the coins' markets of these ``names``."""
        return [one for one in self._markets.values() if is_meant(names, one) and one.symbol != FX_SYMBOL]

    def set_states(self, fault: MarketStateFault | None) -> None:
        """Close markets, remove them from the listing, or warn of them."""
        for market, is_hit in self._hit(fault.market if fault is not None else None):
            state = fault.state if fault is not None and is_hit else market.usual_state
            caution = fault.caution if fault is not None and state == "warned" else ""
            market.is_warned, market.caution = state == "warned" and not caution, caution
            market.state = market.usual_state if state == "warned" else state

    def set_rules(self, fault: ChangedRulesFault | None) -> None:
        """Change ticks, lots and minimums."""
        usual = RuleFactors()
        factors = RuleFactors(fault.tick, fault.lot, fault.minimum) if fault is not None else usual
        for market, is_hit in self._hit(fault.market if fault is not None else None):
            market.change_rules(factors if is_hit else usual)

    def set_quiet(self, fault: QuietBookFault | None) -> None:
        """Make books move less often."""
        for market, is_hit in self._hit(fault.market if fault is not None else None):
            market.quiet_s = fault.every_s if fault is not None and is_hit else 0.0

    def set_lags(self, fault: LateFramesFault | None) -> None:
        """Send frames late."""
        for market, is_hit in self._hit(fault.market if fault is not None else None):
            market.late_ms = fault.late_ms if fault is not None and is_hit else 0

    def set_gaps(self, fault: ClosedWalletFault | None) -> None:
        """Close or open the deposits and withdrawals of coins, and hold or release their gaps."""
        for market, is_hit in self._hit(fault.market if fault is not None else None):
            market.wallet = fault.wallet if fault is not None and is_hit else "working"
            bps = fault.gap_bps if fault is not None and is_hit else None
            self._world.hold_gap(self._venue, market.listing.coin, bps)

    def set_fx(self, bps: float) -> None:
        """Move the FX market alone by so many basis points."""
        self._world.shift_fx(bps)

    def send_wrong_frames(self, fault: WrongFrameFault) -> None:
        """Send the next frame of markets with wrong prices."""
        for market, is_hit in self._hit(fault.market):
            if is_hit:
                market.wrong_bps = fault.bps

    def set_fees(self, fault: ChangedFeesFault | None) -> None:
        """Change the fee of new orders."""
        if self._money is not None:
            self._money.fee_rate = self._usual_rate if fault is None else Decimal(str(fault.bps)) / _BPS

    def _hit(self, names: str | None) -> Iterable[tuple[SimMarket, bool]]:
        """Return every market, and whether a fault of these ``names`` concerns it; None concerns no market."""
        return ((one, names is not None and is_meant(names, one)) for one in self._markets.values())

"""Holds the switches of one venue, one for each fault. ``venue`` makes it, and everything in this folder uses it."""

from collections.abc import Iterator
from typing import TypeVar

from arbshard.config import FaultsConfig
from arbshard.config.sim import Fault
from arbshard.exchanges.faults.switch import Switch
from arbshard.exchanges.seeds import seeded

F = TypeVar("F", bound=Fault)


class Board:
    """Holds all switches by their names in ``[sim.faults]``."""

    def __init__(self, venue: str, faults: FaultsConfig, counts: dict[str, int]) -> None:
        """Make the switches; ``counts`` receives how often each fault happened, by name."""
        self.venue = venue
        self._seed = faults.seed
        self._counts = counts
        self._switches: dict[str, Switch[Fault]] = {}
        self.delay = self._switch("delay", faults.delay)
        self.lost_request = self._switch("lost_request", faults.lost_request)
        self.lost_reply = self._switch("lost_reply", faults.lost_reply)
        self.error_500 = self._switch("error_500", faults.error_500)
        self.rate_limited = self._switch("rate_limited", faults.rate_limited)
        self.redirect = self._switch("redirect", faults.redirect)
        self.event_before_reply = self._switch("event_before_reply", faults.event_before_reply)
        self.duplicate_reply = self._switch("duplicate_reply", faults.duplicate_reply, only="binance")
        self.session_revoked = self._switch("session_revoked", faults.session_revoked, only="binance")
        self.duplicate_event = self._switch("duplicate_event", faults.duplicate_event)
        self.late_event = self._switch("late_event", faults.late_event)
        self.partial_fill = self._switch("partial_fill", faults.partial_fill)
        self.reject = self._switch("reject", faults.reject)
        self.denied = self._switch("denied", faults.denied)
        self.disconnect = self._switch("disconnect", faults.disconnect)
        self.silent_stall = self._switch("silent_stall", faults.silent_stall)
        self.sequence_gap = self._switch("sequence_gap", faults.sequence_gap, only="binance")
        self.clock_skew = self._switch("clock_skew", faults.clock_skew)
        self.maintenance = self._switch("maintenance", faults.maintenance)
        self.shutdown_notice = self._switch("shutdown_notice", faults.shutdown_notice, only="binance")
        self.key_revoked = self._switch("key_revoked", faults.key_revoked)
        self.market_state = self._switch("market_state", faults.market_state)
        self.changed_rules = self._switch("changed_rules", faults.changed_rules)
        self.changed_fees = self._switch("changed_fees", faults.changed_fees)
        self.quiet_book = self._switch("quiet_book", faults.quiet_book)
        self.late_frames = self._switch("late_frames", faults.late_frames)
        self.wrong_frame = self._switch("wrong_frame", faults.wrong_frame)
        self.fx_blip = self._switch("fx_blip", faults.fx_blip, only="upbit")
        self.closed_wallet = self._switch("closed_wallet", faults.closed_wallet)
        self.hand_transfer = self._switch("hand_transfer", faults.hand_transfer)
        self.hand_trade = self._switch("hand_trade", faults.hand_trade)
        self.rounded_statement = self._switch("rounded_statement", faults.rounded_statement, only="upbit")
        self.figures_as_doubles = self._switch("figures_as_doubles", faults.figures_as_doubles, only="upbit")

    def __iter__(self) -> Iterator[Switch[Fault]]:
        return iter(self._switches.values())

    def get(self, name: str) -> Switch[Fault] | None:
        """Return the switch of this name; None when there is none."""
        return self._switches.get(name)

    @property
    def names(self) -> list[str]:
        """Return all names."""
        return list(self._switches)

    def fill_share(self) -> float:
        """Return what share of the book an order gets; it is called once for each order that takes."""
        return self.partial_fill.fault.fill_share if self.partial_fill.happens() else 1.0

    def _switch(self, name: str, fault: F, only: str = "") -> Switch[F]:
        """Add a switch; ``only`` names the one venue whose protocol has such a fault."""
        if fault.venue not in ("", self.venue) or only not in ("", self.venue):
            fault = type(fault)()
        switch = Switch(name, fault, self._counts, seeded(self._seed, "fault", self.venue, name))
        self._switches[name] = switch
        return switch

"""Asks one venue at a slow pace what fees our account pays; statements carry the answer to risk."""

from collections.abc import Mapping

from arbshard.accounts.meter import VenueMeter
from arbshard.accounts.rest_client import Questioned
from arbshard.clock import Clock
from arbshard.config import VenueConfig
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.venues.base.rules import AccountRules, RulesReply
from arbshard.wire.messages import AccountFees

_EVERY_NS = 600_000_000_000
_AGAIN_NS = 60_000_000_000
"""Pause in nanoseconds after a failure, and while a stated fee above the configured one refuses entries."""


class FeeReader:
    """Keeps the fees that the venue stated last. A failure keeps them, is counted, and is followed by another try."""

    def __init__(
        self,
        venue: str,
        rules: AccountRules,
        asker: Questioned,
        markets: Mapping[str, Market],
        configured: VenueConfig,
        meter: VenueMeter,
        clock: Clock,
    ) -> None:
        """Begin without an answer. ``markets``: those traded there, changed in place; the first by name is asked
        about. ``configured``: the venue's section of the configuration, with the fees that are reckoned with.
        """
        self._configured = configured
        self._venue = venue
        self._rules = rules
        self._asker = asker
        self._markets = markets
        self._meter = meter
        self._clock = clock
        self._due_ns = 0
        self._fees: AccountFees | None = None

    async def fees(self) -> AccountFees | None:
        """Return what the account pays as a taker, asked again when that is due; None before the first answer."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns or not self._markets:
            return self._fees
        symbol = min(self._markets)
        try:
            answer = await self._asker.ask(self._rules.rates_call(symbol))
            rates = self._rules.rates_of(symbol, RulesReply(answer.body, answer.headers))
        except (VenueUnavailable, FrameError) as error:
            self._due_ns = now_ns + _AGAIN_NS
            self._meter.count("fee_errors")
            get_logger().warning("no fees of the account", venue=self._venue, why=str(error)[:200])
            return self._fees
        configured = self._configured
        is_above = rates.buy_bps > configured.buy_fee_bps or rates.sell_bps > configured.sell_fee_bps
        self._due_ns = now_ns + (_AGAIN_NS if is_above else _EVERY_NS)
        self._fees = AccountFees(symbol, rates.buy_bps, rates.sell_bps, rates.paid_in)
        return self._fees

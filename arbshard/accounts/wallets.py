"""Asks one venue at a slow pace which deposits and withdrawals are open; statements carry the answer to risk."""

from collections.abc import Mapping

from arbshard.accounts.meter import VenueMeter
from arbshard.accounts.rest_client import Questioned
from arbshard.clock import Clock
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.model.warning import WalletReport
from arbshard.venues.base.account import AccountVenue

_REASON_CHARS_MAX = 200


class WalletReader:
    """Keeps what the venue stated last. A failure keeps it, and is part of the report."""

    def __init__(
        self,
        venue: AccountVenue,
        asker: Questioned,
        markets: Mapping[str, Market],
        meter: VenueMeter,
        clock: Clock,
        every_s: float,
    ) -> None:
        """Begin without a report. ``markets``: those traded there, changed in place. ``every_s``: 0 never asks."""
        self._venue = venue
        self._asker = asker
        self._markets = markets
        self._meter = meter
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._asked_ns: int | None = None
        self._report: WalletReport | None = None

    async def report(self) -> WalletReport | None:
        """Return what the venue states of the coins traded there, asked again when that is due; None if it is never
        asked.
        """
        request = self._venue.wallets_call() if self._every_ns else None
        if request is None:
            return None
        now_ns = self._clock.monotonic_ns()
        before = self._report
        if before is not None and self._asked_ns is not None and now_ns - self._asked_ns < self._every_ns:
            return before
        self._asked_ns = now_ns
        try:
            answer = await self._asker.ask(request)
            warnings, names = self._venue.wallets_of(answer.body)
        except (VenueUnavailable, FrameError) as error:
            self._meter.count("wallet_errors")
            problem = str(error)[:_REASON_CHARS_MAX]
            if before is None or not before.problem:
                get_logger().warning("no states of wallets", venue=self._venue.name, why=problem)
            at_ms = before.at_ms if before is not None else 0
            known = (before.warnings, before.coin_names) if before is not None else ((), ())
            self._report = WalletReport(at_ms, *known, problem=problem)
            return self._report
        traded = {market.base for market in self._markets.values()}
        self._report = WalletReport(
            self._clock.wall_ms(),
            tuple(one for one in warnings if one.currency in traded),
            tuple(one for one in names if one.currency in traded),
        )
        return self._report

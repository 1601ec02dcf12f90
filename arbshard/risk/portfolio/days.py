"""Trading days: when one begins and ends, by the clocks of a place. Pure: a function of the wall time.

Used by ``core`` for everything that is counted by day. With the default (09:00 in Seoul) a trading day is the UTC
day, which is also the home venue's own.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

_EPOCH = date(1970, 1, 1)


class TradingDay(NamedTuple):
    """From ``starts_ms`` until before ``ends_ms``, wall time."""

    number: int
    """Of the local date on which it begins, in days since 1970-01-01."""
    starts_ms: int
    ends_ms: int

    @property
    def label(self) -> str:
        """The local date on which it begins."""
        return label_of(self.number)


def label_of(number: int) -> str:
    """The date of a trading day's number, as in ``2026-11-21``."""
    return (_EPOCH + timedelta(days=number)).isoformat()


class TradingDays:
    """The division of time into trading days."""

    def __init__(self, starts: str, zone: tzinfo) -> None:
        """``starts``: ``HH:MM`` by the clocks of ``zone``."""
        self._starts = time.fromisoformat(starts)
        self._zone = zone
        self._last = TradingDay(0, 0, 0)

    def day_at(self, at_ms: int) -> TradingDay:
        """The trading day that ``at_ms`` lies in.

        Where the clocks skip the hour of its beginning a day begins as if they had not; where they repeat it, the
        first time. So each instant lies in exactly one day, and days have 23 to 25 hours.
        """
        last = self._last
        if last.starts_ms <= at_ms < last.ends_ms:
            return last
        local = datetime.fromtimestamp(at_ms / 1000, self._zone).date()
        number = (local - _EPOCH).days
        while at_ms < self._start_ms(number):
            number -= 1
        while at_ms >= self._start_ms(number + 1):
            number += 1
        self._last = TradingDay(number, self._start_ms(number), self._start_ms(number + 1))
        return self._last

    def _start_ms(self, number: int) -> int:
        begins = datetime.combine(_EPOCH + timedelta(days=number), self._starts, self._zone)
        since = begins.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return since // timedelta(milliseconds=1)

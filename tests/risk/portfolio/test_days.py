"""Trading days: every instant in exactly one, whatever the clocks of the place do."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import zone_of
from arbshard.risk.portfolio.results import DAY_MS, TradingDays, day_of, label_of

HOUR_MS = 3_600_000
ZONES = (
    "UTC",
    "Asia/Seoul",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
)


def ms(text: str, zone="UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_the_default_day_is_the_utc_day() -> None:
    days = TradingDays("09:00", zone_of("Asia/Seoul"))
    for at_ms in (ms("2026-11-21 00:00"), ms("2026-11-21 23:59:59.999"), ms("2026-11-22 00:00")):
        assert days.day_at(at_ms).number == day_of(at_ms)
    today = days.day_at(ms("2026-11-21 12:00"))
    assert (today.label, today.starts_ms) == ("2026-11-21", ms("2026-11-21 00:00"))
    assert today.ends_ms - today.starts_ms == DAY_MS


def test_a_day_begins_to_the_millisecond() -> None:
    days = TradingDays("17:30", zone_of("America/New_York"))
    begin = ms("2026-01-05 17:30", "America/New_York")
    assert days.day_at(begin - 1).label == "2026-01-04"
    assert days.day_at(begin).label == "2026-01-05"
    assert days.day_at(begin + DAY_MS - 1).label == "2026-01-05"


@pytest.mark.parametrize(
    ("date", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-07-01", 24)]
)  # clocks of New York: an hour less, an hour more, as usual
@pytest.mark.parametrize("starts", ["00:00", "02:30", "01:30"])
def test_summer_time_makes_short_and_long_days(date, hours, starts) -> None:
    days = TradingDays(starts, zone_of("America/New_York"))
    around = [days.day_at(ms(f"{date} 12:00", "America/New_York") + shift * DAY_MS) for shift in (-1, 0, 1)]
    spans = [(day.ends_ms - day.starts_ms) // HOUR_MS for day in around]
    assert hours in spans
    assert sum(spans) == 72 + (hours - 24)


def test_a_beginning_that_the_clocks_skip() -> None:
    """02:30 does not exist on 2026-03-08 in New York: the day begins an hour after 01:30 all the same."""
    days = TradingDays("02:30", zone_of("America/New_York"))
    begin = days.day_at(ms("2026-03-08 12:00", "America/New_York")).starts_ms
    assert datetime.fromtimestamp(begin / 1000, UTC).isoformat() == "2026-03-08T07:30:00+00:00"


@pytest.mark.parametrize("minutes", range(0, 240, 10))
def test_a_day_that_has_begun_when_the_clocks_go_back_beyond_midnight(minutes) -> None:
    """In St. John's they went from 00:01 back to 23:01: the date says yesterday, and the day is today's."""
    days = TradingDays("00:00", zone_of("America/St_Johns"))
    at_ms = ms("2010-11-06 22:00", "America/St_Johns") + minutes * 60_000
    begins = ms("2010-11-07 00:00", "America/St_Johns")
    day = days.day_at(at_ms)
    assert day.label == ("2010-11-06" if at_ms < begins else "2010-11-07")
    assert day.starts_ms <= at_ms < day.ends_ms


@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(ZONES),
    st.times().map(lambda t: t.strftime("%H:%M")),
)
def test_days_follow_each_other_without_gap(at_ms, zone, starts) -> None:
    days = TradingDays(starts, zone_of(zone))
    day = days.day_at(at_ms)
    assert day.starts_ms <= at_ms < day.ends_ms
    assert days.day_at(day.starts_ms) == days.day_at(day.ends_ms - 1) == day
    after = days.day_at(day.ends_ms)
    assert (after.number, after.starts_ms) == (day.number + 1, day.ends_ms)
    assert days.day_at(day.starts_ms - 1).number == day.number - 1
    assert TradingDays(starts, zone_of(zone)).day_at(at_ms) == day  # whatever was asked before
    assert label_of(day.number) == day.label

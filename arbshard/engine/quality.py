"""Whether two books and an FX rate may be traded on. Fail closed: every doubt is a numbered refusal."""

from typing import NamedTuple

from arbshard.config import DataConfig
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.refusal import Refusal


class Quality(NamedTuple):
    """``DataConfig`` in nanoseconds."""

    book_age_ns_max: int
    leg_skew_ns_max: int
    fx_age_ns_max: int


def quality_of(config: DataConfig) -> Quality:
    """Convert the settings once."""
    return Quality(
        int(config.max_book_age_ms * 1e6), int(config.max_leg_skew_ms * 1e6), int(config.max_fx_age_ms * 1e6)
    )


class View(NamedTuple):
    """One market as its shard sees it: the newest good book, or why there is none."""

    book: OrderBookSnapshot | None
    live: bool
    """The connection that carries it is up."""
    bad: bool
    """Its newest frame could not be trusted, whatever came before."""


UNSEEN = View(book=None, live=False, bad=False)


def doubt(home: View, away: View, fx: View, now_ns: int, quality: Quality) -> Refusal | None:
    """The first reason not to trade on these, or None."""
    if home.bad or away.bad:
        return Refusal.BOOK_BAD
    if home.book is None or away.book is None:
        return Refusal.BOOK_MISSING
    if not (home.live and away.live):
        return Refusal.VENUE_DOWN
    home_ns, away_ns = home.book.received_ns, away.book.received_ns
    if now_ns - min(home_ns, away_ns) > quality.book_age_ns_max:
        return Refusal.BOOK_STALE
    if abs(home_ns - away_ns) > quality.leg_skew_ns_max:
        return Refusal.LEG_SKEW
    if fx.book is None or fx.bad:
        return Refusal.FX_MISSING
    if not fx.live or now_ns - fx.book.received_ns > quality.fx_age_ns_max:
        return Refusal.FX_STALE
    return None

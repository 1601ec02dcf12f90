"""Decides whether two books and an FX rate may be traded on. It fails closed: every doubt is a numbered refusal."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple, Self

from arbshard.config import DataConfig
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.refusal import Refusal


class Quality(NamedTuple):
    """Holds ``DataConfig`` in nanoseconds."""

    book_age_ns_max: int
    leg_skew_ns_max: int
    fx_age_ns_max: int
    jump_up: float = inf
    """A price that is more than this many times the one before has jumped."""
    jump_down: float = 0.0
    """A price that is less than this many times the one before has jumped."""
    jump_settle_ns: int = 0
    """Frames of a market confirm a jump only when it has lasted this long."""


def quality_of(config: DataConfig) -> Quality:
    """Return the settings converted to nanoseconds and factors, which is done once."""
    return Quality(
        int(config.max_book_age_ms * 1e6),
        int(config.max_leg_skew_ms * 1e6),
        int(config.max_fx_age_ms * 1e6),
        1 + config.jump_bps / 10_000,
        1 / (1 + config.jump_bps / 10_000),
        int(config.jump_settle_ms * 1e6),
    )


class Confirmed(NamedTuple):
    """Says when each book was last known to be its market's newest one (monotonic ns); 0 for never.

    A book that does not change brings no frame. It stays good for an exit as long as it is confirmed: by signs of
    life of its connection for ``quiet_confirm_s``, and by REST beyond that. The supervisor decides this
    (``supervisor/feeds/confirmation.py``).
    """

    home_ns: int
    away_ns: int
    fx_ns: int


QUIET = frozenset({Refusal.BOOK_STALE, Refusal.LEG_SKEW, Refusal.FX_STALE})
"""Refusals that a confirmation may lift for an exit."""

LoadBook = Callable[[], OrderBookSnapshot | None]
"""Decodes a book of which only the top was read; returns None if it cannot be trusted."""


class View:
    """Shows one market as its shard sees it: the newest good book, or why there is none.

    Most ticks need only its top. The whole book is decoded when it is first asked for, and only once.
    """

    __slots__ = ("_book", "_load", "bad", "jumped_ns", "live", "settled", "top")

    def __init__(self, book: OrderBookSnapshot | None, live: bool, bad: bool) -> None:
        """Hold ``book``; ``live``: its connection is up. ``bad``: its newest frame could not be trusted."""
        self.top: BookTop | None = book.top if book is not None else None
        self.live = live
        self.bad = bad
        self.settled: BookTop | None = self.top
        """The newest top that is not in doubt: this view's own, or the one before it jumped."""
        self.jumped_ns = 0
        """Since when frames have been a jump away from ``settled``; 0 when they are not."""
        self._book = book
        self._load: LoadBook | None = None

    @classmethod
    def glanced(cls, top: BookTop, live: bool, load: LoadBook) -> Self:
        """Return a view of a frame of which only the top was read."""
        view = cls(None, live, bad=False)
        view.top = view.settled = top
        view._load = load
        return view

    def compare(self, before: "View", quality: Quality) -> None:
        """Find out whether the top has jumped since ``before``, the market's last view.

        A top that is a jump away from the settled one is in doubt until a later frame confirms it by being close to
        it. So one wrong frame is never acted on, and the right one after it is not doubted, because it is close to
        the settled top. A stream that sends each change may repeat a wrong price within milliseconds, so frames
        confirm a jump only when ``jump_settle_ns`` have passed since the first of them.
        """
        settled, top = before.settled, self.top
        if settled is None:
            return
        if top is None:
            self.settled, self.jumped_ns = settled, before.jumped_ns
        elif has_jumped(settled, top, quality):
            last, since_ns = before.top, before.jumped_ns
            is_confirmed = (
                since_ns
                and last is not None
                and last.received_ns != top.received_ns
                and top.received_ns - since_ns >= quality.jump_settle_ns
                and not has_jumped(last, top, quality)
            )
            if not is_confirmed:
                self.settled, self.jumped_ns = settled, since_ns or top.received_ns

    @property
    def book(self) -> OrderBookSnapshot | None:
        """Return all levels; None without a good book. A frame that only now proves bad loses its top too."""
        if self._load is not None:
            self._book = self._load()
            self._load = None
            if self._book is None:
                self.top = None
                self.bad = True
        return self._book


UNSEEN = View(book=None, live=False, bad=False)


def has_jumped(before: BookTop, top: BookTop, quality: Quality) -> bool:
    """Return whether one of the best prices has moved further than a book usually moves between two frames."""
    up, down = quality.jump_up, quality.jump_down
    bid, ask = before.best_bid, before.best_ask
    return not (bid * down <= top.best_bid <= bid * up and ask * down <= top.best_ask <= ask * up)


def is_jump_doubted(home: View, away: View, quality: Quality, confirmed: Confirmed) -> bool:
    """Return whether a jump of one of the books is not confirmed yet: then nothing is entered or exited.

    A jump is confirmed by a second frame of its market (``View.compare``); by the other side of the pair, when that
    has jumped as far; and when the supervisor has ``confirmed`` the book since, because a wrong frame is corrected
    before that. A jump of FX is another rule's concern (``ArbitrageEngine``, ``risk.limits.fx_guard``).
    """
    moves = []
    is_doubted = False
    for view, confirmed_ns in ((home, confirmed.home_ns), (away, confirmed.away_ns)):
        top, settled = view.top, view.settled
        if top is None or settled is None:
            return False
        if view.jumped_ns and confirmed_ns < top.received_ns:
            is_doubted = True
        moves.append(top.mid / settled.mid)
    return is_doubted and not quality.jump_down <= moves[0] / moves[1] <= quality.jump_up


def is_late(book: OrderBookSnapshot | None, late_after_ns: int) -> bool:
    """Return whether ``book`` came too long after it was sent, as far as both times are known.

    Receipt is in monotonic time and sending in the venue's clock, so their difference means nothing in itself. The
    supervisor knows which difference is usual for the venue, and above which one a frame is late: ``late_after_ns``,
    which is 0 while it is not known (``supervisor/feeds/lag.py``).
    """
    if book is None or book.sent_ms is None or not late_after_ns:
        return False
    return book.received_ns - book.sent_ms * 1_000_000 > late_after_ns


def data_refusal(
    home: View, away: View, fx: View, now_ns: int, quality: Quality, confirmed: Confirmed | None = None
) -> Refusal | None:
    """Return the first reason not to trade on these, or None.

    A book's age is the time since its frame was received or, for exits, since the book was ``confirmed``.
    """
    if home.bad or away.bad:
        return Refusal.BOOK_BAD
    if home.top is None or away.top is None:
        return Refusal.BOOK_MISSING
    if not (home.live and away.live):
        return Refusal.VENUE_DOWN
    home_ns, away_ns = home.top.received_ns, away.top.received_ns
    if confirmed is not None:
        home_ns, away_ns = max(home_ns, confirmed.home_ns), max(away_ns, confirmed.away_ns)
    if now_ns - min(home_ns, away_ns) > quality.book_age_ns_max:
        return Refusal.BOOK_STALE
    if abs(home_ns - away_ns) > quality.leg_skew_ns_max:
        return Refusal.LEG_SKEW
    if fx.top is None or fx.bad:
        return Refusal.FX_MISSING
    fx_ns = fx.top.received_ns if confirmed is None else max(fx.top.received_ns, confirmed.fx_ns)
    if not fx.live or now_ns - fx_ns > quality.fx_age_ns_max:
        return Refusal.FX_STALE
    return None

"""``ProviderBooks``: the books that executors trade against, straight from the provider."""

from arbshard.data.provider import MarketDataProvider
from arbshard.engine.quality import View
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import FxQuote
from arbshard.model.market import Leg
from arbshard.model.money import exact
from arbshard.runner.pace import Pace


class ProviderBooks:
    """Implements ``execution.ports.BookPort``."""

    def __init__(self, provider: MarketDataProvider, pace: Pace, fx: Leg, book_age_ms_max: float) -> None:
        self._provider = provider
        self._pace = pace
        self._fx = fx
        self._age_ns_max = int(book_age_ms_max * 1e6)

    def tradable(self, leg: Leg) -> OrderBookSnapshot | None:
        """See ``BookPort``. A book that is too old is no book, unless it is the last of a recording."""
        view = self.view(leg)
        if view.book is None or not view.live or view.bad:
            return None
        age_ns = self._pace.clock.monotonic_ns() - view.book.received_ns
        return view.book if age_ns <= self._age_ns_max or self._pace.has_ended else None

    def fx(self) -> FxQuote | None:
        """See ``BookPort``."""
        book = self._provider.get_latest_snapshot(self._fx.market.symbol)
        return FxQuote(exact(book.best_bid), exact(book.best_ask)) if book is not None else None

    def view(self, leg: Leg) -> View:
        """The market as the engine wants to see it; a book that cannot be trusted hides the one before."""
        symbol = leg.market.symbol
        bad = self._provider.is_bad(symbol)
        book = None if bad else self._provider.get_latest_snapshot(symbol)
        return View(book, self._provider.is_live(symbol), bad)

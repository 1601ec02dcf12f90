"""Gives executors the books that they trade against, directly from the provider."""

from arbshard.config import DataConfig
from arbshard.data.provider import MarketDataProvider
from arbshard.engine.quality import View
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import FxQuote
from arbshard.model.market import Leg
from arbshard.model.money import exact
from arbshard.runner.pace import Pace


class ProviderBooks:
    """Implements ``execution.ports.BookPort``."""

    def __init__(self, provider: MarketDataProvider, pace: Pace, fx: Leg, quality: DataConfig) -> None:
        self._provider = provider
        self._pace = pace
        self._fx = fx
        self._age_ns_max = int(quality.max_book_age_ms * 1e6)
        self._fx_age_ns_max = int(quality.max_fx_age_ms * 1e6)

    def tradable(self, leg: Leg) -> OrderBookSnapshot | None:
        """Return the book of ``leg``; None when it is too old, unless it is the last of a recording."""
        view = self.view(leg)
        if view.book is None or not view.live or view.bad:
            return None
        return view.book if self._is_young(view.book, self._age_ns_max) else None

    def tradable_fx(self) -> FxQuote | None:
        """Return the FX rate; None when it is too old, unless it is the last of a recording."""
        view = self.view(self._fx)
        if view.book is None or not view.live or not self._is_young(view.book, self._fx_age_ns_max):
            return None
        return self.fx()

    def fx(self) -> FxQuote | None:
        """Return the FX rate of the newest book, however old; None before the first."""
        book = self._provider.get_latest_snapshot(self._fx.market.symbol)
        if book is None:
            return None
        return FxQuote(exact(book.best_bid), exact(book.best_ask), self._age_ns(book) // 1_000_000)

    def _is_young(self, book: OrderBookSnapshot, age_ns_max: int) -> bool:
        return self._age_ns(book) <= age_ns_max or self._pace.has_ended

    def _age_ns(self, book: OrderBookSnapshot) -> int:
        return max(self._pace.clock.monotonic_ns() - book.received_ns, 0)

    def view(self, leg: Leg) -> View:
        """Return the market as the engine needs it; a book that cannot be trusted hides the one before."""
        symbol = leg.market.symbol
        bad = self._provider.is_bad(symbol)
        book = None if bad else self._provider.get_latest_snapshot(symbol)
        return View(book, self._provider.is_live(symbol), bad)

"""What closing the open positions now would bring, from the books in shared memory. For ``arbshard positions``."""

import msgspec

from arbshard.clock import Clock
from arbshard.engine.closing import Closing, close_now
from arbshard.engine.edge import terms_of
from arbshard.engine.engine import held_of
from arbshard.errors import FrameError, SharedMemoryError
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg, reverse
from arbshard.model.money import plain
from arbshard.model.position import Position
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from arbshard.venues.registry import get_venue
from arbshard.wire.messages import Positions


class OpenPosition(msgspec.Struct, frozen=True):
    """One open position, amounts in reporting currency."""

    position_id: str
    symbol: str
    direction: str
    opened_ms: int
    age_s: float
    quantity: str
    entry_home_price: str
    entry_away_price: str
    notional: str
    unrealised: float | None
    """After all fees, those of the exit included; None when the books do not tell."""
    unrealised_bps: float | None
    closing: str
    """Why it is being closed; empty when it is not."""


def open_rows(answer: Positions, files: RunFiles, clock: Clock) -> list[OpenPosition]:
    """A row for each position, oldest first."""
    closing = dict(answer.closing)
    ordered = sorted(answer.positions, key=lambda one: one.opened_ms)
    results = _results(ordered, files)
    now_ms = clock.wall_ms()
    rows = []
    for position in ordered:
        result = results.get(position.position_id)
        rows.append(
            OpenPosition(
                position_id=position.position_id,
                symbol=position.pair,
                direction=position.direction,
                opened_ms=position.opened_ms,
                age_s=round((now_ms - position.opened_ms) / 1000, 1),
                quantity=plain(position.quantity),
                entry_home_price=plain(round(position.entry_home_price, 8).normalize()),
                entry_away_price=plain(round(position.entry_away_price, 8).normalize()),
                notional=plain(position.entry_notional),
                unrealised=round(result.pnl, 2) if result is not None else None,
                unrealised_bps=round(result.net_bps, 2) if result is not None else None,
                closing=closing.get(position.pair, ""),
            )
        )
    return rows


def _results(positions: list[Position], files: RunFiles) -> dict[str, Closing]:
    """By position, where both books and the FX rate are there."""
    found: dict[str, Closing] = {}
    try:
        universe = msgspec.json.decode(files.universe.read_bytes(), type=Universe)
        with BooksReader.attach(files.books) as books:
            rate = _book(books, universe.fx)
            pairs = {pair.base: pair for pair in universe.pairs}
            for position in positions:
                pair = pairs.get(position.pair)
                if pair is None or rate is None:
                    continue
                home, away = _book(books, pair.home), _book(books, pair.away)
                if home is None or away is None:
                    continue
                back = terms_of(pair, reverse(position.direction))
                fx = (rate.best_bid, rate.best_ask)
                found[position.position_id] = close_now(held_of(position), home, away, fx, back)
    except (OSError, SharedMemoryError):
        return found  # the run has just ended: what is not known is shown as such
    return found


def _book(books: BooksReader, leg: Leg) -> OrderBookSnapshot | None:
    seen = books.read(leg.slot)
    if seen is None or not seen[2]:
        return None
    try:
        return get_venue(leg.market.venue).decode(seen[3], seen[1])
    except FrameError:
        return None  # a frame that workers do not trust either

"""Reads what ``status.why`` judges of one pair: its books, risk's note and the configuration of the run."""

import msgspec

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.engine.quality import UNSEEN, View
from arbshard.errors import FrameError, UsageError
from arbshard.model.market import Leg
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.universe import UniverseFile
from arbshard.status.cluster import elsewhere_of, read_cluster
from arbshard.status.risk_note import read_risk_note
from arbshard.status.why import PairReasons, reasons_of
from arbshard.venues.registry import get_venue


def read_reasons(files: RunFiles, coin: str, clock: Clock, halted: str) -> PairReasons:
    """Return why ``coin`` is not entered now. ``halted`` is the text of the status.

    Raises ``UsageError`` where the run does not trade it, and ``SharedMemoryError``.
    """
    settings = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    with BooksReader.attach(files.books) as books:
        universe = UniverseFile(books, files.universe).load()
        pair = next((one for one in universe.pairs if one.answers_to(coin)), None)
        if pair is None:
            raise UsageError(
                f"why {coin}: this run does not trade it; 'arbshard symbols' lists what it trades"
            )
        views = read_view(books, pair.home), read_view(books, pair.away), read_view(books, universe.fx)
        shard = next((number for number, bases in enumerate(universe.shards) if pair.base in bases), -1)
        cluster = read_cluster(files, settings.cluster, clock) if settings.cluster is not None else None
        elsewhere = elsewhere_of(cluster, shard)
        note, now_ns = read_risk_note(files), clock.monotonic_ns()
        return reasons_of(pair, shard, views, now_ns, settings, note, halted, elsewhere)


def read_view(books: BooksReader, leg: Leg) -> View:
    """Return a market's book as it is now, or why there is none."""
    found = books.read(leg.slot)
    if found is None:
        return UNSEEN
    _, received_ns, live, frame = found
    try:
        return View(get_venue(leg.market.venue).decode(frame, received_ns), live, bad=False)
    except FrameError:
        return View(None, live, bad=True)

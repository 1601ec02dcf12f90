"""Defines ``arbshard tap``, which shows what a running instance publishes on its bus, as columns or as JSON lines."""

import signal
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.errors import FrameError, UsageError
from arbshard.model.universe import Universe
from arbshard.venues.registry import get_venue
from arbshard.wire import topics
from arbshard.wire.tap import Received, Tap

KINDS = {
    "books": topics.BOOKS,
    "venues": topics.VENUES,
    "control": topics.CONTROL,
    "alerts": topics.ALERT,
    "beats": topics.BEAT,
}
_SHOWN = "books,venues,control,alerts"
_NAMES_MAX = 12
"""Number of names that an error line lists."""
_READ_S = 0.1
_CHECK_S = 1.0
"""Interval in seconds at which it is checked that the instance still runs."""
_TIME = f"time {datetime.now(UTC).astimezone():%Z}"
"""Times are in the time zone of this computer."""
_HEADING = (
    f"{_TIME:<12}  {'kind':<7}  {'what':<24}  {'bid × size':>28}  {'ask × size':>28}  {'age':>9}  change"
)


def tap(
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Only books of these, by base or market: BTC,KRW-ETH.")
    ] = None,
    venue: Annotated[str | None, typer.Option("--venue", help="Only books and state of this venue.")] = None,
    kinds: Annotated[str, typer.Option("--kinds", help=f"What to show, of {','.join(KINDS)}.")] = _SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", min=0.0, help="Show a book so often at most (s); default: 1, with --json 0 (all)."
        ),
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", min=0.0, help="End after so many seconds.")
    ] = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what a running instance publishes, until Ctrl-C: books, venue states, control, alerts."""
    instance, files = running_files(name, config)
    try:
        universe = msgspec.json.decode(files.universe.read_bytes(), type=Universe)
    except FileNotFoundError as error:
        raise UsageError(
            f"{instance} is starting and has no markets yet: try again in a few seconds"
        ) from error
    wanted = topics_of(universe, split(kinds), split(symbols), venue)
    printer: Printer = JsonPrinter() if as_json else ColumnPrinter()
    pace_s = every if every is not None else 0.0 if as_json else 1.0
    end_s = time.monotonic() + duration if duration is not None else None
    with Tap(files.bus_endpoint, wanted) as one:
        _show(instance, one, Pacer(pace_s), printer, end_s)


def split(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def topics_of(
    universe: Universe, kinds: Sequence[str], symbols: Sequence[str], venue: str | None
) -> list[str]:
    """Return the topics that a person requests. Raises ``UsageError`` for unknown names."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UsageError(f"--kinds {','.join(unknown)}: one or more of {','.join(KINDS)}")
    venues = sorted({leg.market.venue for leg in universe.legs()})
    if venue is not None and venue not in venues:
        raise UsageError(f"--venue {venue}: this instance has {', '.join(venues)}")
    found: list[str] = []
    for kind in kinds:
        if kind == "books":
            found += _book_topics(universe, symbols, venue)
        elif kind == "venues" and venue is not None:
            found.append(topics.venue_topic(venue))
        else:
            found.append(KINDS[kind])
    return found


def _book_topics(universe: Universe, symbols: Sequence[str], venue: str | None) -> list[str]:
    if not symbols:
        return [topics.book_topic(venue) if venue is not None else topics.BOOKS]
    found = []
    for symbol in symbols:
        pairs = [pair for pair in universe.pairs if pair.answers_to(symbol)]
        markets = [leg.market for pair in pairs for leg in (pair.home, pair.away)]
        if universe.fx.market.symbol == symbol.upper():
            markets.append(universe.fx.market)
        if not markets:
            raise UsageError(f"--symbols {symbol}: this instance has no such pair; it has {_some(universe)}")
        found += [
            topics.book_topic(market.venue, market.symbol)
            for market in markets
            if venue in (None, market.venue)
        ]
    if not found:
        raise UsageError(f"--venue {venue}: it has no market of {', '.join(symbols)}")
    return found


def _some(universe: Universe) -> str:
    bases = [pair.base for pair in universe.pairs]
    more = f" and {len(bases) - _NAMES_MAX} more" if len(bases) > _NAMES_MAX else ""
    return ", ".join(bases[:_NAMES_MAX]) + more


class Pacer:
    """Passes on the newest book once in ``every_s``, and forwards everything else at once."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._waiting: dict[str, Received] = {}
        self._shown_s: dict[str, float] = {}

    def due(self, received: Iterable[Received], now_s: float) -> list[Received]:
        """Return those of ``received``, and of what waited before, that are to be shown now."""
        if not self._every_s:
            return list(received)
        found = []
        for one in received:
            if isinstance(one.message, topics.BookUpdate):
                self._waiting[one.topic] = one
            else:
                found.append(one)
        for topic in [topic for topic in self._waiting if self._is_due(topic, now_s)]:
            self._shown_s[topic] = now_s
            found.append(self._waiting.pop(topic))
        return found

    def _is_due(self, topic: str, now_s: float) -> bool:
        shown_s = self._shown_s.get(topic)
        return shown_s is None or now_s - shown_s >= self._every_s


class Printer(Protocol):
    """Makes a line of each message."""

    heading: str

    def line(self, received: Received, now_ms: int, now_ns: int) -> str:
        """Return the line for a message; wall and monotonic time are the current ones."""
        ...

    def missed(self, topic: str, count: int) -> str:
        """Return the line for ``count`` messages of the topic that did not come."""
        ...


class JsonPrinter:
    """Formats each message as one JSON object a line."""

    heading = ""

    def line(self, received: Received, now_ms: int, now_ns: int) -> str:
        """Return the message as a JSON object, with its kind and sequence number."""
        message = received.message
        fields: dict[str, Any] = msgspec.to_builtins(message)
        kind = fields.pop("type")
        if isinstance(message, topics.BookUpdate):
            del fields["frame"]
            fields |= {"age_ms": round((now_ns - message.received_ns) / 1e6, 3), **top_of(message)}
        shown = {"kind": kind, "topic_sequence": received.sequence, "shown_ms": now_ms, **fields}
        return msgspec.json.encode(shown).decode()

    def missed(self, topic: str, count: int) -> str:
        """Return the number of missed messages as a JSON object."""
        return msgspec.json.encode({"kind": "missed", "topic": topic, "count": count}).decode()


class ColumnPrinter:
    """Formats messages in columns for a terminal."""

    heading = _HEADING

    def line(self, received: Received, now_ms: int, now_ns: int) -> str:
        """Return the message in columns."""
        message = received.message
        if isinstance(message, topics.BookUpdate):
            return self._book(message, now_ms, now_ns)
        if isinstance(message, topics.VenueUpdate):
            venue = message.venue
            text = (
                f"{venue.state}, {venue.connections} of {venue.wanted} connections, {venue.symbols} markets"
            )
            why = f": {venue.last_error}" if venue.last_error else ""
            return self._row(message.at_ms, "venue", venue.name, text + why)
        if isinstance(message, topics.ControlChange):
            return self._row(
                message.at_ms, "control", f"{message.what} {message.name}", message.value or "no more"
            )
        if isinstance(message, topics.Alert):
            return self._row(message.at_ms, "alert", "", message.text)
        return self._row(now_ms, "beat", "", f"{(now_ns - message.at_ns) / 1e6:.1f} ms ago")

    def missed(self, topic: str, count: int) -> str:
        """Return the number of missed messages in columns."""
        return f"{'':<12}  {'missed':<7}  {topic:<24}  {count} messages came too fast"

    def _book(self, message: topics.BookUpdate, now_ms: int, now_ns: int) -> str:
        top = top_of(message)
        if "bad" in top:
            quotes = f"{'unreadable: ' + str(top['bad']):>58}"
        else:
            quotes = f"{_quote(top['bid'], top['bid_size']):>28}  {_quote(top['ask'], top['ask_size']):>28}"
        age = f"{(now_ns - message.received_ns) / 1e6:,.1f} ms" if message.live else "not live"
        market = f"{message.venue} {message.symbol}"
        return f"{_clock(now_ms)}  {'book':<7}  {market:<24}  {quotes}  {age:>9}  {message.sequence}"

    @staticmethod
    def _row(at_ms: int, kind: str, what: str, text: str) -> str:
        return f"{_clock(at_ms)}  {kind:<7}  {what:<24}  {text}"


def top_of(message: topics.BookUpdate) -> dict[str, float | str]:
    """Return best bid and ask with their sizes, or why the frame cannot be read."""
    try:
        top = get_venue(message.venue).top_of_book(message.frame, message.received_ns)
    except FrameError as error:
        return {"bad": str(error)}
    return {"bid": top.best_bid, "bid_size": top.bid_size, "ask": top.best_ask, "ask_size": top.ask_size}


def _quote(price: float | str, size: float | str) -> str:
    return f"{_number(price)} × {_number(size)}"


def _number(number: float | str) -> str:
    return f"{number:,.8f}".rstrip("0").rstrip(".")


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _show(instance: str, one: Tap, pacer: Pacer, printer: Printer, end_s: float | None) -> None:
    """Print until a signal, the end of the instance, or ``end_s``."""
    from supervisor.places import running_pid

    signals = _signals()
    missed: dict[str, int] = {}
    count = 0
    checked_s = time.monotonic()
    why = ""
    if printer.heading:
        typer.echo(printer.heading)
    while not signals and not why:
        received = one.read(_READ_S)
        count += len(received)
        now_s = time.monotonic()
        now_ms, now_ns = time.time_ns() // 1_000_000, time.monotonic_ns()
        lines = [printer.line(message, now_ms, now_ns) for message in pacer.due(received, now_s)]
        lines += [printer.missed(topic, lost) for topic, lost in _newly(one.missed, missed)]
        if lines:
            typer.echo("\n".join(lines))
        if end_s is not None and now_s >= end_s:
            why = "the time is over"
        elif now_s - checked_s >= _CHECK_S:
            checked_s = now_s
            why = "" if running_pid(instance) is not None else "the instance has ended"
    lost, bad = sum(one.missed.values()), one.bad
    typer.echo(f"tap: {count:,} messages, {lost:,} missed, {bad:,} unreadable: {why or 'stopped'}", err=True)


def _signals() -> list[int]:
    """Return a list to which the signals that request the end are added when they arrive."""
    found: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda received, _: found.append(received))
    return found


def _newly(missed: dict[str, int], before: dict[str, int]) -> list[tuple[str, int]]:
    """Return what was missed by topic since ``before``, which is updated."""
    found = [(topic, lost - before.get(topic, 0)) for topic, lost in missed.items()]
    before.update(missed)
    return [(topic, lost) for topic, lost in found if lost]

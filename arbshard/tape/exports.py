"""Writes files for other backtesting programs, from the Parquet files of ``compact``. Needs pyarrow.

``write_events`` makes a file of events for hftbacktest, ``write_catalog`` a catalog for NautilusTrader; neither
program needs to be installed for that. Prices and sizes are floats for hftbacktest, which has no others, and exact
for Nautilus.
"""

import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arbshard.model.market import Leg
from arbshard.tape import TapeError
from arbshard.tape.tables import NUMBER, kind_of

_EVENT = struct.Struct("<QqqddQqd")
"""Fields of hftbacktest's ``event_dtype``: ev, exch_ts, local_ts, px, qty, order_id, ival, fval."""
_EVENT_DTYPE = (
    "[('ev', '<u8'), ('exch_ts', '<i8'), ('local_ts', '<i8'), ('px', '<f8'), ('qty', '<f8'), "
    "('order_id', '<u8'), ('ival', '<i8'), ('fval', '<f8')]"
)
_CHANGED, _SNAPSHOT = 1, 4
"""Kinds of events of hftbacktest: a level of the book has changed (a quantity of 0 removes it), and a level of a
snapshot.
"""
_BUY, _SELL = 1 << 29, 1 << 28
_BOTH_ENDS = 1 << 31 | 1 << 30
"""Flags of an event that the exchange sees at ``exch_ts`` and the strategy at ``local_ts``."""
_ZIPPED_AT_ONCE = 1 << 20

_NAUTILUS_SCALE = 16
"""Decimals of a number of Nautilus: an integer of 128 bits, in units of 10 ** -16."""
_NAUTILUS_LEVELS = 10
_FIXED = pa.binary(16)
_TIME = re.compile(r"[-:.]")

Book = dict[int, dict[float, float]]
"""Side flag → price → size."""


class EventsReport(NamedTuple):
    """Holds what ``write_events`` has done."""

    events: int
    shifted_us: int
    """Time in µs by which all local times were moved, because some were before the venue's."""


def write_events(table: Path, target: Path) -> EventsReport:
    """Write a Parquet file of ``book_snapshot_N`` or ``incremental_book_L2`` as events for hftbacktest (``.npz``).

    Of snapshots, events are the levels that have changed since the one before. Both times of an event never
    decrease, and the local one is never the earlier one: hftbacktest requires that. Returns what was done. Raises
    ``TapeError``.
    """
    try:
        with pq.ParquetFile(table) as source:
            kind = kind_of(source.schema_arrow.names)
            if kind == "quotes":
                raise TapeError(
                    f"{table}: quotes have no book: export book_snapshot_N or incremental_book_L2"
                )
            shift_us = _shift_us(source)
            events = _events_of(source, kind, shift_us)
            count = _write_npz(target, events)
    except (OSError, pa.ArrowException) as error:
        raise TapeError(f"{table}: cannot be written to {target}: {error}") from error
    return EventsReport(count, shift_us)


def _shift_us(source: pq.ParquetFile) -> int:
    """Return by how many µs the local times must be moved so that none is before the venue's time."""
    times = source.read(columns=["timestamp", "local_timestamp"]).combine_chunks()
    if not times.num_rows:
        return 0
    latency = pc.subtract(_rising(times["local_timestamp"]), _rising(times["timestamp"]))
    return max(0, -int(pc.min(latency).as_py()))


def _rising(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cumulative_max(column)


def _events_of(source: pq.ParquetFile, kind: str, shift_us: int) -> Iterator[bytes]:
    book: Book = {_BUY: {}, _SELL: {}}
    exchange_ns = local_ns = 0
    rows = _incremental(source) if kind == "incremental_book_L2" else _snapshots(source)
    is_first = True
    for timestamp, local_timestamp, is_snapshot, changes in rows:
        exchange_ns = max(exchange_ns, timestamp * 1000)
        local_ns = max(local_ns, (local_timestamp + shift_us) * 1000)
        for side, levels in changes:
            kind_of_event = _SNAPSHOT if is_first else _CHANGED
            for price, size in _changes(book[side], levels, is_whole=is_snapshot):
                flags = _BOTH_ENDS | side | kind_of_event
                yield _EVENT.pack(flags, exchange_ns, local_ns, price, size, 0, 0, 0.0)
        is_first = False


def _changes(
    known: dict[float, float], levels: Iterable[tuple[float, float]], *, is_whole: bool
) -> Iterator[tuple[float, float]]:
    """Yield the levels that differ from ``known``, which is updated; a removed level has the size 0."""
    came = dict(levels)
    if is_whole:
        for price in [price for price in known if price not in came]:
            del known[price]
            yield price, 0.0
    for price, size in came.items():
        if known.get(price, 0.0) == size:
            continue
        if size:
            known[price] = size
        else:
            del known[price]
        yield price, size


_Change = tuple[int, int, bool, list[tuple[int, list[tuple[float, float]]]]]
"""(timestamp, local timestamp, whether it is a whole book, levels by side)."""


def _snapshots(source: pq.ParquetFile) -> Iterator[_Change]:
    for batch in source.iter_batches():
        columns = dict(zip(batch.schema.names, map(_plain, batch.columns), strict=True))
        count = sum(name.endswith(".price") for name in columns) // 2
        sides = [
            (flag, [(columns[f"{side}[{n}].price"], columns[f"{side}[{n}].amount"]) for n in range(count)])
            for flag, side in ((_BUY, "bids"), (_SELL, "asks"))
        ]
        times = zip(columns["timestamp"], columns["local_timestamp"], strict=True)
        for row, (timestamp, local_timestamp) in enumerate(times):
            levels = [
                (flag, [(prices[row], sizes[row]) for prices, sizes in side if prices[row] is not None])
                for flag, side in sides
            ]
            yield timestamp, local_timestamp, True, levels


def _incremental(source: pq.ParquetFile) -> Iterator[_Change]:
    """Yield the changes of each message; all rows of a snapshot are one change."""
    names = ("timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount")
    key: tuple[int, int, bool] | None = None
    levels: dict[int, list[tuple[float, float]]] = {_BUY: [], _SELL: []}
    for batch in source.iter_batches():
        for *head, side, price, amount in zip(*(_plain(batch.column(name)) for name in names), strict=True):
            timestamp, local_timestamp, is_snapshot = head
            if key != (timestamp, local_timestamp, is_snapshot):
                if key is not None:
                    yield *key, list(levels.items())
                key = timestamp, local_timestamp, is_snapshot
                levels = {_BUY: [], _SELL: []}
            levels[_BUY if side == "bid" else _SELL].append((price, amount))
    if key is not None:
        yield *key, list(levels.items())


def _plain(column: pa.Array) -> list[float]:
    found: list[float] = (column.cast(pa.float64()) if column.type == NUMBER else column).to_pylist()
    return found


def _write_npz(target: Path, events: Iterator[bytes]) -> int:
    """Write the events as the array ``data`` of an ``.npz`` file, which is a zip of files in numpy's format 1.0.

    Returns the number of events. The file begins with this number, which is not known yet, so the events are
    collected in memory first.
    """
    data = bytearray()
    for event in events:
        data += event
    count = len(data) // _EVENT.size
    header = f"{{'descr': {_EVENT_DTYPE}, 'fortran_order': False, 'shape': ({count},), }}"
    head = b"\x93NUMPY\x01\x00"
    padded = header.ljust(-(-(len(head) + 2 + len(header) + 1) // 64) * 64 - len(head) - 3) + "\n"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w") as file:
        file.write(head + struct.pack("<H", len(padded)) + padded.encode())
        for start in range(0, len(data), _ZIPPED_AT_ONCE):
            file.write(data[start : start + _ZIPPED_AT_ONCE])
    return count


class CatalogReport(NamedTuple):
    """Holds what ``write_catalog`` has done."""

    files: int
    rows: int
    undescribed: tuple[str, ...]
    """Instruments whose rules and fees are not known, so that the catalog has no description of them."""


def write_catalog(parquet: Path, target: Path, legs: Iterable[Leg]) -> CatalogReport:
    """Make a catalog for NautilusTrader (``ParquetDataCatalog``) from the files that ``compact`` wrote.

    ``quotes`` become ``quote_tick``, ``book_snapshot_N`` the ten best levels as ``order_book_depth10``, and each of
    ``legs`` that has data a ``currency_pair``. Returns what was done. Raises ``TapeError``.
    """
    known = {(leg.market.venue, leg.market.symbol): leg for leg in legs}
    files = rows = 0
    undescribed = []
    for (venue, symbol), tables in _tables_in(parquet).items():
        instrument = f"{symbol}.{venue.upper()}"
        try:
            precisions = _precisions(table for _, table in tables)
            for kind, path in tables:
                table = _nautilus_quotes(path) if kind == "quotes" else _nautilus_depth(path)
                if table.num_rows:
                    files += 1
                    rows += table.num_rows
                    _write_data(target, "quote_tick" if kind == "quotes" else "order_book_depth10",
                                instrument, table, precisions)  # fmt: skip
            leg = known.get((venue, symbol))
            if leg is None:
                undescribed.append(instrument)
            else:
                _write_instrument(target, instrument, leg, precisions)
        except (OSError, pa.ArrowException) as error:
            raise TapeError(f"{instrument}: cannot be written to {target}: {error}") from error
    if not files:
        raise TapeError(
            f"{parquet}: holds no quotes and no book snapshots; `arbshard tape compact` makes them"
        )
    return CatalogReport(files, rows, tuple(undescribed))


class _Precisions(NamedTuple):
    """Is the number of decimals of all prices and of all sizes of an instrument."""

    price: int
    size: int


def _tables_in(parquet: Path) -> dict[tuple[str, str], list[tuple[str, Path]]]:
    """Return the (kind, file) pairs of each market by (venue, symbol), the oldest day first."""
    found: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for path in sorted(parquet.glob("*/*/*/*.parquet")):
        venue, kind, _, name = path.relative_to(parquet).parts
        if kind == "quotes" or kind.startswith("book_snapshot_"):
            found.setdefault((venue, name.removesuffix(".parquet")), []).append((kind, path))
    return found


def _precisions(paths: Iterable[Path]) -> _Precisions:
    price = size = 0
    for path in paths:
        table = pq.read_table(path)
        for name in table.column_names:
            if table[name].type != NUMBER:
                continue
            if "price" in name:
                price = _digits(table[name], price)
            else:
                size = _digits(table[name], size)
    return _Precisions(price, size)


def _digits(column: pa.ChunkedArray, least: int) -> int:
    """Return how many decimals the numbers have, ``least`` at least. Raises ``TapeError`` for too many."""
    for digits in range(least, _NAUTILUS_SCALE + 1):
        try:
            column.cast(pa.decimal128(38, digits))
        except pa.ArrowInvalid:  # a digit would be lost
            continue
        return digits
    raise TapeError(f"a number has more than {_NAUTILUS_SCALE} digits after the point")


def _nautilus_quotes(path: Path) -> pa.Table:
    table = pq.read_table(path)
    table = table.filter(pc.and_(pc.is_valid(table["bid_price"]), pc.is_valid(table["ask_price"])))
    names = ("bid_price", "ask_price", "bid_amount", "ask_amount")
    columns = {name.replace("amount", "size"): _fixed(table[name]) for name in names}
    return _required(columns | _times(table))


def _nautilus_depth(path: Path) -> pa.Table:
    table = pq.read_table(path)
    nothing = pa.nulls(table.num_rows, NUMBER)
    columns: dict[str, pa.Array] = {}
    counts: dict[str, pa.Array] = {}
    for what, ours in (("price", "price"), ("size", "amount")):
        for side in ("bid", "ask"):
            for level in range(_NAUTILUS_LEVELS):
                name = f"{side}s[{level}].{ours}"
                column = table[name] if name in table.column_names else nothing
                columns[f"{side}_{what}_{level}"] = _fixed(pc.fill_null(column, Decimal(0)))
                counts[f"{side}_count_{level}"] = pc.cast(pc.is_valid(column), pa.uint32())
    sides = ("bid", "ask")
    ordered = {
        f"{side}_count_{n}": counts[f"{side}_count_{n}"] for side in sides for n in range(_NAUTILUS_LEVELS)
    }
    rest = {
        "flags": pa.array([0] * table.num_rows, pa.uint8()),
        "sequence": pa.array(range(table.num_rows), pa.uint64()),
    }
    return _required(columns | ordered | rest | _times(table))


def _times(table: pa.Table) -> dict[str, pa.Array]:
    in_ns = partial(pc.multiply, 1000)
    return {
        "ts_event": in_ns(table["timestamp"]).cast(pa.uint64()),
        "ts_init": in_ns(_rising(table["local_timestamp"])).cast(pa.uint64()),
    }


def _fixed(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return decimals as the integers of Nautilus. Raises ``ArrowInvalid`` for digits that would be lost."""
    scaled = column.cast(pa.decimal128(38, _NAUTILUS_SCALE))
    flat = pa.concat_arrays(scaled.chunks if isinstance(scaled, pa.ChunkedArray) else [scaled])
    return pa.Array.from_buffers(_FIXED, len(flat), [None, flat.buffers()[1]], offset=flat.offset)


def _required(columns: dict[str, pa.Array]) -> pa.Table:
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _write_data(target: Path, kind: str, instrument: str, table: pa.Table, precisions: _Precisions) -> None:
    metadata = {
        "instrument_id": instrument,
        "price_precision": str(precisions.price),
        "size_precision": str(precisions.size),
    }
    times = table["ts_init"]
    _write_nautilus(
        target, kind, instrument, table.replace_schema_metadata(metadata), times[0].as_py(), times[-1].as_py()
    )


def _write_nautilus(
    target: Path, kind: str, instrument: str, table: pa.Table, first_ns: int, last_ns: int
) -> None:
    folder = target / "data" / kind / instrument
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{_stamp(first_ns)}_{_stamp(last_ns)}.parquet")


def _stamp(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{_TIME.sub('-', text)}-{rest:09d}Z"


def _write_instrument(target: Path, instrument: str, leg: Leg, precisions: _Precisions) -> None:
    market, rules = leg.market, leg.rules
    words = pa.dictionary(pa.int16(), pa.string())
    fee = str(max(leg.fees.buy_bps, leg.fees.sell_bps) / 10_000)
    values: dict[str, tuple[pa.DataType, object]] = {
        "id": (pa.dictionary(pa.int64(), pa.string()), instrument),
        "raw_symbol": (pa.string(), market.symbol),
        "base_currency": (words, market.base),
        "quote_currency": (words, market.quote),
        "price_precision": (pa.uint8(), precisions.price),
        "size_precision": (pa.uint8(), precisions.size),
        "price_increment": (words, _increment(precisions.price)),
        "size_increment": (words, _increment(precisions.size)),
        "multiplier": (words, "1"),
        "lot_size": (words, None),
        "max_quantity": (words, None),
        "min_quantity": (words, None),
        "max_notional": (words, None),
        "min_notional": (words, f"{rules.notional_min:f} {market.quote}"),
        "max_price": (words, None),
        "min_price": (words, None),
        "margin_init": (pa.string(), "0"),
        "margin_maint": (pa.string(), "0"),
        "maker_fee": (pa.string(), fee),
        "taker_fee": (pa.string(), fee),
        "info": (pa.binary(), b"null"),
        "ts_event": (pa.uint64(), 0),
        "ts_init": (pa.uint64(), 0),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in values.items()], {"class": "CurrencyPair"})
    table = pa.table([pa.array([value], kind) for kind, value in values.values()], schema=schema)
    _write_nautilus(target, "currency_pair", instrument, table, 0, 0)


def _increment(digits: int) -> str:
    return f"{Decimal(1).scaleb(-digits):f}"

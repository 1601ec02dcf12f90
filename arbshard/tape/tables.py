"""Converts tables of market data with the columns of Tardis' CSV files, as Parquet and as CSV. Needs pyarrow.

| type | a row is |
|---|---|
| ``book_snapshot_N`` | the best N levels of a book |
| ``quotes`` | the best level |
| ``incremental_book_L2`` | a level that has changed; an amount of 0 removes it |

Times are in µs since the epoch. Numbers are decimals with 18 digits after the point: none is rounded.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from arbshard.tape import TapeError

NUMBER = pa.decimal128(38, 18)
_SNAPSHOT = re.compile(r"book_snapshot_([1-9]\d{0,2})")
_HEAD = [
    pa.field("exchange", pa.string(), nullable=False),
    pa.field("symbol", pa.string(), nullable=False),
    pa.field("timestamp", pa.int64(), nullable=False),
    pa.field("local_timestamp", pa.int64(), nullable=False),
]
_CSV_BLOCK_BYTES = 8 << 20


@cache
def schema_of(kind: str) -> pa.Schema:
    """Return the columns of a type of data. Raises ``TapeError`` for another type."""
    snapshot = _SNAPSHOT.fullmatch(kind)
    if snapshot is not None:
        levels = [
            pa.field(f"{side}[{level}].{what}", NUMBER)
            for level in range(int(snapshot[1]))
            for side in ("asks", "bids")
            for what in ("price", "amount")
        ]
        return pa.schema([*_HEAD, *levels])
    if kind == "quotes":
        names = ("ask_amount", "ask_price", "bid_price", "bid_amount")
        return pa.schema([*_HEAD, *(pa.field(name, NUMBER) for name in names)])
    if kind == "incremental_book_L2":
        return pa.schema(
            [
                *_HEAD,
                pa.field("is_snapshot", pa.bool_(), nullable=False),
                pa.field("side", pa.string(), nullable=False),
                pa.field("price", NUMBER, nullable=False),
                pa.field("amount", NUMBER, nullable=False),
            ]
        )
    raise TapeError(f"{kind}: not one of book_snapshot_N, quotes, incremental_book_L2")


def kind_of(names: list[str]) -> str:
    """Return the type of data that has these columns. Raises ``TapeError`` where there is none."""
    levels = sum(name.startswith("asks[") for name in names) // 2
    for kind in (f"book_snapshot_{levels}" if levels else "quotes", "incremental_book_L2"):
        if schema_of(kind).names == names:
            return kind
    raise TapeError(f"its columns are of no known type of data: {', '.join(names[:6])}")


def table_of(rows: list[tuple[object, ...]], kind: str) -> pa.Table:
    """Return the table of these rows. Raises ``TapeError`` for a number that would have to be rounded."""
    schema = schema_of(kind)
    try:
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
    except pa.ArrowException as error:
        raise TapeError(f"a number does not fit: {error}") from error
    return pa.table(arrays, schema=schema)


def write_csv(table: Path, target: Path, *, is_gzipped: bool) -> int:
    """Write a Parquet file as a CSV file. Returns the number of rows. Raises ``TapeError``."""
    rows = 0
    try:
        with pq.ParquetFile(table) as source, _sink(target, is_gzipped=is_gzipped) as sink:
            kind = kind_of(source.schema_arrow.names)
            sink.write((",".join(schema_of(kind).names) + "\n").encode())
            for batch in source.iter_batches():
                rows += batch.num_rows
                columns = [_texts(column) for column in batch.columns]
                lines = (",".join(line) for line in zip(*columns, strict=True))
                sink.write(("\n".join(lines) + "\n").encode())
    except (OSError, pa.ArrowException) as error:
        raise TapeError(f"{table}: cannot be written to {target}: {error}") from error
    return rows


def read_csv(path: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield the type of data of a CSV file, plain or gzipped, with its rows in pieces. Raises ``TapeError``."""
    try:
        with pa.input_stream(str(path), compression="detect") as source:
            head = _first_line(source)
        names = head.split(",")
        kind = kind_of(names)
        # Numbers are read as text first: a decimal of Arrow refuses exponents, and a float would be rounded.
        types = {field.name: pa.string() if field.type == NUMBER else field.type for field in schema_of(kind)}
        with pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
            convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        ) as reader:
            for batch in reader:
                columns = [
                    pa.array(map(_number, column.to_pylist()), type=NUMBER)
                    if field.type == NUMBER
                    else column
                    for column, field in zip(batch.columns, schema_of(kind), strict=True)
                ]
                yield kind, pa.table(columns, schema=schema_of(kind))
    except (OSError, UnicodeDecodeError, ArithmeticError, pa.ArrowException) as error:
        raise TapeError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    except TapeError as error:
        raise TapeError(f"{path}: {error}") from error


def padded(
    levels: Iterable[tuple[Decimal, Decimal]], count: int
) -> list[tuple[Decimal | None, Decimal | None]]:
    """Return the best ``count`` levels; the levels that a book does not have are (None, None)."""
    found: list[tuple[Decimal | None, Decimal | None]] = [*islice(levels, count)]
    return found + [(None, None)] * (count - len(found))


def _sink(target: Path, *, is_gzipped: bool) -> pa.NativeFile:
    return pa.output_stream(str(target), compression="gzip" if is_gzipped else None)


def _first_line(source: pa.NativeFile) -> str:
    head = bytearray()
    while b"\n" not in head and len(head) < 1 << 20:
        piece = source.read(4096)
        if not piece:
            break
        head += piece
    return bytes(head).partition(b"\n")[0].decode().rstrip("\r")


def _number(text: str) -> Decimal | None:
    if not text:
        return None
    number = Decimal(text)
    if not number.is_finite():
        raise ArithmeticError(f"{text} is not a number")
    return number


def _texts(column: pa.Array) -> list[str]:
    if column.type == NUMBER:
        return ["" if value is None else plain(value) for value in column.to_pylist()]
    if column.type == pa.bool_():
        return ["true" if value else "false" for value in column.to_pylist()]
    return [str(value) for value in column.to_pylist()]


def plain(number: Decimal) -> str:
    """Return a number as text, without an exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

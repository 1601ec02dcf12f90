"""Exports rows as Parquet files with typed columns, in bounded memory, for ``arbshard ledger export``. Needs
pyarrow.

Times are ``timestamp[ms, UTC]``, amounts ``decimal128(38, 18)``, numbers ``int64`` and ``double``. A column has one
type: where an amount does not fit exactly, the column is text in all rows, and the rows are read again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from arbshard.ledger.export import ExportValue

_BATCH = 10_000
_AMOUNT = pa.decimal128(38, 18)
_INTEGER_DIGITS, _FRACTION_DIGITS = 20, 18
_KINDS: dict[str, pa.DataType] = {
    **dict.fromkeys(("time", "opened", "closed", "changed"), pa.timestamp("ms", tz="UTC")),
    **dict.fromkeys(("seq", "line"), pa.int64()),
    "entry_edge_bps": pa.float64(),
    **dict.fromkeys(
        ("quantity", "price", "fee", "amount", "balance", "pnl", "fees", "entry_notional"), _AMOUNT
    ),
    **dict.fromkeys(("entry_home_price", "entry_away_price", "entry_fx_bid", "entry_fx_ask"), _AMOUNT),
    **dict.fromkeys(("home_base", "home_quote", "away_base", "away_quote", "other_fees"), _AMOUNT),
    **dict.fromkeys(("trade_pnl", "fx_pnl", "value", "mark"), _AMOUNT),
    **dict.fromkeys(("exit_home_price", "exit_away_price", "exit_fx_bid", "exit_fx_ask"), _AMOUNT),
}
"""The type of each column of ``export.COLUMNS``; text for those that are not here."""


class _DoesNotFit(Exception):
    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def write_parquet(
    path: Path, columns: Sequence[str], read_rows: Callable[[], Iterable[tuple[ExportValue, ...]]]
) -> int:
    """Write the rows that ``read_rows`` returns. Return the number of rows. Raises ``OSError``.

    ``read_rows`` is called again when a column has to become text.
    """
    kinds = {column: _KINDS.get(column, pa.string()) for column in columns}
    while True:
        try:
            return _write(path, kinds, iter(read_rows()))
        except _DoesNotFit as refused:
            kinds[refused.column] = pa.string()


def _write(path: Path, kinds: dict[str, pa.DataType], rows: Iterable[tuple[ExportValue, ...]]) -> int:
    schema = pa.schema(list(kinds.items()))
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        left = iter(rows)
        while batch := list(islice(left, _BATCH)):
            count += len(batch)
            columns = zip(kinds.items(), zip(*batch, strict=True), strict=True)
            arrays = [
                pa.array([_value(name, kind, cell) for cell in cells], kind)
                for (name, kind), cells in columns
            ]
            writer.write_table(pa.table(arrays, schema=schema))
    return count


def _value(
    column: str, kind: pa.DataType, cell: ExportValue
) -> datetime | Decimal | str | int | float | None:
    if cell is None:
        return None
    if isinstance(cell, msgspec.Raw):
        return bytes(cell).decode()
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(str(cell))
    if kind == _AMOUNT:
        return _amount(column, str(cell))
    return str(cell) if kind == pa.string() else cell


def _amount(column: str, text: str) -> Decimal | None:
    if not text:
        return None
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole) > _INTEGER_DIGITS or len(fraction) > _FRACTION_DIGITS:
        raise _DoesNotFit(column)
    return Decimal(text)

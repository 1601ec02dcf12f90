"""Stores events as columns, which makes an archive small. The code is pure; ``archive`` uses it.

The JSON text of an event is split into its values and the text between them, its *shape*. A ledger has few shapes,
so one table per shape holds the values of all its events, column by column; similar values are then next to each
other, which halves the compressed size. Joining a shape with a row of its table gives back the very bytes that were
split, whatever they are.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from arbshard.errors import LedgerDamaged

_VALUE = re.compile(r'(?<=[:\[,])("(?:[^"\\]|\\.)*"|-?[0-9][^,}\]"]*|true|false|null)(?=[,}\]])')
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")


class Table(msgspec.Struct, frozen=True, array_like=True):
    """Holds all events of one shape."""

    shape: tuple[str, ...]
    """The text before, between and after the values."""
    columns: tuple[tuple[str, ...] | int, ...]
    """The first value of each event, then the second of each, and so on; a number says which earlier column has
    the same values."""


class Pack(msgspec.Struct, frozen=True, array_like=True):
    """Holds the texts of consecutive events."""

    order: tuple[int, ...]
    """For each event in order, the number of its table."""
    tables: tuple[Table, ...]


def pack(bodies: Sequence[str]) -> Pack:
    """Split ``bodies`` into tables."""
    shapes: dict[tuple[str, ...], int] = {}
    rows: list[list[tuple[str, ...]]] = []
    order: list[int] = []
    for body in bodies:
        pieces = _VALUE.split(body)
        number = shapes.setdefault(tuple(pieces[::2]), len(rows))
        if number == len(rows):
            rows.append([])
        rows[number].append(tuple(pieces[1::2]))
        order.append(number)
    tables = (Table(shape, _columns(rows[number])) for shape, number in shapes.items())
    return Pack(tuple(order), tuple(tables))


def _columns(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...] | int, ...]:
    known: dict[tuple[str, ...], int] = {}
    columns: list[tuple[str, ...] | int] = []
    for number, column in enumerate(zip(*rows, strict=True)):
        earlier = known.setdefault(column, number)
        columns.append(column if earlier == number else earlier)
    return tuple(columns)


def unpack(packed: Pack) -> Iterator[str]:
    """Yield the texts in their order. Raises ``LedgerDamaged`` when ``pack`` cannot have made ``packed``."""
    waiting = [_joined(table, packed.order.count(number)) for number, table in enumerate(packed.tables)]
    try:
        for number in packed.order:
            yield next(waiting[number])
    except (IndexError, StopIteration) as error:
        raise LedgerDamaged("its tables do not hold the events that they should") from error


def _joined(table: Table, count: int) -> Iterator[str]:
    columns: list[tuple[str, ...]] = []
    for column in table.columns:
        if not isinstance(column, int):
            columns.append(column)
        elif 0 <= column < len(columns):
            columns.append(columns[column])
        else:
            raise LedgerDamaged("a column refers to one that is not before it")
    if len(columns) != len(table.shape) - 1 or any(len(column) != count for column in columns):
        raise LedgerDamaged("a table has columns of different lengths")
    if not columns:
        return iter([table.shape[0]] * count)
    template = "%s".join(piece.replace("%", "%%") for piece in table.shape)
    return (template % row for row in zip(*columns, strict=True))

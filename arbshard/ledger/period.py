"""Describes how a period of the ledger begins: what it takes over from the period before, which is in an archive.

The record is kept in the ledger's own file, beside the events of the period. It holds the opening balance of every
account, the state after the last archived event (open positions, intents under way, results, halts, limits), and the
name and digest of the newest archive, which itself names its predecessor. A ledger that was never archived has no
such record.
"""

import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec

from arbshard.ledger import schema
from arbshard.ledger.file import damaged
from arbshard.ledger.snapshots import Snapshot
from arbshard.model.money import plain

Row = TypeVar("Row")
BalanceRows = tuple[tuple[str, str, str], ...]
"""(account, currency, balance in plain notation), sorted."""


class ArchiveLink(msgspec.Struct, frozen=True):
    """Refers to an archive. The successor of the archive stores it."""

    name: str
    """The name of the archive's file, without its folder."""
    digest: str
    """Digest of all that it holds, and of its predecessor's digest."""


class PeriodOpening(msgspec.Struct, frozen=True):
    """Holds what a period begins with."""

    number: int
    """Number of the period; it is 2 for the first one that has an archive before it."""
    state: Snapshot
    """The state and all balances after the last archived event."""
    archive: ArchiveLink
    """The newest archive."""

    @property
    def seq(self) -> int:
        """Return the number of the last archived event."""
        return self.state.seq


def rows_of_balances(table: Mapping[tuple[str, str], Decimal]) -> BalanceRows:
    """Return ``table`` as it is stored."""
    return tuple((*account, plain(balance)) for account, balance in sorted(table.items()))


def table_of_balances(rows: BalanceRows) -> dict[tuple[str, str], Decimal]:
    """Return the table that ``rows_of_balances`` was given. Raises ``ArithmeticError``."""
    return {(account, currency): Decimal(balance) for account, currency, balance in rows}


def save_opening(connection: sqlite3.Connection, opening: PeriodOpening) -> None:
    """Store ``opening`` in a ledger that has none, within the caller's transaction. Raises ``sqlite3.Error``."""
    state, archive = opening.state, opening.archive
    balances = msgspec.json.encode(rows_of_balances(state.balances)).decode()
    row = (opening.number, state.seq, state.made_ms, state.version, state.hash, balances, state.body)
    whole = (*row, archive.name, archive.digest)
    connection.execute(schema.INSERT_PERIOD, (*whole, _digest(whole)))


def load_opening(connection: sqlite3.Connection, path: Path) -> PeriodOpening | None:
    """Return what the ledger at ``path`` begins with; None when it was never archived.

    Raises ``LedgerDamaged`` or ``sqlite3.Error``.
    """
    rows: list[tuple[object, ...]] = _rows(connection, path, schema.PERIODS)
    if not rows:
        return None
    *whole, digest = rows[0]
    if digest != _digest(whole):
        raise damaged(path, "the record that opens its period is not what was stored")
    try:
        number, seq, made_ms, version, state_hash, balances, body, name, archive_digest = msgspec.convert(
            whole, tuple[int, int, int, str, str, str, bytes, str, str]
        )
        table = table_of_balances(msgspec.json.decode(balances, type=BalanceRows))
    except (ArithmeticError, msgspec.MsgspecError) as error:
        raise damaged(path, f"its opening balances cannot be read: {error}") from error
    state = Snapshot(seq, made_ms, version, state_hash, table, body)
    return PeriodOpening(number, state, ArchiveLink(name, archive_digest))


def head_of_period(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Return (number of the period, last archived event) of the ledger at ``path``; (1, 0) when never archived.

    This is much faster than ``load_opening``. Raises ``LedgerDamaged`` or ``sqlite3.Error``.
    """
    rows: list[tuple[int, int]] = _rows(connection, path, schema.PERIOD_HEADS)
    return rows[0] if rows else (1, 0)


def _rows(connection: sqlite3.Connection, path: Path, query: str) -> list[Row]:
    tables = {str(name) for (name,) in connection.execute(schema.TABLE_NAMES).fetchall()}
    if "period" not in tables:
        return []
    rows: list[Row] = connection.execute(query).fetchall()
    if len(rows) != 1:
        raise damaged(path, f"it begins {len(rows)} periods, and a ledger begins one")
    return rows


def _digest(whole: "list[object] | tuple[object, ...]") -> bytes:
    digest = blake2b(digest_size=32)
    for value in whole:
        raw = value if isinstance(value, bytes) else str(value).encode()
        digest.update(f"{type(value).__name__} {len(raw)} ".encode())
        digest.update(raw)
    return digest.digest()

"""A snapshot is the state after some event, kept in the ledger's own file. It spares replaying from the beginning.

Snapshots are a cache. Losing it costs time and no information: nothing is verified from it, and ``ledger.replay``
uses one only if it was made by the same version, is whole, and gives back the very state it was made of. It is in
the ledger's file, so that one transaction binds it to the events before it and a copy of the file includes it.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger import schema

SNAPSHOTS_KEPT = 3
SNAPSHOT_DUE = 10_000
"""Number of events after which a snapshot is taken as soon as nothing else is to do."""
SNAPSHOT_OVERDUE = 50_000
"""Number of events after which a snapshot is taken in any case, so that no start has to replay many more
than this.
"""
SNAPSHOT_AT_STOP = 2_000
"""A stop after fewer events than this takes no snapshot: replaying them takes no longer."""

BalanceTable = Mapping[tuple[str, str], Decimal]
"""Running balance by (account, currency)."""

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder: msgspec.msgpack.Decoder[dict[tuple[str, str], Decimal]] = msgspec.msgpack.Decoder(
    dict[tuple[str, str], Decimal]
)


class Snapshot(msgspec.Struct, frozen=True):
    """Is the state after the event ``seq``."""

    seq: int
    made_ms: int
    version: str
    """Version of the code that made it; a snapshot of another version is not used."""
    hash: str
    """Hash of the state that ``body`` holds."""
    balances: BalanceTable
    """Balances of all accounts, as the postings up to here state them."""
    body: bytes


class Prepared(NamedTuple):
    """Is a snapshot as it is stored."""

    seq: int
    made_ms: int
    version: str
    hash: str
    balances: bytes
    body: bytes

    def digest(self) -> bytes:
        """Return the digest of the whole snapshot: one that was damaged is not even decoded."""
        head = f"{self.seq} {self.made_ms} {self.version} {self.hash} {len(self.balances)} "
        digest = blake2b(head.encode(), digest_size=16)
        digest.update(self.balances)
        digest.update(self.body)
        return digest.digest()


def prepare(snapshot: Snapshot) -> Prepared:
    """Return what ``save`` stores, now or later: the state may change meanwhile."""
    balances = _encoder.encode(snapshot.balances)
    return Prepared(snapshot.seq, snapshot.made_ms, snapshot.version, snapshot.hash, balances, snapshot.body)


def save(connection: sqlite3.Connection, prepared: Prepared) -> None:
    """Store ``prepared`` and remove the oldest ones, in one transaction of the writing ``connection``.

    Raises ``sqlite3.Error``; the caller rolls back.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(schema.CREATE_SNAPSHOTS)
    connection.execute(schema.INSERT_SNAPSHOT, (*prepared, prepared.digest()))
    connection.execute(schema.PRUNE_SNAPSHOTS, (SNAPSHOTS_KEPT,))
    connection.execute("COMMIT")


def load(connection: sqlite3.Connection, last_seq: int) -> Iterator[Snapshot | LedgerDamaged]:
    """Yield every snapshot up to the event ``last_seq``, newest first; in place of a damaged one, the error.

    Raises ``sqlite3.Error``.
    """
    tables = {str(name) for (name,) in connection.execute(schema.TABLE_NAMES).fetchall()}
    if "snapshots" not in tables:
        return
    for *stored, digest in connection.execute(schema.ALL_SNAPSHOTS, (last_seq,)):
        row = Prepared(*stored)
        try:
            if digest != row.digest():
                yield LedgerDamaged(f"the snapshot at event {row.seq} is not what was stored")
                continue
            balances = _decoder.decode(row.balances)
        except (TypeError, msgspec.MsgspecError) as error:
            yield LedgerDamaged(f"the snapshot at event {row.seq} cannot be read: {error}")
            continue
        yield Snapshot(row.seq, row.made_ms, row.version, row.hash, balances, row.body)

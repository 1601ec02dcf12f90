"""Keeps every alert, and an outbox of messages until each is delivered: ``alerts.sqlite`` beside the ledger.

Only risk writes the ledger, so alerts have a file of their own. What happens to an alert and the message about it are
one transaction. A message that was accepted by its target just before the process was killed may be sent again after
the next start; none is lost.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from arbshard.alerts.book import Change, OpenAlert
from arbshard.alerts.conditions import AlertSeverity, Condition
from arbshard.closable import Closable
from arbshard.errors import ArbshardError

FILE = "alerts.sqlite"
_VERSION = 1
_DAY_MS = 86_400_000
_OUTBOX_MAX = 10_000
"""Undelivered messages that are kept: the oldest beyond that are given up, and counted."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL,
    command TEXT NOT NULL, began_ms INTEGER NOT NULL, over_ms INTEGER, is_sent INTEGER NOT NULL,
    repeats INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS open_alerts ON alerts (kind, subject) WHERE over_ms IS NULL;
CREATE INDEX IF NOT EXISTS ended_alerts ON alerts (over_ms);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, severity TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    message_id INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, target TEXT NOT NULL, delivered_ms INTEGER,
    PRIMARY KEY (message_id, target)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS undelivered ON deliveries (target, message_id) WHERE delivered_ms IS NULL;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class AlertsFileError(ArbshardError):
    """The file of the alerts cannot be used."""


class AlertRecord(msgspec.Struct, frozen=True):
    """One alert, as it is kept."""

    kind: str
    subject: str
    severity: str
    text: str
    command: str
    began_ms: int
    over_ms: int | None
    """None while it holds, as far as is known."""
    is_sent: bool
    repeats: int


class Message(NamedTuple):
    """Holds what is to be sent."""

    title: str
    body: str
    severity: AlertSeverity
    at_ms: int
    id: int = 0


class AlertStore(Closable):
    """The one writer. Raises ``AlertsFileError`` when the file cannot be used; ``sqlite3.Error`` from each method."""

    def __init__(self, path: Path | None, targets: Sequence[str] = ()) -> None:
        """Open or make the file. ``path``: None for one in memory. ``targets``: the first one gets all messages."""
        self._targets = tuple(targets)
        self._db = _opened(path)
        self.given_up = 0
        """Undelivered messages that were removed."""
        if self._targets:
            self._readdress()

    def close(self) -> None:
        """Close the file. May be called again."""
        self._db.close()

    def open_alerts(self) -> Iterator[OpenAlert]:
        """Yield the alerts that are not over."""
        for record in _records(self._db, "over_ms IS NULL ORDER BY id"):
            condition = Condition(
                record.kind,
                record.subject,
                cast("AlertSeverity", record.severity),
                record.text,
                record.command,
                0,
            )
            yield OpenAlert(condition, record.began_ms, record.is_sent, record.repeats)

    def apply(
        self, changes: Iterable[tuple[Change, Message]], facts: Mapping[str, str], *, posts: bool = True
    ) -> None:
        """Keep changes of alerts, and ``facts`` by name: all of it or nothing.

        ``posts``: put the messages about them into the outbox.
        """
        with self._db:
            for change, message in changes:
                self._keep(change)
                if change.is_sent and posts:
                    self._post(message)
            self._note(facts)

    def take_over(self, other: "AlertStore", delivered: Collection[int] = ()) -> list[int]:
        """Send what is due in ``other``, and know its facts. Returns the numbers of its messages.

        ``delivered``: messages of ``other`` that are delivered, though it does not know that.
        """
        due = other.due(self._targets[0], _OUTBOX_MAX) if self._targets else []
        facts = other.facts()
        with self._db:
            for message in due:
                if message.id not in delivered:
                    self._post(message)
            self._note(facts)
        return [message.id for message in due]

    def fact(self, name: str) -> str:
        """Return what was kept under ``name``; empty for nothing."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        return dict(self._db.execute("SELECT name, value FROM facts").fetchall())

    def due(self, target: str, most: int) -> list[Message]:
        """Return the oldest messages that ``target`` has not got yet."""
        rows = self._db.execute(
            "SELECT title, body, severity, at_ms, id FROM messages JOIN deliveries ON message_id = id "
            "WHERE target = ? AND delivered_ms IS NULL ORDER BY id LIMIT ?",
            (target, most),
        )
        return [Message(*row) for row in rows]

    def mark_delivered(self, target: str, ids: Iterable[int], at_ms: int) -> None:
        """Note that ``target`` has accepted these messages."""
        with self._db:
            self._db.executemany(
                "UPDATE deliveries SET delivered_ms = ? WHERE message_id = ? AND target = ?",
                [(at_ms, one, target) for one in ids],
            )

    def hand_on(self, target: str) -> bool:
        """Let the target after ``target`` send all that is due there, too. Returns whether there was anything new."""
        later = self._targets[self._targets.index(target) + 1 :]
        if not later:
            return False
        new = (
            "FROM deliveries AS due WHERE target = ? AND delivered_ms IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM deliveries WHERE message_id = due.message_id AND target = ?)"
        )
        # This is asked several times a second while a target fails: it writes only where there is something new.
        if self._db.execute(f"SELECT 1 {new} LIMIT 1", (target, later[0])).fetchone() is None:
            return False
        with self._db:
            self._db.execute(
                f"INSERT INTO deliveries SELECT message_id, ?, NULL {new}",
                (later[0], target, later[0]),
            )
        return True

    def outbox(self) -> int:
        """Return how many messages no target has got yet."""
        (count,) = self._db.execute(
            "SELECT count(*) FROM messages WHERE id IN (SELECT message_id FROM deliveries GROUP BY message_id "
            "HAVING max(delivered_ms) IS NULL)"
        ).fetchone()
        return int(count)

    def kinds_since(self, since_ms: int) -> dict[str, int]:
        """Return how many alerts of each kind began since then, without events."""
        rows = self._db.execute(
            "SELECT kind, count(*) FROM alerts WHERE began_ms >= ? AND kind != 'event' GROUP BY kind ORDER BY 2 DESC",
            (since_ms,),
        )
        return dict(rows.fetchall())

    def prune(self, now_ms: int, keep_days: float, keep_rows: int) -> None:
        """Remove what is older or more than is to be kept. What holds, and what is not delivered, stays."""
        horizon_ms = now_ms - int(keep_days * _DAY_MS)
        with self._db:
            self._db.execute("DELETE FROM alerts WHERE over_ms < ?", (horizon_ms,))
            self._db.execute(
                "DELETE FROM alerts WHERE over_ms IS NOT NULL AND id <= "
                "(SELECT id FROM alerts ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            waiting = "SELECT message_id FROM deliveries WHERE delivered_ms IS NULL"
            self._db.execute(
                f"DELETE FROM messages WHERE id NOT IN ({waiting}) AND (at_ms < ? OR id <= "  # noqa: S608 - constant
                "(SELECT id FROM messages ORDER BY id DESC LIMIT 1 OFFSET ?))",
                (horizon_ms, keep_rows),
            )
            self.given_up += self._db.execute(
                f"DELETE FROM messages WHERE id IN ({waiting}) AND id <= "  # noqa: S608 - constant
                f"(SELECT id FROM messages WHERE id IN ({waiting}) ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (_OUTBOX_MAX,),
            ).rowcount

    def _keep(self, change: Change) -> None:
        match change.step:
            case "begins" | "event":
                over_ms = change.at_ms if change.step == "event" else None
                self._db.execute(
                    "INSERT OR IGNORE INTO alerts (kind, subject, severity, text, command, began_ms, over_ms, "
                    "is_sent, repeats) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                    (
                        *(change.kind, change.subject, change.severity, change.text, change.command),
                        *(change.at_ms, over_ms, change.is_sent),
                    ),
                )
            case "announced":
                self._set("is_sent = 1, text = ?", change, change.text)
            case "repeats":
                self._set("repeats = repeats + 1, text = ?", change, change.text)
            case "over":
                self._set("over_ms = began_ms + ?", change, max(0, int(change.lasted_s * 1000)))

    def _set(self, what: str, change: Change, value: object) -> None:
        self._db.execute(
            f"UPDATE alerts SET {what} WHERE kind = ? AND subject = ? AND over_ms IS NULL",  # noqa: S608 - constant
            (value, change.kind, change.subject),
        )

    def _post(self, message: Message) -> None:
        if not self._targets:
            return
        added = self._db.execute(
            "INSERT INTO messages (at_ms, severity, title, body) VALUES (?, ?, ?, ?)",
            (message.at_ms, message.severity, message.title, message.body),
        )
        self._db.execute("INSERT INTO deliveries VALUES (?, ?, NULL)", (added.lastrowid, self._targets[0]))

    def _note(self, facts: Mapping[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))

    def _readdress(self) -> None:
        """Let the first target send what is due at targets that are no longer configured."""
        marks = ", ".join("?" * len(self._targets))
        gone = f"delivered_ms IS NULL AND target NOT IN ({marks})"
        with self._db:
            self._db.execute(
                f"INSERT OR IGNORE INTO deliveries SELECT message_id, ?, NULL FROM deliveries WHERE {gone}",  # noqa: S608
                (self._targets[0], *self._targets),
            )
            self._db.execute(f"DELETE FROM deliveries WHERE {gone}", self._targets)  # noqa: S608 - marks only


class AlertsReader(Closable):
    """Reads the file beside its writer. Raises ``AlertsFileError`` where there is none that can be read."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            _require_version(self._db, path)
        except sqlite3.Error as error:
            raise AlertsFileError(f"{path} cannot be read: {error}") from error

    def records(self, last: int) -> list[AlertRecord]:
        """Return the newest alerts, those that hold first. Raises ``sqlite3.Error``."""
        holding = list(_records(self._db, "over_ms IS NULL ORDER BY began_ms DESC, id DESC"))
        return [
            *holding,
            *_records(self._db, "over_ms IS NOT NULL ORDER BY began_ms DESC, id DESC LIMIT ?", last),
        ]

    def close(self) -> None:
        """Close the file. May be called again."""
        self._db.close()


def _records(db: sqlite3.Connection, where: str, *values: int) -> Iterator[AlertRecord]:
    columns = ", ".join(AlertRecord.__struct_fields__)
    rows = db.execute(f"SELECT {columns} FROM alerts WHERE {where}", values)  # noqa: S608 - constants of this file
    for row in rows:
        yield msgspec.convert(
            dict(zip(AlertRecord.__struct_fields__, row, strict=True)), AlertRecord, strict=False
        )


def _opened(path: Path | None) -> sqlite3.Connection:
    where = ":memory:" if path is None else str(path)
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(where, timeout=2.0)
        if path is not None:
            path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
        if db.execute("PRAGMA user_version").fetchone()[0]:
            _require_version(db, path)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.commit()
    except (sqlite3.Error, OSError) as error:
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
        raise AlertsFileError(f"{where} cannot be used: {error}") from error
    return db


def _require_version(db: sqlite3.Connection, path: Path | None) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise AlertsFileError(
            f"{path} has version {version}, and this program reads version {_VERSION}: move it away, or use the "
            "program that has written it"
        )

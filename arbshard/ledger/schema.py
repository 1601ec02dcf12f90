"""Defines the ledger's tables. Amounts are TEXT in plain notation; no event or posting is ever changed or removed.

``snapshots`` is a cache beside the record, and not part of it: it spares replaying from the beginning. Its rows may
be removed at any time, so older programs need not know the table, and it is made when it is first needed.
"""

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE events (
        seq       INTEGER PRIMARY KEY,
        ts_ms     INTEGER NOT NULL,
        kind      TEXT NOT NULL,
        pair      TEXT NOT NULL,
        intent_id TEXT NOT NULL,
        body      TEXT NOT NULL
    )""",
    """CREATE TABLE postings (
        seq      INTEGER NOT NULL REFERENCES events (seq),
        line     INTEGER NOT NULL,
        account  TEXT NOT NULL,
        currency TEXT NOT NULL,
        amount   TEXT NOT NULL,
        balance  TEXT NOT NULL, -- of the account, after this line
        PRIMARY KEY (seq, line)
    ) WITHOUT ROWID""",
)
_PERIOD = """CREATE TABLE period (
    number         INTEGER PRIMARY KEY, -- of this period
    seq            INTEGER NOT NULL,    -- the last event of the period before
    made_ms        INTEGER NOT NULL,
    version        TEXT NOT NULL,       -- of the code that made the state
    hash           TEXT NOT NULL,       -- of the state
    balances       TEXT NOT NULL,       -- opening balance of every account, as JSON
    body           BLOB NOT NULL,       -- the state
    archive        TEXT NOT NULL,       -- name of the archive of the period before
    archive_digest TEXT NOT NULL,
    digest         BLOB NOT NULL        -- of all columns before
)"""


def _guards(*tables: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for table in tables
        for verb in ("UPDATE", "DELETE")
    )


STATEMENTS = (*_TABLES, *_guards("events", "postings"))
PERIOD_STATEMENTS = (_PERIOD, *_guards("period"))
"""The statements that a ledger needs beside ``STATEMENTS`` when its earlier periods are in archives."""

INSERT_META = "INSERT INTO meta (key, value) VALUES (?, ?)"
FORGET_TAG = "DELETE FROM meta WHERE key = 'tag'"
INSERT_EVENT = "INSERT INTO events (seq, ts_ms, kind, pair, intent_id, body) VALUES (?, ?, ?, ?, ?, ?)"
INSERT_POSTING = (
    "INSERT INTO postings (seq, line, account, currency, amount, balance) VALUES (?, ?, ?, ?, ?, ?)"
)

INSERT_PERIOD = (
    "INSERT INTO period (number, seq, made_ms, version, hash, balances, body, archive, archive_digest, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
PERIODS = (
    "SELECT number, seq, made_ms, version, hash, balances, body, archive, archive_digest, digest FROM period"
)
PERIOD_HEADS = "SELECT number, seq FROM period"

CREATE_SNAPSHOTS = """CREATE TABLE IF NOT EXISTS snapshots (
    seq      INTEGER PRIMARY KEY, -- the last event that it holds
    made_ms  INTEGER NOT NULL,
    version  TEXT NOT NULL,       -- of the code that made it
    hash     TEXT NOT NULL,       -- of the state that body holds
    balances BLOB NOT NULL,       -- of every account, after this event
    body     BLOB NOT NULL,
    digest   BLOB NOT NULL        -- of all columns before
)"""
INSERT_SNAPSHOT = (
    "INSERT OR REPLACE INTO snapshots (seq, made_ms, version, hash, balances, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
PRUNE_SNAPSHOTS = (
    "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?)"
)
ALL_SNAPSHOTS = (
    "SELECT seq, made_ms, version, hash, balances, body, digest FROM snapshots "
    "WHERE seq <= ? ORDER BY seq DESC"
)

TABLE_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table'"
ALL_META = "SELECT key, value FROM meta"
# One aggregate to a query: then SQLite reads one end of the table and not all of it.
LAST_SEQ = "SELECT MAX(seq) FROM events"
COUNT = "SELECT COUNT(*), MIN(seq), MAX(seq) FROM events"
BODY_AT = "SELECT body FROM events WHERE seq = ?"
KIND_AT = "SELECT kind FROM events WHERE seq = ?"
EVENTS_AFTER = "SELECT seq, ts_ms, kind, pair, intent_id, body FROM events WHERE seq > ? ORDER BY seq"
BODIES_AFTER = "SELECT body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
EVENTS_OF_KIND = "SELECT seq, body FROM events WHERE kind = ? ORDER BY seq"
POSTINGS_AFTER = (
    "SELECT seq, line, account, currency, amount, balance FROM postings WHERE seq > ? ORDER BY seq, line"
)
# A reader asks for these a piece at a time up to a last event. Between two pieces it holds nothing, so however long
# it takes, the write-ahead log can be emptied. ?4 is a list of kinds with a comma before and after each; an empty
# list means all.
EVENTS_PIECE = (
    "SELECT seq, ts_ms, kind, pair, intent_id, body FROM events WHERE seq > ?1 AND seq <= ?2 "
    "AND ts_ms >= ?3 AND (?4 = '' OR instr(?4, ',' || kind || ',')) ORDER BY seq LIMIT ?5"
)
POSTINGS_PIECE = (
    "SELECT seq, line, account, currency, amount, balance FROM postings "
    "WHERE (seq, line) > (?1, ?2) AND seq <= ?3 ORDER BY seq, line LIMIT ?4"
)
# CROSS JOIN prevents SQLite from reading the events first, which would need a sort.
DATED_POSTINGS_PIECE = (
    "SELECT postings.seq, line, account, currency, amount, balance, ts_ms FROM postings "
    "CROSS JOIN events ON events.seq = postings.seq WHERE (postings.seq, line) > (?1, ?2) "
    "AND postings.seq <= ?3 AND ts_ms >= ?4 ORDER BY postings.seq, line LIMIT ?5"
)
STRAY_POSTINGS = (
    "SELECT seq, line FROM postings WHERE seq > ? "
    "AND NOT EXISTS (SELECT 1 FROM events WHERE events.seq = postings.seq) ORDER BY seq, line"
)
COUNT_BY_KIND = "SELECT kind, COUNT(*) FROM events WHERE seq <= ? GROUP BY kind ORDER BY kind"
COUNT_POSTINGS = "SELECT COUNT(*) FROM postings WHERE seq <= ?"
EXTENT_MS = "SELECT MIN(ts_ms), MAX(ts_ms) FROM events WHERE seq <= ?"

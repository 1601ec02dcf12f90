"""The ledger's tables. Amounts are TEXT in plain notation; nothing is ever changed or removed."""

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
_GUARDS = tuple(
    f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    for table in ("events", "postings")
    for verb in ("UPDATE", "DELETE")
)
STATEMENTS = (*_TABLES, *_GUARDS)

INSERT_META = "INSERT INTO meta (key, value) VALUES (?, ?)"
INSERT_EVENT = "INSERT INTO events (seq, ts_ms, kind, pair, intent_id, body) VALUES (?, ?, ?, ?, ?, ?)"
INSERT_POSTING = (
    "INSERT INTO postings (seq, line, account, currency, amount, balance) VALUES (?, ?, ?, ?, ?, ?)"
)

EXTENT = "SELECT COALESCE(MIN(seq), 1), COALESCE(MAX(seq), 0), COUNT(*) FROM events"
# SQLite takes the other columns from the row that holds the maximum.
LAST_BALANCES = (
    "SELECT account, currency, balance, MAX(seq * 1000000 + line) FROM postings GROUP BY account, currency"
)
ALL_EVENTS = "SELECT seq, ts_ms, kind, pair, intent_id, body FROM events ORDER BY seq"
ALL_POSTINGS = "SELECT seq, line, account, currency, amount, balance FROM postings ORDER BY seq, line"

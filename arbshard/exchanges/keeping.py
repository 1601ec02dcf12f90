"""Keeps the simulated accounts in a file, so that exchanges that are killed and started again continue with them.

It is a SQLite file. Every change is written before anything about it is sent: ``matching`` calls ``on_change`` at
the end of each change, and answers and events are sent after that. There is no ``fsync``, because the file has to
survive the process and not the machine. ``exchanges`` opens it when ``--accounts-file`` names one.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec

from arbshard.errors import ConfigError, RunFailed
from arbshard.exchanges.accounts.account import Restored, TradingAccount
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.accounts.wallet import WalletBalance
from arbshard.model.money import plain

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS orders (venue TEXT, number INTEGER, body BLOB, PRIMARY KEY (venue, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS client_ids (venue TEXT, name TEXT, UNIQUE (venue, name));
CREATE TABLE IF NOT EXISTS balances (venue TEXT, currency TEXT, free TEXT, locked TEXT, UNIQUE (venue, currency));
CREATE TABLE IF NOT EXISTS openings (venue TEXT, currency TEXT, amount TEXT, UNIQUE (venue, currency));
CREATE TABLE IF NOT EXISTS counters
    (venue TEXT PRIMARY KEY, next_order INTEGER, next_trade INTEGER, orders_dropped INTEGER);
"""
_order = msgspec.json.Decoder(SimOrder).decode


class AccountsFile:
    """Saves and restores the accounts of both venues, one account each. Call ``close`` at the end."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises ``ConfigError`` when it cannot be used."""
        self._path = path
        try:
            path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
            self._db = sqlite3.connect(path, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise ConfigError("--accounts-file", f"{path} has the unknown version {version}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_TABLES)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise ConfigError("--accounts-file", f"{path} cannot be used: {error}") from error
        self.failure: RunFailed | None = None
        """Why the last change could not be saved. The exchanges must not continue then."""

    def keep(self, venue: str, account: TradingAccount, matcher: Matcher) -> None:
        """Restore ``account`` if the file has it, and save every change of it from now on.

        Raises ``ConfigError`` when the file cannot be read or written.
        """
        try:
            self._restore_or_begin(venue, account, matcher)
        except sqlite3.Error as error:
            raise ConfigError("--accounts-file", f"{self._path} cannot be used: {error}") from error
        account.follow_changes()
        matcher.on_change = self._saver(venue, matcher)

    def _restore_or_begin(self, venue: str, account: TradingAccount, matcher: Matcher) -> None:
        with_counters = self._db.execute(
            "SELECT next_order, next_trade, orders_dropped FROM counters WHERE venue = ?", (venue,)
        ).fetchone()
        if with_counters is None:
            self._begin(venue, account, matcher)
        else:
            next_order, next_trade, dropped = with_counters
            account.restore(self._restored(venue, dropped))
            matcher.resume(account, next_order, next_trade)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _saver(self, venue: str, matcher: Matcher) -> Callable[[TradingAccount], None]:
        def save(account: TradingAccount) -> None:
            try:
                self._save(venue, account, matcher)
            except sqlite3.Error as error:
                self.failure = RunFailed(f"{self._path}: an account cannot be kept: {error}")
                raise self.failure from error

        return save

    def _begin(self, venue: str, account: TradingAccount, matcher: Matcher) -> None:
        rows = [(venue, one.currency, plain(one.free)) for one in account.opening]
        with self._transaction():
            self._db.executemany("INSERT INTO openings VALUES (?, ?, ?)", rows)
            self._put_balances(venue, account.wallet.balances())
            self._put_counters(venue, account, matcher)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _save(self, venue: str, account: TradingAccount, matcher: Matcher) -> None:
        changes = account.take_changes()
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)",
                [(venue, order.number, msgspec.json.encode(order)) for order in changes.orders],
            )
            self._db.executemany(
                "DELETE FROM orders WHERE venue = ? AND number = ?",
                [(venue, number) for number in changes.dropped],
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO client_ids VALUES (?, ?)",
                [(venue, name) for name in changes.client_ids],
            )
            self._db.executemany(
                "DELETE FROM client_ids WHERE venue = ? AND name = ?",
                [(venue, name) for name in changes.forgotten_ids],
            )
            self._put_balances(venue, changes.balances)
            self._put_counters(venue, account, matcher)

    def _put_balances(self, venue: str, balances: Iterable[WalletBalance]) -> None:
        self._db.executemany(
            "INSERT INTO balances VALUES (?, ?, ?, ?) ON CONFLICT (venue, currency)"
            " DO UPDATE SET free = excluded.free, locked = excluded.locked",
            [(venue, one.currency, plain(one.free), plain(one.locked)) for one in balances],
        )

    def _put_counters(self, venue: str, account: TradingAccount, matcher: Matcher) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)",
            (venue, *matcher.next_numbers, account.orders_dropped),
        )

    def _restored(self, venue: str, dropped: int) -> Restored:
        def rows(query: str) -> list[tuple[str, ...]]:
            return self._db.execute(query, (venue,)).fetchall()

        return Restored(
            opening=tuple(
                WalletBalance(currency, Decimal(amount), Decimal(0))
                for currency, amount in rows(
                    "SELECT currency, amount FROM openings WHERE venue = ? ORDER BY rowid"
                )
            ),
            balances=tuple(
                WalletBalance(currency, Decimal(free), Decimal(locked))
                for currency, free, locked in rows(
                    "SELECT currency, free, locked FROM balances WHERE venue = ? ORDER BY rowid"
                )
            ),
            orders=tuple(
                _order(body) for (body,) in rows("SELECT body FROM orders WHERE venue = ? ORDER BY number")
            ),
            client_ids=tuple(
                name for (name,) in rows("SELECT name FROM client_ids WHERE venue = ? ORDER BY rowid")
            ),
            orders_dropped=dropped,
        )

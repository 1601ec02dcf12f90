"""Computes double entry: what an event moves between accounts, and the running balance of every account.

``postings_of`` is pure. ``RunningBalances`` is owned by ``store``, which writes the lines beside the event.

Every amount is written twice, once where it arrives and once where it comes from, so the lines of an event add up to
zero in each currency:

    ====================  =================================================================
    ``venue:<name>``      what we own there
    ``trade:<name>:…``    the other side of all fills of one market
    ``fees:<name>``       what the venue has kept
    ``deposits:<name>``   the other side of what was put in
    ``rounding:<name>``   what the venue's rounding of fills has brought or cost
    ``transfers``         what has left one venue and not arrived at another one
    ``lost``              what of that never arrived
    ``unexplained:…``     the other side of differences that no person could explain
    ====================  =================================================================
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from arbshard.ledger import schema
from arbshard.ledger.events import MOVING, Amounts, Deposited, Event, OrderReported
from arbshard.ledger.file import damaged
from arbshard.model.money import ZERO, plain
from arbshard.model.order import Fill

Account = tuple[str, str]
"""A key is (account, currency)."""
Line = tuple[int, int, str, str, str, str]
"""(seq, line, account, currency, amount, balance), as stored."""


TRANSFERS = "transfers"
"""The account of amounts that are under way between venues."""


class Posting(NamedTuple):
    """Is one line: ``amount`` of ``currency`` comes to ``account`` (a negative amount leaves it)."""

    account: str
    currency: str
    amount: Decimal


def venue_account(venue: str) -> str:
    """Return the account of what we own on ``venue``."""
    return f"venue:{venue}"


def postings_of(event: Event) -> list[Posting]:
    """Return the lines of ``event``; empty for an event that moves nothing."""
    if not isinstance(event, MOVING):
        return []
    if isinstance(event, OrderReported):
        return [line for fill in event.fills for line in _of_fill(fill)]
    if isinstance(event, Deposited):
        return list(_moved(event.venue, _other_side(event), event.currency, event.amount))
    ends = ((f"fees:{TRANSFERS}", event.fee), ("lost", event.lost))
    return [
        line
        for account, amount in ends
        if amount
        for line in (
            Posting(account, event.currency, amount),
            Posting(TRANSFERS, event.currency, -amount),
        )
    ]


def _other_side(event: Deposited) -> str:
    """Return the account that a deposit comes from."""
    match event.why:
        case "transfer":
            return TRANSFERS
        case "rounding":
            return f"rounding:{event.venue}"
        case "fee":
            return f"fees:{event.venue}"
        case "unexplained":
            return f"unexplained:{event.venue}"
        case _:
            return f"deposits:{event.venue}"


def _of_fill(fill: Fill) -> Iterable[Posting]:
    market = fill.market
    sign = 1 if fill.side == "buy" else -1
    trade = f"trade:{market.venue}:{market.symbol}"
    yield from _moved(market.venue, trade, market.base, sign * fill.quantity)
    yield from _moved(market.venue, trade, market.quote, -sign * fill.quantity * fill.price)
    if fill.fee:
        yield from _moved(market.venue, f"fees:{market.venue}", fill.fee_currency, -fill.fee)


def _moved(venue: str, other: str, currency: str, amount: Decimal) -> tuple[Posting, Posting]:
    return Posting(venue_account(venue), currency, amount), Posting(other, currency, -amount)


class RunningBalances:
    """Holds the balance of every account that ever had a posting."""

    def __init__(self, table: Mapping[Account, Decimal] | None = None) -> None:
        self.table: dict[Account, Decimal] = dict(table or {})

    def read(self, connection: sqlite3.Connection, path: Path, after: int) -> None:
        """Add the stored postings of all events after the event ``after``.

        Raises ``LedgerDamaged`` when a posting's balance is not the sum of the amounts, and ``sqlite3.Error``.
        """
        table = self.table
        for seq, line, account, currency, amount, balance in connection.execute(
            schema.POSTINGS_AFTER, (after,)
        ):
            key = account, currency
            try:
                table[key] = total = table.get(key, ZERO) + Decimal(amount)
                stated = Decimal(balance)
                is_wrong = stated != total
            except (ArithmeticError, TypeError, ValueError) as error:
                raise damaged(
                    path, f"posting {seq}.{line} is not an amount: {amount!r}, {balance!r}"
                ) from error
            if is_wrong:
                raise damaged(
                    path,
                    f"posting {seq}.{line}: {account} {currency} is stated as {plain(stated)}, "
                    f"the amounts add up to {plain(total)}",
                )

    def check(self, path: Path, owned: Amounts) -> None:
        """Raise ``LedgerDamaged`` unless both sides of all accounts are equal, and the venues' accounts hold
        ``owned``.
        """
        sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for (_, currency), balance in self.table.items():
            sums[currency] += balance
        for currency, total in sums.items():
            if total:
                raise damaged(path, f"the two sides of all {currency} postings differ by {plain(total)}")
        due = {(venue_account(venue), currency): amount for venue, currency, amount in owned}
        booked = {key: balance for key, balance in self.table.items() if key[0].startswith(venue_account(""))}
        for account, currency in sorted(due.keys() | booked.keys()):
            said, found = booked.get((account, currency), ZERO), due.get((account, currency), ZERO)
            if said != found:
                raise damaged(
                    path,
                    f"{account} {currency} is booked as {plain(said)}, its deposits and fills come to {plain(found)}",
                )

    def follow(self, events: Sequence[Event], moved: dict[Account, Decimal]) -> None:
        """Put into ``moved`` the balances after ``events``. It makes no lines, for ledgers that store none."""
        for event in events:
            for account, currency, amount in postings_of(event):
                key = account, currency
                before = moved[key] if key in moved else self.table.get(key, ZERO)
                moved[key] = before + amount

    def lines(self, seq: int, events: Sequence[Event], moved: dict[Account, Decimal]) -> Iterator[Line]:
        """Yield the postings of ``events``, numbered from ``seq`` on, and put the balances after them into
        ``moved``.
        """
        for number, event in enumerate(events, seq):
            for line, (account, currency, amount) in enumerate(postings_of(event)):
                key = account, currency
                before = moved[key] if key in moved else self.table.get(key, ZERO)
                moved[key] = after = before + amount
                yield number, line, account, currency, plain(amount), plain(after)


class UnstoredLedger:
    """Keeps the running balances and stores no event: the ledger of a session that is given no file."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._running = RunningBalances()

    @property
    def balances(self) -> Mapping[Account, Decimal]:
        """Return the running balance by (account, currency)."""
        return self._running.table

    def append(self, events: Sequence[Event]) -> None:
        """Move the balances by the postings of ``events``."""
        moved: dict[Account, Decimal] = {}
        self._running.follow(events, moved)
        self._running.table.update(moved)
        self.last_seq += len(events)

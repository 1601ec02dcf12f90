"""Whether the books balance: the portfolio's balances against the ledger's double entry, account by account. Pure.

Two sums that are kept apart: the portfolio adds up fills, the ledger the postings made of them. Called by
``service`` after each batch for the accounts it touched, and once in a while for all. A break halts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from arbshard.ledger.events import Deposited, Event, OrderReported
from arbshard.ledger.postings import venue_account
from arbshard.model.money import ZERO, plain
from arbshard.risk.portfolio.balances import Account, Balances

Booked = Mapping[tuple[str, str], Decimal]
"""(ledger account, currency) → balance: ``LedgerStore.balances``."""
_VENUE = venue_account("")


def touched(events: Iterable[Event]) -> set[Account]:
    """Accounts whose balance ``events`` change."""
    accounts: set[Account] = set()
    for event in events:
        if isinstance(event, Deposited):
            accounts.add((event.venue, event.currency))
        elif isinstance(event, OrderReported):
            for fill in event.fills:
                accounts.update((fill.market.venue, currency) for currency, _ in fill.changes())
    return accounts


def find_break(accounts: Iterable[Account], balances: Balances, booked: Booked) -> str | None:
    """The first of ``accounts`` that stands differently in portfolio and ledger, as a sentence."""
    for venue, currency in accounts:
        owned = balances.get(venue, currency).total
        entered = booked.get((venue_account(venue), currency), ZERO)
        if owned != entered:
            return f"{venue} {currency}: {plain(owned)} by the fills, {plain(entered)} by the ledger's double entry"
    return None


def find_any_break(balances: Balances, booked: Booked) -> str | None:
    """Likewise for every account there is, and whether the double entry of each currency adds up to nothing."""
    accounts = {account for account, _ in balances.items()}
    accounts.update(
        (account.removeprefix(_VENUE), currency) for account, currency in booked if account.startswith(_VENUE)
    )
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for (_, currency), amount in booked.items():
        sums[currency] += amount
    for currency, total in sums.items():
        if total:
            return f"{currency}: the ledger's double entry is {plain(total)} off"
    return find_break(sorted(accounts), balances, booked)

"""Derives what the venues state of our accounts from risk's note, for ``collect``. Pure."""

from collections.abc import Iterator

from arbshard.model.risk_note import RiskNote, StrayNote
from arbshard.status.model import AccountStatus, Problem

_LATE_TIMES = 5.0
_LATE_S = 10.0
"""Time in seconds, in addition to that of several turns, after which a venue without a statement is late."""


def accounts_of(note: RiskNote, now_ns: int) -> tuple[AccountStatus, ...]:
    """Return the status of our account at each venue; none on paper.

    ``now_ns`` is monotonic, so a step of the wall clock changes no age.
    """
    late_s = _LATE_TIMES * note.states_every_s + _LATE_S
    accounts = []
    for venue, word in note.accounts.items():
        age_s = _age_s(word.read_ns, now_ns)
        accounts.append(
            AccountStatus(
                venue=venue,
                statement_age_s=age_s,
                compared_age_s=_age_s(word.compared_ns, now_ns),
                settled=word.settled,
                is_late=age_s is None or age_s > late_s,
            )
        )
    return tuple(accounts)


def problems_of(note: RiskNote, accounts: tuple[AccountStatus, ...]) -> Iterator[Problem]:
    """Yield a problem for everything on which venues and ledger do not agree."""
    for account in accounts:
        trouble = note.accounts[account.venue].trouble
        if account.statement_age_s is None:
            line = f"{account.venue} has not stated what we own there: no entries until it has"
        elif trouble:
            line = (
                f"{trouble}: pairs of {account.venue} enter nothing, their exits go on; see what accounts.jsonl says "
                "of it, and whether the key still works with 'arbshard doctor'"
            )
        elif account.is_late:
            line = f"{account.venue} last stated what we own there {account.statement_age_s:,.0f} s ago"
        else:
            continue
        yield Problem("statement", account.venue, line)
    for one in note.differences:
        yield Problem(
            "difference",
            f"{one.venue} {one.currency}",
            f"{one.venue} {one.currency}: the venue says {one.stated}, the ledger {one.booked}; "
            f"{_pairs(one.pairs)} blocked; 'arbshard reconcile' shows it",
        )
    for stray in note.strays:
        line = f"{_order(stray)} is open and no intent owns it; {stray.pair or 'no pair'} blocked"
        yield Problem("stray", f"{stray.venue} {stray.client_id}", line)


def unknown_orders(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for each order of which no answer has reported how it ended."""
    for unknown in note.unknown:
        line = (
            f"{_order(unknown)}: its state at the venue is not known; {unknown.pair} enters nothing meanwhile"
        )
        yield Problem("unknown_order", f"{unknown.venue} {unknown.client_id}", line)


def _order(order: StrayNote) -> str:
    return f"order {order.client_id} on {order.venue} {order.symbol}"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _age_s(at_ns: int, now_ns: int) -> float | None:
    return round((now_ns - at_ns) / 1e9, 1) if at_ns else None

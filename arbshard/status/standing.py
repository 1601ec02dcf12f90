"""Says what risk or a person has stopped, and what exposure orders are about to end.

Each is a problem with its consequences for the money, and with the command by which a person goes on.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from arbshard.model.intent import ApartCause
from arbshard.model.risk_note import RiskNote
from arbshard.status.model import Problem

ADVICE_BY_CAUSE: dict[ApartCause, str] = {
    "stuck": (
        "one of its legs is open and it enters nothing: 'arbshard close {pair}' closes it at the prices of now, "
        "'arbshard resume {pair}' lets it enter again afterwards"
    ),
    "exits_fail": (
        "its position stays open and it enters nothing: 'arbshard close {pair}' closes it, "
        "'arbshard resume {pair}' gives it back to its exit rules"
    ),
    "bad_report": (
        "some of what it traded may not be booked and it enters nothing: compare the ledger with the venue, "
        "then 'arbshard resume {pair}'"
    ),
    "identity": (
        "its position stays open and it enters nothing: look at the venues' notices; 'arbshard close {pair}' closes "
        "it, and if both markets still trade the same coin, 'arbshard symbols confirm {pair} --reason ...' and "
        "'arbshard resume {pair}'"
    ),
    "position_loss": (
        "its position stays open and it enters nothing: 'arbshard close {pair}' closes it, "
        "'arbshard resume {pair}' gives it back to its exit rules"
    ),
    "no_reversion": (
        "it enters nothing, for another entry would most likely lose two fees and two spreads; exits go on: see "
        "'arbshard trades --symbol {pair}' and whether the coin can be moved, then 'arbshard resume {pair}'"
    ),
}
"""Explains what the state of a pair that is set apart means for the money, and what a person can do."""


def halted_of(note: RiskNote) -> str:
    """Return the halt, what goes on under it and how it ends; empty where there is none."""
    halt = note.halt
    if halt is None:
        return ""
    goes_on = (
        "no entries and no exits, except by 'arbshard close'" if halt.level == "stopped" else "exits go on"
    )
    why = halt.reason or "no reason given"
    return f"halted ({halt.cause}): {why}; {goes_on}; 'arbshard resume' ends it"


def problems_of_standing(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for everything that risk or a person has stopped."""
    if halted := halted_of(note):
        yield Problem("halt", "", halted)
    if note.fx.doubt:
        yield Problem(
            "fx",
            "",
            f"the FX rate is in doubt since {iso_of(note.fx.since_ms)}: {note.fx.doubt}; no pair is entered until "
            "that has been quiet for a while, and exits go on: compare the venue's FX market with another source; if "
            "the rate is right and stays there, it becomes the usual one by itself",
        )
    if note.broken:
        yield Problem("ledger", "", f"accounting break: {note.broken}")
    for pair, one in note.apart.items():
        what = ADVICE_BY_CAUSE[one.cause].format(pair=pair)
        line = f"{pair} is set apart since {iso_of(one.since_ms)} ({one.cause}): {one.reason}; {what}"
        yield Problem("apart", pair, line)
    for pair, failing in note.failing.items():
        how = "both legs go" if failing.lead == "both" else f"its {failing.lead} leg goes first, alone"
        yield Problem(
            "failing",
            pair,
            f"{pair} could not be left, {failing.tries} times in a row ({failing.why}), which cost {failing.cost}: "
            f"it is tried again with pauses that double, {how}; 'arbshard close {pair}' tries at once",
        )


def exposed_by_orders(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for exposure that orders are about to end."""
    if float(note.equity.naked):
        pairs = ", ".join(sorted({one.pair for one in note.equity.naked_by}))
        line = f"{float(note.equity.naked):,.0f} are bought or sold on one venue alone ({pairs})"
        yield Problem("naked", "", line)
    for pair, reason in note.closing.items():
        why = note.unclosable.get(pair)
        line = f"{pair}: not closed, {why} ({reason})" if why else f"{pair} is being closed ({reason})"
        yield Problem("closing", pair, line)


def iso_of(at_ms: int) -> str:
    """Return a wall time in UTC as people and programs read it; empty for 0."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds") if at_ms else ""

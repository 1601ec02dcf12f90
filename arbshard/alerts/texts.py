"""Writes the texts that people get: messages about alerts, digests, and what Telegram's commands answer. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo

from arbshard.alerts.book import Change
from arbshard.alerts.conditions import AlertSeverity
from arbshard.alerts.store import AlertRecord, Message
from arbshard.model.notes import RECORDING
from arbshard.model.risk_note import DayNote, PositionNote, Tally
from arbshard.status.model import Status

_HEADS = {"begins": "", "announced": "", "repeats": "still: ", "over": "over: ", "event": ""}
_URGENCY: Sequence[AlertSeverity] = ("critical", "warning", "info")
_ENDS_WITH_THE_RUN = frozenset({"feed", "late", "shard", "risk", "silent", "halt"})
"""Problems that a digest does not name: a run that ends has them, and the halt has a line of its own."""
_PROBLEMS_SHOWN = 8
_POSITIONS_SHOWN = 15
_NAMES = {
    "halt": "HALT",
    "stuck_pair": "stuck pair",
    "unknown_order": "unknown order",
    "ledger": "the ledger does not balance",
    "refusing": "orders refused",
    "feed": "feed",
    "disk": "disk",
    "vanished": "THE RUN IS CUT OFF",
    "digest_day": "day",
    "digest_session": "run ended",
}


def name_of(kind: str) -> str:
    """Return how a kind of alert is called in a title."""
    return _NAMES.get(kind, kind.replace("_", " "))


def span(seconds: float) -> str:
    """Return a duration as people write it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def moment(at_ms: int, zone: tzinfo) -> str:
    """Return a wall time with the name of its zone."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def message_of(change: Change, name: str, zone: tzinfo, host: str = "") -> Message:
    """Return the message about a step of an alert. ``name``: of the instance. ``host``: of a cluster; the one that
    sends.
    """
    subject = f" {change.subject}" if change.subject and change.kind not in ("event", "restarts") else ""
    who = f"{name} on host {host}" if host else name
    title = f"arbshard {who}: {_HEADS[change.step]}{name_of(change.kind)}{subject}"
    lines = [change.text]
    if change.step == "over":
        lines = [f"It is over after {span(change.lasted_s)}. It was: {change.text}"]
    elif change.step == "repeats":
        lines.append(f"It has lasted for {span(change.lasted_s)}.")
    elif change.step == "announced":
        lines.append(f"It has lasted for {span(change.lasted_s)}, and had been over shortly before.")
    lines.append(moment(change.at_ms, zone))
    if change.command and change.step != "over":
        lines.append(f"$ arbshard {change.command} --name {name}")
    severity: AlertSeverity = "info" if change.step == "over" else change.severity
    return Message(title, "\n".join(lines), severity, change.at_ms)


def late_line(seconds: float) -> str:
    """Return the line of a message that could not be delivered in time."""
    return f"(This message is {span(seconds)} late: it could not be delivered before.)"


def combined(messages: Sequence[Message], chars_max: int) -> tuple[int, Message]:
    """Return how many of ``messages`` fit into one, at least the first, and that one message."""
    if len(messages) == 1:
        return 1, messages[0]
    parts: list[str] = []
    length = 0
    for message in messages:
        part = f"- {message.title}\n{message.body}"
        length += len(part) + 2
        if parts and length > chars_max:
            break
        parts.append(part)
    used = messages[: len(parts)]
    head = messages[0].title.partition(":")[0]
    severity = min((one.severity for one in used), key=_URGENCY.index)
    title = f"{head}: {len(parts)} messages"
    return len(parts), messages[0]._replace(title=title, body="\n\n".join(parts), severity=severity)


def digest_of_day(day: DayNote, kinds: Mapping[str, int]) -> str:
    """Return the result of a trading day. ``kinds``: alerts that began meanwhile, by kind."""
    return (
        f"Trading day {day.label}: {_signed(day.pnl)} by {day.exits} exits ({day.wins} won, {day.losses} lost), "
        f"{_amount(day.fees)} of fees paid, deepest drawdown {_amount(day.drawdown)}. {_alerts_line(kinds)}"
    )


def digest_of_session(status: Status, kinds: Mapping[str, int]) -> str:
    """Return the result of a run that ends."""
    run = status.portfolio
    lines = [
        f"The run ends after {span(status.uptime_s)}, on {_where(status)}: {_tally(run)} {run.currency}.",
        _open_line(status.positions),
        status.halted or "It is not halted.",
        _alerts_line(kinds),
        *[f"Problem: {one.text}" for one in status.causes if one.kind not in _ENDS_WITH_THE_RUN][
            :_PROBLEMS_SHOWN
        ],
    ]
    return "\n".join(lines)


def status_lines(status: Status | None) -> str:
    """Return the state of the run in a few lines."""
    if status is None:
        return "The run shows nothing."
    lines = [f"{status.name}: {status.state}, {_where(status)}, up {span(status.uptime_s)}"]
    if status.cluster is not None:
        leader = f"host {status.cluster.leader} leads" if status.cluster.leader else "no leader is known"
        lines.append(f"host {status.cluster.host} of cluster {status.cluster.name}: {leader}")
    lines += [f"! {line}" for line in status.problems[:_PROBLEMS_SHOWN]]
    if len(status.problems) > _PROBLEMS_SHOWN:
        lines.append(f"and {len(status.problems) - _PROBLEMS_SHOWN} more problems")
    entries = status.risk.entries
    lines.append(f"{entries.free} of {entries.pairs} pairs may be entered")
    lines += [f"{venue.name}: {venue.state}, {venue.msg_s:,.0f} messages a second" for venue in status.venues]
    lines.append(_open_line(status.positions))
    return "\n".join(lines)


def pnl_lines(status: Status | None) -> str:
    """Return the money of the run in a few lines."""
    if status is None:
        return "The run shows nothing."
    equity, currency = status.equity, status.portfolio.currency
    return "\n".join(
        (
            f"This run: {_tally(status.portfolio)} {currency}",
            f"Since the ledger began: {_tally(status.lifetime)} {currency}",
            f"Unrealised: {_signed(equity.unrealised)}",
            f"Equity {_signed(equity.equity)}, drawdown {_amount(equity.drawdown)}",
            f"Trading day {_signed(-float(equity.day_loss))}, week {_signed(-float(equity.week_loss))}",
            f"Account value {_amount(equity.account_value)} {currency}",
            *([f"As of {status.as_of}: risk says nothing newer"] if status.as_of else []),
        )
    )


def position_lines(status: Status | None, now_ms: int) -> str:
    """Return the open positions, a line each."""
    if status is None:
        return "The run shows nothing."
    shown = sorted(status.positions, key=lambda one: one.opened_ms)
    lines = [
        f"{one.pair} {one.direction}, {_amount(one.notional)}, {span((now_ms - one.opened_ms) / 1000)}"
        + (f", {_signed(one.unrealised)}" if one.unrealised is not None else "")
        for one in shown[:_POSITIONS_SHOWN]
    ]
    if len(shown) > _POSITIONS_SHOWN:
        lines.append(f"and {len(shown) - _POSITIONS_SHOWN} more")
    return "\n".join(lines) if lines else "There are no open positions."


def alert_lines(
    records: Sequence[AlertRecord], name: str, zone: tzinfo, now_ms: int, *, every: bool
) -> Iterator[str]:
    """Yield what holds, and what was: grouped by its cause, or each alert with ``every``."""
    holding = [one for one in records if one.over_ms is None]
    if holding:
        yield f"{len(holding)} {'alert holds' if len(holding) == 1 else 'alerts hold'}:"
    for one in holding:
        yield f"  {one.severity.upper()} {_head(one)}, for {span((now_ms - one.began_ms) / 1000)}: {_line(one)}"
        yield f"      arbshard {one.command} --name {name}"
    past = [one for one in records if one.over_ms is not None]
    if not holding:
        yield "no alert holds" if records else "no alerts are kept"
    if past:
        yield ""
        yield "alerts that are over:"
        yield from _each(past, zone) if every else _by_cause(past, zone)


def _each(past: Sequence[AlertRecord], zone: tzinfo) -> Iterator[str]:
    for one in past:
        yield f"  {moment(one.began_ms, zone)}  {_head(one)}{_lasted(one)}: {_line(one)}"


def _by_cause(past: Sequence[AlertRecord], zone: tzinfo) -> Iterator[str]:
    groups: dict[tuple[str, str], list[AlertRecord]] = {}
    for one in past:
        groups.setdefault((one.kind, one.subject), []).append(one)
    for newest, *others in groups.values():
        times = f"{len(others) + 1} times, last at " if others else ""
        yield f"  {_head(newest)}  {times}{moment(newest.began_ms, zone)}{_lasted(newest)}: {_line(newest)}"


def _line(one: AlertRecord) -> str:
    return one.text.replace("\n", " ")


def _head(one: AlertRecord) -> str:
    named = one.subject and one.kind not in ("event", "restarts")
    return f"{name_of(one.kind)} {one.subject}" if named else name_of(one.kind)


def _lasted(one: AlertRecord) -> str:
    seconds = ((one.over_ms or 0) - one.began_ms) / 1000
    return f", over after {span(seconds)}" if seconds else ""


def _where(status: Status) -> str:
    data = "SIMULATED exchanges" if status.data == "sim" else "public feeds"
    orders = {"live": "LIVE ORDERS", "dry run": "dry run", RECORDING: "recording"}.get(
        status.order_mode, "paper orders"
    )
    return f"{data}, {orders}"


def _tally(tally: Tally) -> str:
    return f"{tally.entries} entries, {tally.exits} exits ({tally.wins} won), {_signed(tally.pnl)}"


def _open_line(positions: Sequence[PositionNote]) -> str:
    if not positions:
        return "No position is open."
    pairs = ", ".join(sorted({one.pair for one in positions})[:_POSITIONS_SHOWN])
    return f"{len(positions)} {'position is' if len(positions) == 1 else 'positions are'} open ({pairs})."


def _alerts_line(kinds: Mapping[str, int]) -> str:
    if not kinds:
        return "There were no alerts."
    return "Alerts: " + ", ".join(f"{count} x {name_of(kind)}" for kind, count in kinds.items()) + "."


def _amount(value: str) -> str:
    return f"{float(value):,.0f}"


def _signed(value: str | float) -> str:
    return f"{float(value):+,.0f}"

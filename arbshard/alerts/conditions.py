"""Finds what a person must know of a run at one moment: a set of conditions, each with kind and subject. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from arbshard.config import AlertsConfig, LimitsConfig
from arbshard.model.notes import ChildNote
from arbshard.model.risk_note import RiskNote
from arbshard.status.limits import LimitUse, limit_uses, symbol_notional_uses
from arbshard.status.model import ClusterStatus, Problem, Status

AlertSeverity = Literal["critical", "warning", "info"]


class Rule(NamedTuple):
    """How one kind of problem becomes an alert."""

    kind: str
    """A key of ``[alerts.levels]``."""
    severity: AlertSeverity
    begins_after_s: float
    """The problem must hold for so long without a break: what ends by itself before that is no alert."""
    command: str
    """What shows or cures it, after ``arbshard``. ``{subject}`` is the problem's."""


class Condition(NamedTuple):
    """Something that holds now."""

    kind: str
    subject: str
    severity: AlertSeverity
    text: str
    """What happened and what it means for the money."""
    command: str
    begins_after_s: float

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells this condition from others."""
        return self.kind, self.subject


class Picture(NamedTuple):
    """All that holds at one moment."""

    conditions: tuple[Condition, ...]
    unknown: frozenset[str]
    """Kinds of which this moment says nothing: what held of them a moment ago is taken to hold still."""
    left: frozenset[tuple[str, str]] = frozenset()
    """The keys of those that another host of the cluster sends. They are kept here, and sent once it does not."""


RULES: Mapping[str, Rule] = {
    "halt": Rule("halt", "critical", 0, "resume"),
    "apart": Rule("stuck_pair", "critical", 0, "close {subject}"),
    "failing": Rule("stuck_pair", "critical", 5, "close {subject}"),
    "unattended": Rule("stuck_pair", "critical", 5, "positions"),
    "unknown_order": Rule("unknown_order", "critical", 30, "reconcile"),
    "stray": Rule("unknown_order", "critical", 10, "reconcile"),
    "difference": Rule("difference", "critical", 10, "reconcile"),
    "ledger": Rule("ledger", "critical", 0, "ledger verify"),
    "refusing": Rule("refusing", "critical", 5, "doctor"),
    "shortage": Rule("refusing", "warning", 5, "reconcile"),
    "feed": Rule("feed", "critical", 10, "status"),
    "start": Rule("feed", "critical", 10, "status"),
    "late": Rule("feed", "warning", 30, "status"),
    "shard": Rule("restarts", "critical", 15, "shards"),
    "risk": Rule("restarts", "critical", 15, "status"),
    "disk": Rule("disk", "critical", 0, "status"),
    "silent": Rule("vanished", "critical", 5, "status"),
    "vanished": Rule("vanished", "critical", 0, "status"),
    "leader": Rule("cluster", "critical", 10, "cluster show"),
    "unplaced": Rule("cluster", "critical", 15, "cluster show"),
    "kept": Rule("cluster", "critical", 5, "cluster show"),
    "host": Rule("cluster", "warning", 30, "cluster show"),
    "nats": Rule("cluster", "warning", 30, "cluster show"),
    "clock": Rule("cluster", "warning", 30, "cluster show"),
    "version": Rule("cluster", "warning", 30, "cluster show"),
}
"""By the kind of a problem. Problems of other kinds are ``degraded``."""
_OTHER = Rule("degraded", "warning", 30, "status")
_OWN = frozenset({"naked"})
"""Problems that have conditions of their own below, by pair."""
KINDS = frozenset({*(rule.kind for rule in RULES.values()), "naked", "limit", "degraded"})
"""All kinds of conditions."""
_OF_RISK = KINDS - {"feed", "restarts", "disk", "vanished", "cluster"}
"""Kinds that rest on what risk noted."""
_DEGRADED_OF_RISK = frozenset({"closing", "fx", "fee", "wallets", "statement", "transfer"})
"""Kinds of problems that are ``degraded`` and rest on what risk noted."""
_WHILE_ENDING = frozenset({"feed", "restarts", "degraded", "vanished", "cluster"})
"""Kinds that say nothing once a run ends: its feeds, its processes and its part in a cluster end with it."""


def picture_of(
    status: Status, note: RiskNote, restarted: Iterable[str], settings: AlertsConfig, limits: LimitsConfig
) -> Picture:
    """Return what holds. ``restarted``: processes that were restarted too often, see ``RestartCounts``."""
    unknown: frozenset[str] = frozenset()
    if status.as_of or not note.session:
        unknown |= _OF_RISK
    if status.state in ("draining", "ended"):
        unknown |= _WHILE_ENDING
    if status.state == "dead":
        unknown |= KINDS - {"vanished"}
    found = (
        *_problems(status.causes),
        *_naked(status, settings.naked_after_s),
        *_limits(note, limits, settings.limit_share),
        *(_restarting(name, settings) for name in restarted),
    )
    # One alert per kind and subject: where two problems have both in common, the first is the more urgent one.
    by_key = {one.key: one for one in reversed(found) if one.kind not in unknown}
    left = frozenset(filter(_is_of_money, by_key)) if not sends_for_all(status.cluster) else frozenset()
    return Picture(tuple(reversed(by_key.values())), unknown, left)


def _is_of_money(key: tuple[str, str]) -> bool:
    """Return whether every host of a cluster knows it alike."""
    kind, subject = key
    if kind == _OTHER.kind:
        return subject.partition(" ")[0] in _DEGRADED_OF_RISK
    return kind in _OF_RISK


def sends_for_all(cluster: ClusterStatus | None) -> bool:
    """Return whether this host sends what concerns the money: it is the first one in the cluster file that can.

    A host can when it is in contact with the leader, and its alerts reach a target. Where no host is known to, each
    of them sends.
    """
    if cluster is None:
        return True
    able = (host.name for host in cluster.hosts if host.tells and not host.away and not host.leaving)
    return next(able, cluster.host) == cluster.host


def _problems(causes: Sequence[Problem]) -> Iterator[Condition]:
    for cause in causes:
        if cause.kind in _OWN:
            continue
        rule = RULES.get(cause.kind, _OTHER)
        subject = cause.subject if cause.kind in RULES else f"{cause.kind} {cause.subject}".rstrip()
        after_s = rule.begins_after_s
        if cause.kind == "shard":
            subject = f"worker-{cause.subject}"
            after_s = 0 if "quarantined" in cause.text else after_s
        elif cause.kind == "risk":
            subject = "risk"
        command = rule.command.format(subject=cause.subject.partition(" ")[0])
        yield Condition(rule.kind, subject, rule.severity, cause.text, command, after_s)


def _naked(status: Status, after_s: float) -> Iterator[Condition]:
    worth: dict[str, Decimal] = {}
    for one in status.equity.naked_by:
        worth[one.pair] = worth.get(one.pair, Decimal(0)) + Decimal(one.notional)
    currency = status.portfolio.currency
    for pair, notional in worth.items():
        text = (
            f"{notional:,.0f} {currency} of {pair} are bought or sold on one venue alone for more than "
            f"{after_s:g} s: until the other leg is made, every move of the price is our gain or loss"
        )
        yield Condition("naked", pair, "critical", text, f"close {pair}", after_s)


def _limits(note: RiskNote, limits: LimitsConfig, share: float) -> Iterator[Condition]:
    least = Decimal(repr(share))
    for key, use in limit_uses(note, limits).items():
        if use.limit and use.share >= least:
            yield _limit(key, f"limits.{key}", use, "limits show")
    for pair, use in symbol_notional_uses(note, limits).items():
        if use.limit and use.share >= least:
            where = f"limits.symbol_notional_max of {pair}"
            yield _limit(pair, where, use, f"limits show --symbol {pair}")


def _limit(subject: str, where: str, use: LimitUse, command: str) -> Condition:
    text = (
        f"{where}: {use.share:.0%} are used ({use.used:,f} of {use.limit:,f}); entries that would go beyond it are "
        "refused, exits go on"
    )
    return Condition("limit", subject, "warning", text, command, 5)


def _restarting(name: str, settings: AlertsConfig) -> Condition:
    text = (
        f"{name} was restarted {settings.restarts} times or more within {settings.restarts_window_s:g} s: each time "
        "it trades nothing for a moment, and after more of them it is given up"
    )
    return Condition("restarts", f"{name} again and again", "critical", text, "status", 0)


class RestartCounts:
    """Remembers how often each process was restarted lately."""

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_ns = int(window_s * 1e9)
        self._seen: dict[str, int] = {}
        self._when: dict[str, deque[int]] = {}

    def add(self, children: Iterable[ChildNote], now_ns: int) -> tuple[str, ...]:
        """Return the processes that were restarted too often within the window, as of now."""
        for child in children:
            before = self._seen.get(child.name, child.restarts)
            self._seen[child.name] = child.restarts
            when = self._when.setdefault(child.name, deque(maxlen=self._most))
            when.extend([now_ns] * min(child.restarts - before, self._most))
            while when and now_ns - when[0] > self._window_ns:
                when.popleft()
        return tuple(name for name, when in self._when.items() if len(when) >= self._most)

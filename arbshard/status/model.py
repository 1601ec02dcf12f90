"""``Status``: everything there is to see of a running instance, at one instant. What ``--json`` prints."""

import msgspec

from arbshard.model.notes import HaltSpan, JournalNote, VenueNote
from arbshard.model.risk_note import (
    BalanceNote,
    DifferenceNote,
    EquityNote,
    FxNote,
    HaltNote,
    PortfolioTally,
    PositionNote,
    StrayNote,
    Tally,
)


class Problem(msgspec.Struct, frozen=True):
    """One reason why a run is degraded."""

    kind: str
    """What is wrong, in one word; the same for all problems of a kind, whatever their text says."""
    subject: str
    """What it is about: a pair, a venue, an order; empty where there is only one."""
    text: str
    """One line for a person. It may change while the problem lasts."""


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in microseconds; 0 when nothing was measured yet."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    count: int = 0


class RuleWorth(msgspec.Struct, frozen=True):
    """What the entries that a rule refused would have brought, as far as they were followed.

    Valued at the books as they came, without latency and failed orders: it says which rule costs or saves money.
    """

    followed: int = 0
    """Refused entries that were followed until a rule of exit held."""
    won: int = 0
    pnl: int = 0
    """All together, after fees, in whole units of the reporting currency."""

    def add(self, other: "RuleWorth") -> "RuleWorth":
        """Return the sum of both."""
        return RuleWorth(self.followed + other.followed, self.won + other.won, self.pnl + other.pnl)


class ShardStatus(msgspec.Struct, frozen=True):
    """One worker."""

    id: int
    state: str
    """``starting``, ``running``, ``draining``, ``drained``, ``fenced``, ``restarting``, ``quarantined``,
    ``ended``, or ``ending`` after the supervisor vanished.
    """
    pid: int | None
    """None while there is no such process."""
    epoch: int
    restarts: int
    pairs: int
    msg_s: float
    """Evaluated book changes per second."""
    latency_us: Latency
    """Receive → decision."""
    approval_us: Latency
    """Decision → risk's approval."""
    ticks: int
    frames: int
    conflated: int
    bad_frames: dict[str, int]
    refusals: dict[str, int]
    """Evaluations whose data were not fit to trade on, or that a rule barred, by reason."""
    orders: int
    rejected: int
    partial: int
    errors: int
    missing: dict[str, int] = {}
    """Entries that were not made for want of money or coins, by ``VENUE CURRENCY``."""
    again_in_s: float = 0.0
    """How long until it is started again, while its state is ``restarting``."""
    reason: str = ""
    """Why its last incarnation ended; empty when none has."""
    followed: dict[str, RuleWorth] = {}
    """What refused entries would have brought, by reason."""


class VenueStatus(VenueNote, frozen=True, kw_only=True):
    """One exchange: what the supervisor says of its feed, and what is known beside that.

    ``bad_frames`` also counts those that workers could not decode.
    """

    simulated: bool
    oldest_ms: float
    """Age of the oldest live book."""
    answer_us: Latency = Latency()
    """From sending an order that the venue accepted until its end was known."""

    @property
    def is_well(self) -> bool:
        """Whether books come the way they should."""
        return self.state == "connected" or (self.state == "rest" and self.wanted == 0)


class EntriesStatus(msgspec.Struct, frozen=True):
    """Which pairs may be entered, and what keeps the others from it."""

    pairs: int = 0
    free: int = 0
    """Pairs that may be entered in both directions."""
    barred: dict[str, int] = {}
    """Pairs by the name of the refusal that bars a direction of theirs, or both."""


class RiskStatus(msgspec.Struct, frozen=True):
    """The risk process."""

    state: str
    pid: int | None
    """None while there is no such process."""
    restarts: int
    approvals: int
    refusals: dict[str, int]
    commit_us: Latency
    session: int
    reason: str = ""
    """Why its last incarnation ended; empty when none has."""
    unviewed: int = 0
    """Entries whose limit prices were compared with no books, because risk had read none of the pair lately."""
    entries: EntriesStatus = EntriesStatus()


class LedgerStatus(msgspec.Struct, frozen=True):
    """The ledger of this run, as risk noted it."""

    path: str
    tag: str
    last_seq: int
    """The last event that was written."""
    begun: str
    """When the ledger was begun, ISO 8601; empty when it does not say."""
    is_new: bool
    """Whether this run is its first."""
    is_there: bool
    """Whether there is a file at ``path``."""
    is_closed: bool
    """Whether it was closed in order and read back."""
    disk_free_mb: int
    reserve_kept: bool
    """Whether the room kept for the last commits is there."""


class SeriesStatus(msgspec.Struct, frozen=True):
    """The process that keeps series of this run. Whatever becomes of it, no run is degraded by it."""

    state: str
    pid: int | None
    """None while there is no such process."""
    restarts: int
    samples: int
    missed: int
    """Samples that could not be taken, or came too late."""
    lost_rows: int
    """Rows of files that could not be written."""
    kept_mb: float
    """Size of all files after the last segment."""
    trouble: str = ""
    """The last thing that went wrong; empty when nothing has."""


class MetricsStatus(msgspec.Struct, frozen=True):
    """The process that offers figures to Prometheus. Whatever becomes of it, no run is degraded by it."""

    state: str
    pid: int | None
    """None while there is no such process."""
    restarts: int
    port: int
    """Where it listens; 0 before it does."""
    requests: int
    failures: int
    """Requests that were not answered."""
    trouble: str = ""
    """Why its last incarnation ended; empty when none has."""


class AlertsStatus(msgspec.Struct, frozen=True):
    """The process that keeps and sends alerts. Whatever becomes of it, no run is degraded by it."""

    state: str
    pid: int | None
    """None while there is no such process."""
    restarts: int
    holding: int
    """Alerts that are not over."""
    outbox: int
    """Messages that are not delivered yet."""
    delivered: int
    failures: int
    """Tries to deliver a message that failed."""
    unknown_chats: int
    """Commands of chats that are not allowed; they got no answer."""
    trouble: str = ""
    """Why the last message could not be delivered or kept, or why its last incarnation ended."""


class WebStatus(msgspec.Struct, frozen=True):
    """The process that serves the desk in the browser. Whatever becomes of it, no run is degraded by it."""

    state: str
    pid: int | None
    """None while there is no such process."""
    restarts: int
    port: int
    """Where it listens; 0 before it does."""
    url: str
    viewers: int
    actions: int
    """Actions of operators that were carried out."""
    refused: int
    """Requests without the right that they need, or from another site."""
    failures: int
    trouble: str = ""
    """Why its last incarnation ended; empty when none has."""


class AccountStatus(msgspec.Struct, frozen=True):
    """What one venue says of our account there; live only."""

    venue: str
    statement_age_s: float | None
    """None: nothing was heard since risk started."""
    compared_age_s: float | None
    """Within so long every currency was compared with the ledger; None: not all of them yet."""
    settled: bool
    is_late: bool
    """Whether the venue should have stated more by now."""


class Status(msgspec.Struct, frozen=True):
    """One instance."""

    name: str
    state: str
    """``starting``, ``running``, ``degraded``, ``draining``, ``ended``, ``dead``."""
    mode: str
    data: str
    """``sim``: simulated exchanges. ``public``: real feeds."""
    pid: int | None
    """Of the supervisor; None when there is no such process."""
    uptime_s: float
    state_dir: str
    shards: tuple[ShardStatus, ...]
    venues: tuple[VenueStatus, ...]
    risk: RiskStatus
    portfolio: PortfolioTally
    """Since this start."""
    lifetime: PortfolioTally
    """Since the ledger began."""
    equity: EquityNote
    fx: FxNote
    """What trading has brought, realised and unrealised, and what the account is worth."""
    symbols: dict[str, Tally]
    reasons: dict[str, int]
    balances: dict[str, dict[str, BalanceNote]]
    positions: tuple[PositionNote, ...]
    latency_us: Latency
    """Receive → decision over all shards."""
    approval_us: Latency
    messages: int
    errors: int
    restarts: int
    """How often any child was started again, without companions, which have counts of their own."""
    alerts: tuple[str, ...]
    unattended: tuple[str, ...]
    memory_mb: float
    """Resident memory of all processes."""
    problems: tuple[str, ...]
    """Why ``state`` is ``degraded``, one line each."""
    causes: tuple[Problem, ...] = ()
    """The same with kind and subject, in the same order."""
    passing: tuple[str, ...] = ()
    """Those of ``problems`` that orders under way cause, and that end with these orders."""
    bad_requests: int = 0
    """What came on the sockets of risk and supervisor and was no request: none is expected."""
    order_mode: str = "paper"
    """``paper``, ``dry run`` or ``live``; ``recording`` of a run that trades nothing."""
    accounts: tuple[AccountStatus, ...] = ()
    differences: tuple[DifferenceNote, ...] = ()
    """Currencies of which venue and ledger say different amounts: their pairs are blocked."""
    strays: tuple[StrayNote, ...] = ()
    """Open orders of ours that no open intent owns."""
    unknown: tuple[StrayNote, ...] = ()
    """Orders whose fate at the venue is not known."""
    spares: tuple[str, ...] = ()
    """Workers kept ready to take over a shard: ``starting`` or ``ready``."""
    spares_wanted: int = 0
    as_of: str = ""
    """When risk last said what portfolio, balances and positions are, ISO 8601; empty while it says so itself."""
    ledger: LedgerStatus | None = None
    """None before risk has opened it."""
    loop_late_ms: float = 0.0
    """By how much the supervisor's loop came too late at most: it was busy, or got no CPU."""
    loop_cpu_ms: float = 0.0
    """How much of a CPU it used at most before it came to its heart again."""
    regime: str = ""
    """How the prices of the simulated exchanges behave; empty for public feeds."""
    halted: str = ""
    """Why entries are halted, as in ``problems``; empty while they are not."""
    halt: HaltNote | None = None
    """The same with its time and cause."""
    halts: tuple[HaltSpan, ...] = ()
    """The halts of this run, the newest last; one from before its start is among them."""
    journal: tuple[JournalNote, ...] = ()
    """What people and rules have decided in this run, the newest last; 100 at most."""

    warnings: tuple[str, ...] = ()
    """What the venues warn of, and what each pair concerned does about it. It makes no run degraded."""
    missing: dict[str, int] = {}
    """Entries of all shards that were not made for want of money or coins, by ``VENUE CURRENCY``."""
    inventory: str = ""
    """What runs out soon and what entries lack, in one line; empty where there is nothing to say."""
    under_way_worth: str = "0"
    """Worth of what is between venues, in reporting currency."""
    series: SeriesStatus | None = None
    """None where no series are kept."""
    metrics: MetricsStatus | None = None
    """None where no figures are offered."""
    alerting: AlertsStatus | None = None
    """None where no alerts are kept."""
    web: WebStatus | None = None
    """None where no desk is served."""

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 2 not running."""
        return {"running": 0, "ended": 2, "dead": 2}.get(self.state, 1)

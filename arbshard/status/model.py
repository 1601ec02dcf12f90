"""Defines ``Status``: everything that can be seen of a running instance at one instant. ``--json`` prints it."""

import msgspec

from arbshard.model.notes import JournalNote, VenueNote
from arbshard.model.risk_note import (
    BalanceNote,
    DifferenceNote,
    EquityNote,
    FxNote,
    HaltNote,
    HaltSpan,
    PortfolioTally,
    PositionNote,
    StrayNote,
    Tally,
)


class Problem(msgspec.Struct, frozen=True):
    """Describes one reason why a run is degraded."""

    kind: str
    """Kind of the problem, in one word; the same for all problems of a kind, whatever their text."""
    subject: str
    """Subject of the problem: a pair, a venue, an order; empty where there is only one."""
    text: str
    """One line for a person. It may change while the problem lasts."""


class Latency(msgspec.Struct, frozen=True):
    """Holds percentiles in microseconds; 0 when nothing was measured yet."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    count: int = 0


class RuleWorth(msgspec.Struct, frozen=True):
    """Counts what the entries that a rule refused would have brought, as far as they were followed.

    They are valued at the books as they came, without latency and failed orders: the result shows which rule costs
    or saves money.
    """

    followed: int = 0
    """Number of refused entries that were followed until a rule of exit held."""
    won: int = 0
    pnl: int = 0
    """Result of all of them, after fees, in whole units of the reporting currency."""

    def add(self, other: "RuleWorth") -> "RuleWorth":
        """Return the sum of both."""
        return RuleWorth(self.followed + other.followed, self.won + other.won, self.pnl + other.pnl)


class ShardStatus(msgspec.Struct, frozen=True):
    """Describes one worker."""

    id: int
    state: str
    """``starting``, ``running``, ``draining``, ``drained``, ``fenced``, ``restarting``, ``quarantined``, ``ended``,
    ``ending`` after the supervisor vanished; in a cluster, ``elsewhere``: another host holds it, and ``unplaced``: no
    host is known to hold it.
    """
    pid: int | None
    """Process id; None while there is no such process."""
    epoch: int
    restarts: int
    pairs: int
    msg_s: float
    """Evaluated book changes per second."""
    latency_us: Latency
    """Time from receipt to decision."""
    approval_us: Latency
    """Time from decision to risk's approval."""
    ticks: int
    frames: int
    conflated: int
    bad_frames: dict[str, int]
    refusals: dict[str, int]
    """Number of evaluations whose data were not fit to trade on, or that a rule barred, by reason."""
    orders: int
    rejected: int
    partial: int
    errors: int
    missing: dict[str, int] = {}
    """Number of entries that were not made for want of money or coins, by ``VENUE CURRENCY``."""
    again_in_s: float = 0.0
    """Time in seconds until it is started again, while its state is ``restarting``."""
    reason: str = ""
    """Reason why its last incarnation ended; empty when none has."""
    followed: dict[str, RuleWorth] = {}
    """What refused entries would have brought, by reason."""


class VenueStatus(VenueNote, frozen=True, kw_only=True):
    """Describes one exchange: what the supervisor reports of its feed, and what else is known.

    ``bad_frames`` also counts those that workers could not decode.
    """

    simulated: bool
    oldest_ms: float
    """Age of the oldest live book, in milliseconds."""
    answer_us: Latency = Latency()
    """Time from sending an order that the venue accepted until its end was known."""

    @property
    def is_well(self) -> bool:
        """Return whether books come as they should."""
        return self.state in ("connected", "idle") or (self.state == "rest" and self.wanted == 0)


class EntriesStatus(msgspec.Struct, frozen=True):
    """Counts which pairs may be entered, and what keeps the others from it."""

    pairs: int = 0
    free: int = 0
    """Number of pairs that may be entered in both directions."""
    barred: dict[str, int] = {}
    """Number of pairs by the name of the refusal that bars one of their directions, or both."""


class RiskStatus(msgspec.Struct, frozen=True):
    """Describes the risk process."""

    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    restarts: int
    approvals: int
    refusals: dict[str, int]
    commit_us: Latency
    session: int
    reason: str = ""
    """Reason why its last incarnation ended; empty when none has."""
    unviewed: int = 0
    """Number of entries whose limit prices were compared with no books, because risk had read none of the pair
    lately.
    """
    entries: EntriesStatus = EntriesStatus()


class LedgerStatus(msgspec.Struct, frozen=True):
    """Describes the ledger of this run, as risk noted it."""

    path: str
    tag: str
    last_seq: int
    """Number of the last event that was written."""
    begun: str
    """Time at which the ledger was begun, ISO 8601; empty when the ledger does not contain it."""
    is_new: bool
    """Whether this run is its first."""
    is_there: bool
    """Whether there is a file at ``path``."""
    is_closed: bool
    """Whether it was closed in order and read back."""
    disk_free_mb: int
    reserve_kept: bool
    """Whether the disk space reserved for the last commits is there."""


class SeriesStatus(msgspec.Struct, frozen=True):
    """Describes the process that keeps series of this run. None of its failures degrades the run."""

    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    restarts: int
    samples: int
    missed: int
    """Number of samples that could not be taken, or came too late."""
    lost_rows: int
    """Number of rows of files that could not be written."""
    kept_mb: float
    """Size of all files after the last segment, in megabytes."""
    trouble: str = ""
    """Last failure; empty when there was none."""


class MetricsStatus(msgspec.Struct, frozen=True):
    """Describes the process that offers figures to Prometheus. None of its failures degrades the run."""

    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    restarts: int
    port: int
    """Port on which it listens; 0 before it does."""
    requests: int
    failures: int
    """Number of requests that were not answered."""
    trouble: str = ""
    """Reason why its last incarnation ended; empty when none has."""


class AlertsStatus(msgspec.Struct, frozen=True):
    """Describes the process that keeps and sends alerts. None of its failures degrades the run."""

    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    restarts: int
    holding: int
    """Number of alerts that have not ended."""
    outbox: int
    """Number of messages that are not delivered yet."""
    delivered: int
    failures: int
    """Number of failed attempts to deliver a message."""
    unknown_chats: int
    """Number of commands of chats that are not allowed; they got no answer."""
    trouble: str = ""
    """Reason why the last message could not be delivered or kept, or why its last incarnation ended."""


class WebStatus(msgspec.Struct, frozen=True):
    """Describes the process that serves the desk in the browser. None of its failures degrades the run."""

    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    restarts: int
    port: int
    """Port on which it listens; 0 before it does."""
    url: str
    viewers: int
    actions: int
    """Number of actions of operators that were carried out."""
    refused: int
    """Number of requests without the right that they need, or from another site."""
    failures: int
    trouble: str = ""
    """Reason why its last incarnation ended; empty when none has."""


class AccountStatus(msgspec.Struct, frozen=True):
    """Describes what one venue states of our account there; live only."""

    venue: str
    statement_age_s: float | None
    """Age of the last statement in seconds; None if none was received since risk started."""
    compared_age_s: float | None
    """Time in seconds within which every currency was compared with the ledger; None if not all of them were
    compared yet.
    """
    settled: bool
    is_late: bool
    """Whether the venue should have stated more by now."""


class ClusterHostStatus(msgspec.Struct, frozen=True):
    """Describes one host of a cluster, as this host knows it."""

    name: str
    age_s: float | None
    """Time in seconds since this host has seen it last; None for never."""
    away: bool = False
    """Whether this host has not seen it lately."""
    ahead_s: float = 0.0
    """How much its wall clock is ahead of that of this host."""
    leads: bool = False
    shards: tuple[int, ...] = ()
    """The shards that it holds."""
    behind: int | None = None
    """Number of events that its copy of the ledger lacks, as far as is known; None for the leader."""
    nats: bool = False
    leaving: bool = False
    has_pairs: bool = True
    """Whether it has the pairs of the cluster; without them it trades no shard."""
    frames_s: float = 0.0
    cpu: float = 0.0
    version: str = ""
    note: str = ""
    tells: bool = False
    """Whether it follows the leader, and its alerts reach a target."""


class ClusterStatus(msgspec.Struct, frozen=True):
    """Describes the cluster as one of its hosts sees it."""

    name: str
    host: str
    """The host that reports."""
    leader: str
    """Name of the leader's host; empty while none is known, or that host is away."""
    term: int
    may_trade: bool
    """Whether workers of this host may send orders now."""
    why: str
    """Why they may not; empty when they may, or when nothing is known."""
    contact_s: float | None
    """Time in seconds since the leader last confirmed this host; None for never."""
    nats: bool
    """Whether this host is connected to NATS."""
    replication: str
    hosts: tuple[ClusterHostStatus, ...]
    unplaced: tuple[int, ...]
    """Shards that no host is known to hold."""
    kept: tuple[str, ...]
    """Commands of operators that wait until the leader can be reached."""
    phase: str
    """``running`` or ``ending``."""
    counts: dict[str, int] = {}
    """What the agent of this host has counted since it began (``model.cluster_note.COUNTED``)."""
    leading: dict[str, int] = {}
    """What the leader's risk shows of its followers (``model.cluster_note.LEADING_GAUGES``, ``LEADING_COUNTS``)."""
    refused: tuple[str, ...] = ()
    """Which hosts this one refuses to hear, and why."""
    lost: str = ""
    """The host that led last, when it is away; empty when a leader is known."""


class Status(msgspec.Struct, frozen=True):
    """Describes one instance."""

    name: str
    state: str
    """``starting``, ``running``, ``degraded``, ``draining``, ``ended``, ``dead``."""
    mode: str
    data: str
    """Source of data: ``sim`` is simulated exchanges, ``public`` is real feeds."""
    pid: int | None
    """Process id of the supervisor; None when there is no such process."""
    uptime_s: float
    state_dir: str
    shards: tuple[ShardStatus, ...]
    venues: tuple[VenueStatus, ...]
    risk: RiskStatus
    portfolio: PortfolioTally
    """Trades since this start."""
    lifetime: PortfolioTally
    """Trades since the ledger began."""
    equity: EquityNote
    fx: FxNote
    """What trading has brought, realised and unrealised, and what the account is worth."""
    symbols: dict[str, Tally]
    reasons: dict[str, int]
    balances: dict[str, dict[str, BalanceNote]]
    positions: tuple[PositionNote, ...]
    latency_us: Latency
    """Time from receipt to decision over all shards."""
    approval_us: Latency
    messages: int
    errors: int
    restarts: int
    """Number of restarts of all children, without companions, which have counts of their own."""
    alerts: tuple[str, ...]
    unattended: tuple[str, ...]
    memory_mb: float
    """Resident memory of all processes, in megabytes."""
    problems: tuple[str, ...]
    """Reasons why ``state`` is ``degraded``, one line each."""
    causes: tuple[Problem, ...] = ()
    """The same problems with kind and subject, in the same order."""
    passing: tuple[str, ...] = ()
    """Those of ``problems`` that orders under way cause, and that end with these orders."""
    bad_requests: int = 0
    """Number of invalid requests on the sockets of risk and supervisor: none is expected."""
    order_mode: str = "paper"
    """``paper``, ``dry run`` or ``live``; ``recording`` of a run that trades nothing."""
    accounts: tuple[AccountStatus, ...] = ()
    differences: tuple[DifferenceNote, ...] = ()
    """Currencies of which venue and ledger state different amounts: their pairs are blocked."""
    strays: tuple[StrayNote, ...] = ()
    """Open orders of ours that no open intent owns."""
    unknown: tuple[StrayNote, ...] = ()
    """Orders whose state at the venue is not known."""
    spares: tuple[str, ...] = ()
    """Workers kept ready to take over a shard: ``starting`` or ``ready``."""
    spares_wanted: int = 0
    as_of: str = ""
    """Time of risk's last report of portfolio, balances and positions, ISO 8601; empty while they are current."""
    ledger: LedgerStatus | None = None
    """The ledger; None before risk has opened it."""
    loop_late_ms: float = 0.0
    """Largest delay of the supervisor's loop, in milliseconds: it was busy, or got no CPU."""
    loop_cpu_ms: float = 0.0
    """Largest CPU time of one turn of the supervisor's loop, in milliseconds."""
    regime: str = ""
    """How the prices of the simulated exchanges behave; empty for public feeds."""
    halted: str = ""
    """Reason why entries are halted, as in ``problems``; empty while they are not."""
    halt: HaltNote | None = None
    """The halt with its time and cause; None while entries are not halted."""
    halts: tuple[HaltSpan, ...] = ()
    """The halts of this run, the newest last; one from before its start is among them."""
    journal: tuple[JournalNote, ...] = ()
    """Decisions of people and rules in this run, the newest last; 100 at most."""

    warnings: tuple[str, ...] = ()
    """Warnings of the venues, and what each pair concerned does about them. They degrade no run."""
    missing: dict[str, int] = {}
    """Number of entries of all shards that were not made for want of money or coins, by ``VENUE CURRENCY``."""
    inventory: str = ""
    """Line about what runs out soon and what entries lack; empty where there is nothing to report."""
    under_way_worth: str = "0"
    """Value of what is between venues, in reporting currency."""
    series: SeriesStatus | None = None
    """Process that keeps series; None where no series are kept."""
    metrics: MetricsStatus | None = None
    """Process that offers figures; None where none are offered."""
    alerting: AlertsStatus | None = None
    """Process that keeps alerts; None where none are kept."""
    web: WebStatus | None = None
    """Process that serves the desk; None where no desk is served."""
    cluster: ClusterStatus | None = None
    """The cluster; None in a run on one host."""

    @property
    def exit_code(self) -> int:
        """Return 0 for a healthy run, 1 for a degraded one, 2 for one that does not run."""
        return {"running": 0, "ended": 2, "dead": 2}.get(self.state, 1)

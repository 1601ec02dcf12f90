"""All that one run measured, and questions about it. Pure; saved as JSON, judged by ``budgets`` and ``baseline``."""

import msgspec

from perf.figures import LoadRow, Percentiles
from perf.startup import Startup

ARBSHARD = "arbshard"
QUIET_CORES = 0.1
"""Others that use more than this disturb the measurement."""
EQUAL_RATES = (1_000, 10_000)
"""Where latencies of all clients are compared."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The machine."""

    python: str
    cores: int
    cpu: str
    load_before: float
    load_after: float = 0.0
    others: tuple[str, ...] = ()
    """Other processes that used more than 10 % of a core during the run."""
    others_cores: float = 0.0
    """What all that is not this measurement used, in cores on average."""
    commit: str = ""
    quick: bool = False


class Highest(msgspec.Struct, frozen=True, kw_only=True):
    """The highest sustained rate of a client."""

    client: str
    processes: int
    rate: int
    """Messages per second; 0 when not even the lowest held."""


class Results(msgspec.Struct, kw_only=True):
    """Filled part by part; what was not measured is empty."""

    conditions: Conditions
    stages_us: dict[str, float] = {}
    load: list[LoadRow] = []
    """Of this system at the fixed rates."""
    equal: list[LoadRow] = []
    """Of the peers at ``EQUAL_RATES``."""
    highest: list[Highest] = []
    not_measured: dict[str, str] = {}
    """Part → why."""
    approval_us: Percentiles | None = None
    wire_us: Percentiles | None = None
    """Decision → order on the wire."""
    startup: Startup | None = None
    more: dict[str, dict[str, float]] = {}
    """Room for other measurements: group → name → number."""

    def load_at(self, rate: float) -> LoadRow | None:
        """This system's row at ``rate``."""
        return next((row for row in self.load if row.rate == rate), None)

    def peer_at(self, client: str, rate: float) -> LoadRow | None:
        """The peer's better row (lower p99) at ``rate``."""
        rows = [row for row in self.equal if row.client == client and row.rate == rate and row.decided]
        return min(rows, key=lambda row: row.send_us.p99, default=None)

    def cheapest(self, client: str) -> LoadRow | None:
        """The peer's row with the least CPU per message at the lowest of ``EQUAL_RATES``."""
        rows = [
            row for row in self.equal if row.client == client and row.rate == EQUAL_RATES[0] and row.decided
        ]
        return min(rows, key=lambda row: row.client_cpu_us, default=None)

    def highest_of(self, client: str) -> int | None:
        """Its highest sustained rate with the better number of processes; None when not measured."""
        return max((one.rate for one in self.highest if one.client == client), default=None)

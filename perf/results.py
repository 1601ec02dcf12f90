"""All that one run measured, and questions about it. Pure; saved as JSON, judged by ``budgets`` and ``baseline``."""

import statistics

import msgspec

from perf.figures import LoadRow, Percentiles, best_turns, middle_row
from perf.startup import Startup
from perf.steadiness import Steadiness

ARBSHARD = "arbshard"
QUIET_CORES = 0.1
"""Others that use more than this disturb the measurement."""
EQUAL_RATES = (1_000, 10_000)
"""Where the baseline compares the latencies of all clients."""
PEERS = ("ccxt", "cryptofeed")
"""The clients that this system is compared with."""


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
    steadiness: tuple[Steadiness, ...] = ()
    """The machine's own noise: at the start, and at the end."""
    commit: str = ""
    quick: bool = False


class Highest(msgspec.Struct, frozen=True, kw_only=True):
    """The highest sustained rate of a client."""

    client: str
    processes: int
    rate: int
    """Messages per second; 0 when not even the lowest held."""
    turn: int = 0


class Results(msgspec.Struct, kw_only=True):
    """Filled part by part; what was not measured is empty."""

    conditions: Conditions
    stages_us: dict[str, float] = {}
    load: list[LoadRow] = []
    """Of this system at the fixed rates, several turns of a rate where peers were measured beside it."""
    equal: list[LoadRow] = []
    """Of the peers, turn by turn."""
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
        """This system's row at ``rate``, of several turns the one in the middle."""
        return middle_row([row for row in self.load if row.rate == rate], _p99)

    def peer_at(self, client: str, rate: float) -> LoadRow | None:
        """The peer's row at ``rate`` with the better number of processes (lower p99), in the middle of its turns."""
        return middle_row(best_turns(self._rows_of(client, rate), _p99), _p99)

    def cheapest(self, client: str) -> LoadRow | None:
        """The same by CPU per message, at the lowest of ``EQUAL_RATES``."""
        return middle_row(best_turns(self._rows_of(client, EQUAL_RATES[0]), _cpu_us), _cpu_us)

    def _rows_of(self, client: str, rate: float) -> list[LoadRow]:
        return [row for row in self.equal if row.client == client and row.rate == rate and row.decided]

    def turns_of_highest(self, client: str) -> list[Highest]:
        """Every turn of the search with the better number of processes; none when not measured."""
        groups: dict[int, list[Highest]] = {}
        for one in self.highest:
            if one.client == client:
                groups.setdefault(one.processes, []).append(one)
        most = max(map(len, groups.values()), default=0)
        whole = [group for group in groups.values() if len(group) == most]
        return max(whole, key=lambda group: statistics.median(one.rate for one in group), default=[])

    def highest_of(self, client: str) -> int | None:
        """The median of its highest sustained rates; None when not measured."""
        turns = self.turns_of_highest(client)
        return round(statistics.median(one.rate for one in turns)) if turns else None


def _p99(row: LoadRow) -> float:
    return row.send_us.p99


def _cpu_us(row: LoadRow) -> float:
    return row.client_cpu_us

"""Holds all that one run measured, and answers questions about it. Pure; saved as JSON.

``budgets`` and ``baseline`` judge it.
"""

import statistics

import msgspec

from perf.figures import LoadRow, Percentiles, best_turns, middle_row
from perf.startup import Startup
from perf.steadiness import Steadiness

ARBSHARD = "arbshard"
QUIET_CORES = 0.1
"""Cores in use by other programs above which a measurement counts as disturbed."""
EQUAL_RATES = (1_000, 10_000)
"""Rates at which the baseline compares the latencies of all clients, in messages per second."""
PEERS = ("ccxt", "cryptofeed")
"""The clients that this system is compared with."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the machine during the run."""

    python: str
    cores: int
    cpu: str
    load_before: float
    load_after: float = 0.0
    others: tuple[str, ...] = ()
    """Other processes that used more than 10 % of a core during the run."""
    others_cores: float = 0.0
    """Cores that all other processes used on average."""
    other_work: float = 0.0
    """Share of a core that another program was asked to use while clients were measured."""
    steadiness: tuple[Steadiness, ...] = ()
    """The machine's own noise at the start and at the end of the run."""
    commit: str = ""
    quick: bool = False


class Highest(msgspec.Struct, frozen=True, kw_only=True):
    """Is the highest sustained rate of a client in one turn."""

    client: str
    processes: int
    rate: int
    """Messages per second; 0 when not even the lowest rate was sustained."""
    turn: int = 0


class Results(msgspec.Struct, kw_only=True):
    """Holds the results, which are added part by part; what was not measured is empty."""

    conditions: Conditions
    stages_us: dict[str, float] = {}
    load: list[LoadRow] = []
    """Rows of this system at the fixed rates, with several turns of a rate that peers were measured at, too."""
    equal: list[LoadRow] = []
    """Rows of the peers, turn by turn."""
    highest: list[Highest] = []
    not_measured: dict[str, str] = {}
    """Reasons by the part that was not measured."""
    approval_us: Percentiles | None = None
    wire_us: Percentiles | None = None
    """Time from the decision to the order on the wire."""
    startup: Startup | None = None
    more: dict[str, dict[str, float]] = {}
    """Figures of other measurements, by group and name."""

    def load_at(self, rate: float) -> LoadRow | None:
        """Return this system's row at ``rate``; of several turns, the one in the middle by p99."""
        return middle_row([row for row in self.load if row.rate == rate], _p99)

    def peer_at(self, client: str, rate: float) -> LoadRow | None:
        """Return the peer's row at ``rate`` with the better number of processes (lower p99), in the middle
        of its turns.
        """
        return middle_row(best_turns(self._rows_of(client, rate), _p99), _p99)

    def cheapest(self, client: str) -> LoadRow | None:
        """Return the peer's row with the least CPU time per message, at the lowest of ``EQUAL_RATES``.

        The number of processes is the better one, and the row is in the middle of its turns.
        """
        return middle_row(best_turns(self._rows_of(client, EQUAL_RATES[0]), _cpu_us), _cpu_us)

    def _rows_of(self, client: str, rate: float) -> list[LoadRow]:
        return [row for row in self.equal if row.client == client and row.rate == rate and row.decided]

    def turns_of_highest(self, client: str) -> list[Highest]:
        """Return every turn of the search with the better number of processes; none when it was not
        measured.
        """
        groups: dict[int, list[Highest]] = {}
        for one in self.highest:
            if one.client == client:
                groups.setdefault(one.processes, []).append(one)
        most = max(map(len, groups.values()), default=0)
        whole = [group for group in groups.values() if len(group) == most]
        return max(whole, key=lambda group: statistics.median(one.rate for one in group), default=[])

    def highest_of(self, client: str) -> int | None:
        """Return the median of the client's highest sustained rates; None when it was not measured."""
        turns = self.turns_of_highest(client)
        return round(statistics.median(one.rate for one in turns)) if turns else None


def _p99(row: LoadRow) -> float:
    return row.send_us.p99


def _cpu_us(row: LoadRow) -> float:
    return row.client_cpu_us

"""All that a run uses of the world: ``main`` gives real ports and the simulation virtual ones."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from arbshard.clock import Clock, lease_ns
from arbshard.data.stream import Opener
from arbshard.model.notes import RunState
from arbshard.model.universe import Universe
from arbshard.shm.doorbell import Ringer
from arbshard.venues.base.client import Fetch
from arbshard.wire.bus import Publisher
from supervisor.control import OpenControl
from supervisor.preflight import FindUniverse, ReadListings
from supervisor.processes.child import ProcessHost


class Timers(NamedTuple):
    """States how often the supervisor repeats its work, in seconds."""

    tick_s: float = 0.125
    """Time between two checks of children, feeds and changes of the universe. The end of a child is not waited for
    so long, because the kernel reports it.
    """
    beat_s: float = 0.125
    """Time between two beats."""
    note_s: float = 0.25
    """Time between two notes for status."""
    busy_tick_s: float = 0.04
    """Time between two checks while a child starts or a pair is moved, and between two looks at what the agent of a
    cluster shows.
    """


class RunObserver(Protocol):
    """Follows what the run does, in addition to the status that the run publishes."""

    def alerted(self, line: str) -> None:
        """Handle an alert: a person should know ``line``."""
        ...

    def state_changed(self, state: RunState) -> None:
        """Handle that the run has come to ``state``."""
        ...

    def start_delayed(self, why: str, pause_s: float) -> None:
        """Handle that the start waits for the venues for ``pause_s`` seconds, because of ``why``."""
        ...

    def universe_changed(self, universe: Universe) -> None:
        """Handle that ``universe`` is in force."""
        ...


class SupervisorPorts(NamedTuple):
    """Holds what a run uses of the world."""

    clock: Clock
    pid: int
    """The pid of the supervisor."""
    cpu_ns: Callable[[], int]
    """Returns the CPU time that the supervisor's loop has used so far."""
    host: ProcessHost
    open_bus: Callable[[str, int], Publisher]
    """Opens a publisher, given the endpoint and how many messages are kept for a subscriber."""
    open_server: OpenControl
    open_ringer: Callable[[Publisher, int], Ringer | None]
    """Opens the doorbell of a shard; None for the one that ``ShardNotifier`` makes itself."""
    opener: Opener
    fetch: Fetch | None
    """How feeds ask over REST; None for HTTP."""
    find_universe: FindUniverse
    read_listings: ReadListings
    note_children: Callable[[Mapping[str, int]], None]
    """Keeps the pids of the children, by name, for a successor of this supervisor. Raises ``OSError``."""
    before_trading: Callable[[], None]
    """Called once everything is up and before the first decision, for what takes tens of milliseconds."""
    observer: RunObserver
    timers: Timers = Timers()
    lease_ns: Callable[[], int] = lease_ns
    """Returns the time of the clock of leases, for a run on several hosts."""

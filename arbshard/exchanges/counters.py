"""Holds the counters of the simulated exchanges, for ``GET /sim/stats`` and the line that is printed at the end."""

from dataclasses import asdict, dataclass, field


@dataclass
class VenueCounters:
    """Holds the counters of one venue."""

    clients: int = 0
    """Clients that are connected now."""
    clients_seen: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    dropped_slow: int = 0
    """Clients dropped because they did not read what was sent."""
    closed: dict[str, int] = field(default_factory=dict)
    """Clients that the protocol disconnected, by reason."""
    rest_requests: int = 0
    withheld: int = 0
    """Replies and private events that stalled clients did not receive."""
    faults: dict[str, int] = field(default_factory=dict)
    """How often each fault happened (``/sim/faults``)."""


@dataclass
class Counters:
    """Holds the counters of the process."""

    steps: int = 0
    """Book updates made."""
    skipped_sends: int = 0
    """Book updates that were made late and not sent, so that prices catch up."""
    time_jumps: int = 0
    """How often the time grid was laid anew because the process had been suspended."""
    venues: dict[str, VenueCounters] = field(
        default_factory=lambda: {"upbit": VenueCounters(), "binance": VenueCounters()}
    )

    def to_builtins(self) -> dict[str, object]:
        """Return the counters as plain values for JSON."""
        return asdict(self)

    def line(self) -> str:
        """Return a summary in one line, for the end of the log."""
        venues = ", ".join(
            f"{name} {one.clients_seen} clients {one.frames_sent} frames {one.dropped_slow} dropped"
            for name, one in self.venues.items()
        )
        return f"{self.steps} book updates, {self.skipped_sends} sent late and skipped; {venues}"

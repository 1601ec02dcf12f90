"""Reads what risk shows on its page: its note, the open positions, and why a shard is fenced.

Risk may be replaced at any moment. What is read then is empty, and what was open still is.
"""

from arbshard.errors import SharedMemoryError
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note, open_pairs
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.pages import PageReader
from supervisor.processes.health import PageHealth
from supervisor.processes.process_supervisor import ProcessSupervisor


class RiskView:
    """Provides what risk shows on its page, whichever incarnation of it wrote the newest one."""

    def __init__(self, files: RunFiles, processes: ProcessSupervisor, *, may_be_elsewhere: bool) -> None:
        """Begin. ``may_be_elsewhere``: risk may run on another host; the agent shows its note here then."""
        self._path = files.risk_page
        self._processes = processes
        self._may_be_elsewhere = may_be_elsewhere

    @property
    def pid(self) -> int:
        """Return the pid of this host's risk process; 0 while there is none."""
        risk = self._processes.get("risk")
        return risk.pid if risk is not None else 0

    def text(self) -> bytes:
        """Return the newest note as it is; empty while there is none."""
        try:
            with PageReader.attach(self._path) as page:
                return page.note()
        except SharedMemoryError:
            return b""  # risk is being replaced

    def text_in_force(self) -> bytes:
        """Return the note of the risk process that decides now; empty while it is being replaced."""
        risk = self._processes.get("risk")
        health = risk.health if risk is not None else None
        text = health.note(risk.pid) if risk is not None and isinstance(health, PageHealth) else b""
        return self.text() if not text and self._may_be_elsewhere else text

    def note(self) -> RiskNote:
        """Return the newest note."""
        text = self.text()
        return decode_risk_note(text) if text else NO_NOTE

    def why_fenced(self, shard: int) -> str:
        """Return why risk has fenced a shard; empty where it has not."""
        return self.note().fences.get(str(shard), "")

    def held(self) -> frozenset[str]:
        """Return the bases of the pairs with an open position."""
        return frozenset(position.pair for position in self.note().positions)

    def open_pairs(self) -> frozenset[str] | None:
        """Return the bases with an open position or an intent under way, by the risk process that decides now; None
        while it shows nothing.
        """
        text = self.text_in_force()
        return open_pairs(text) if text else None

    def unattended(self, universe: Universe) -> tuple[str, ...]:
        """Return the open positions of pairs that this run does not trade: no worker closes them."""
        mine = {pair.base for pair in universe.pairs}
        return tuple(
            f"{position.pair} {position.position_id}"
            for position in self.note().positions
            if position.pair not in mine
        )

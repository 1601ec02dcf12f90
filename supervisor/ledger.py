"""Decides which ledger a run may begin with, and makes the alerts about the ledger.

It never opens the ledger: it reads what risk shows on its page and in the run's record.
"""

from collections.abc import Callable
from pathlib import Path

from arbshard.config import Config
from arbshard.ledger.file import Opening
from arbshard.ledger.record import read_record
from arbshard.model.risk_note import RiskNote
from arbshard.model.rundir import RunFiles
from supervisor.processes.health import PageHealth

_LEVELS = {
    0: "the ledger's disk has room again: {free} MB are free",
    1: "the ledger's disk is filling up: {free} MB are free (run.disk_free_min_mb)",
    2: "the ledger's disk is nearly full: {free} MB are free; nothing is entered until there is more room",
}
"""Texts of alerts by ``disk_room`` on risk's page."""


def ledger_in(state_dir: Path) -> Path:
    """Return the path of an instance's ledger."""
    return state_dir / "ledger.sqlite"


def opening_of(config: Config, *, is_new: bool) -> Opening:
    """Return what must be at the ledger's path when a run starts. ``is_new``: a person wants a new ledger.

    A ledger of real accounts begins with the first statement of the venues: begun by mistake (a state directory that
    is not mounted, a wrong path) it would take over the very balances that would have shown the loss. A dry run
    writes the same ledger, so the same holds. The accounts of the embedded exchanges are new with each run.
    """
    if is_new:
        return "new"
    return "existing" if config.mode == "live" and config.data == "public" else "any"


def describe_open(note: RiskNote) -> str:
    """Describe what was open according to the last note of risk."""
    if not note.positions and not note.open_intents:
        return "nothing was open by its last report"
    held = ", ".join(f"{one.pair} {one.position_id}" for one in note.positions)
    return (
        f"by its last report {len(note.positions)} positions were open ({held or 'none'}) and "
        f"{note.open_intents} intents under way; a start with the right ledger takes them over"
    )


def describe_unclosable(note: RiskNote) -> str:
    """Describe which pairs could not be closed, and why, as the end of a sentence."""
    return "".join(f"; {pair}: not closed, {why}" for pair, why in note.unclosable.items())


class LedgerAlerts:
    """Turns what risk shows of its ledger into alerts, each once."""

    def __init__(
        self, files: RunFiles, state_dir: Path, config: Config, alert: Callable[[str], None]
    ) -> None:
        self._files = files
        self._path = ledger_in(state_dir)
        self._alert = alert
        self._page = PageHealth(files.risk_page, "ready", 1)
        self._is_known = config.mode != "live"
        """Whether the run's record was read, or need not be."""
        self._pid = 0
        self._room = 0
        self._used = 0

    def poll(self, pid: int) -> None:
        """Read both pages; a few times a second. ``pid``: that of the risk process that runs, or has just ended."""
        if not self._is_known:
            noted = read_record(self._files.ledger_page)
            self._is_known = noted is not None
            if noted is not None and noted.is_new:
                self._alert(f"new ledger: {self._path} begins with this run and knows nothing from before")
        if pid != self._pid:
            self._pid, self._used = pid, 0
        used = self._page.value("reserve_used", pid)
        if used > self._used:
            self._used = used
            self._alert(
                "the ledger's disk was full: the reserve beside the ledger was given up to go on writing"
            )
        room = self._page.value("disk_room", pid)
        if room != self._room and self._page.is_up(pid):
            self._room = room
            self._alert(_LEVELS[room].format(free=self._page.value("disk_free_mb", pid)))

    def close(self) -> None:
        """Detach from the page."""
        self._page.close()

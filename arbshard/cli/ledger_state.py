"""Reads from a ledger the state of an instance that does not run: how it ended, what is open, what is halted."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from arbshard.cli.options import ConfigOption, NameOption, StateOption, config_of, state_dir_of
from arbshard.ledger.events import SUPERVISOR_VANISHED, Stopped
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import newest_state as replay_newest
from arbshard.model.rundir import LOCK
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState

_PAIRS_SHOWN = 8


class Remains(msgspec.Struct, frozen=True):
    """Describes what is left of an instance that does not run, by its ledger."""

    name: str
    ledger: str
    ended: str
    """Time at which it ended, ISO 8601; of a run that was cut off, the time of its last event. Empty before any
    event.
    """
    cut_off: str
    """Reason why it did not end in order; empty when it did."""
    open_positions: tuple[str, ...]
    """Pair and id of each position, oldest first."""
    open_intents: int
    """Number of trades that were under way; the next start concludes them."""
    halted: str
    """Reason why entries are halted; empty when they are not."""
    apart: tuple[str, ...]
    """Pairs that are set apart."""
    state: str = "not running"

    def sentence(self) -> str:
        """Return all of it in one line."""
        if not self.ended:
            how = "nothing has happened yet"
        elif self.cut_off:
            how = f"cut off: {self.cut_off}; the last event is of {self.ended}"
        else:
            how = f"stopped in order at {self.ended}"
        parts = [how, self._open()]
        if self.open_intents:
            trades = "trade was" if self.open_intents == 1 else "trades were"
            parts.append(f"{self.open_intents} {trades} under way, which the next start concludes")
        parts.append(f"HALTED {self.halted}" if self.halted else "not halted")
        if self.apart:
            parts.append(f"set apart: {', '.join(self.apart)}")
        return "; ".join(parts)

    def _open(self) -> str:
        count = len(self.open_positions)
        if not count:
            return "no open positions"
        more = f" and {count - _PAIRS_SHOWN} more" if count > _PAIRS_SHOWN else ""
        named = ", ".join(one.partition(" ")[0] for one in self.open_positions[:_PAIRS_SHOWN])
        return f"{count} open {'position' if count == 1 else 'positions'} ({named}{more})"


def newest_state(path: Path) -> PortfolioState:
    """Return the state after the last event. Raises ``UsageError`` (no ledger) and ``LedgerError``."""
    with LedgerReader(path) as reader:
        return replay_newest(reader, PortfolioCodec())


def remains_of(name: str, path: Path, *, has_run_dir: bool = False) -> tuple[Remains, PortfolioState]:
    """Return what is left by the ledger at ``path``, and its newest state.

    ``has_run_dir`` is whether the run directory still exists. An orderly end removes it, so the supervisor was
    killed or has crashed, even where the ledger does not show it. Raises ``UsageError`` (no ledger) and
    ``LedgerError``.
    """
    with LedgerReader(path) as reader:
        state = replay_newest(reader, PortfolioCodec())
        extent = reader.extent_ms()
        stops = [reader.decode(row[0], row[-1]) for row in reader.rows(("Stopped",))][-1:]
    cut_off = ""
    if state.session and not state.is_stopped and state.term:
        # The copy of a host that has left ends wherever the leader was, which goes on elsewhere.
        cut_off = (
            f"host {state.leader} of the cluster led and had not closed the ledger; "
            "hosts that have not left go on, unless all of them were killed"
        )
    elif state.session and not state.is_stopped:
        cut_off = "risk has not closed the ledger; it was killed or has crashed, or the computer went down"
    elif stops:
        (stop,) = stops
        assert isinstance(stop, Stopped), stop
        cut_off = stop.cut_off
    if has_run_dir and not cut_off:
        cut_off = SUPERVISOR_VANISHED
    halt = state.standing.halt
    positions = sorted(state.positions.values(), key=lambda one: one.opened_ms)
    remains = Remains(
        name=name,
        ledger=str(path),
        ended=_iso(extent[1]) if extent is not None else "",
        cut_off=cut_off,
        open_positions=tuple(f"{one.pair} {one.position_id}" for one in positions),
        open_intents=len(state.trades),
        halted=f"since {_iso(halt.at_ms)} ({halt.cause}): {halt.reason or 'no reason given'}" if halt else "",
        apart=tuple(state.standing.apart),
    )
    return remains, state


def find_remains(
    name: NameOption, config: ConfigOption, state_dir: StateOption
) -> tuple[Remains, PortfolioState] | None:
    """Return what is left of the instance of these options, and its newest state; None when it has no ledger.

    Raises ``LedgerError``.
    """
    from supervisor.places import find_run_dir

    instance = config_of(name, config).name
    run_dir = find_run_dir(instance)
    given = state_dir or last_state_dir(run_dir)
    path = (Path(given) if given else state_dir_of(name, config, None)) / "ledger.sqlite"
    if not path.is_file():
        return None
    return remains_of(instance, path, has_run_dir=(run_dir / LOCK).is_file())


def last_state_dir(run_dir: Path) -> str:
    """Return where the run with this run directory keeps its ledger; empty when there is no such run."""
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector

    status = Collector(run_dir, SystemClock()).collect()
    return status.state_dir if status is not None else ""


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")

"""Reads what an analysis needs: the ledger with its archives, the logs, the summary, the series and the tape of a
run.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from arbshard.errors import UsageError
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.reader import EVER
from arbshard.optional import how_to_install
from arbshard.report.facts import KINDS, RunFacts
from arbshard.report.logs import LogsRead, read_logs
from arbshard.report.model import RecordedVenue
from arbshard.status.model import RuleWorth

if TYPE_CHECKING:
    from arbshard.report.sampled import Sampled


class RunSummary(msgspec.Struct, frozen=True):
    """Holds what an analysis needs of ``summary.json``; other keys are not read."""

    refusals: dict[str, int] = {}
    data_refusals: dict[str, int] = {}
    rules: dict[str, RuleWorth] = {}
    problems: tuple[str, ...] = ()
    duration_s: float = 0.0


class Sources(NamedTuple):
    """Holds everything that was read of one state directory."""

    state_dir: Path
    name: str
    since_ms: int
    events: int
    """Number of events that the ledger and its archives hold."""
    facts: RunFacts
    logs: LogsRead
    summary: RunSummary | None
    sampled: "Sampled | None" = None
    """None when there are no series, or pyarrow is not installed."""
    unsampled: str = "the run has kept none"
    """Why there are no series; empty when there are."""
    recorded: tuple[RecordedVenue, ...] = ()
    """Empty when there is no recording, or pyarrow is not installed."""
    unrecorded: str = ""
    """Why a recording was not read, or not to its end."""


def read_sources(state_dir: Path, since_ms: int = EVER) -> Sources:
    """Read everything, also while the instance runs. Raises ``UsageError``, ``LedgerError``."""
    facts = RunFacts()
    with LedgerHistory(state_dir / "ledger.sqlite") as history:
        name, events = history.live.meta.get("name", ""), history.live.last_seq
        for seq, _, _, _, _, body in history.rows(KINDS, since_ms):
            facts.add(history.decode(seq, body))
    facts.finish()
    try:
        logs = read_logs(state_dir / "logs", since_ms)
    except OSError as error:
        raise UsageError(f"{state_dir / 'logs'}: the logs cannot be read: {error.strerror}") from error
    sources = Sources(state_dir, name, since_ms, events, facts, logs, _summary(state_dir / "summary.json"))
    if find_spec("pyarrow") is None:
        why = f"pyarrow is not installed: {how_to_install('pyarrow')}"
        return sources._replace(
            unsampled=why if (state_dir / "series").is_dir() else sources.unsampled,
            unrecorded=why if (state_dir / "tape").is_dir() else "",
        )
    if (state_dir / "series").is_dir():
        from arbshard.report.sampled import read_sampled

        sources = sources._replace(sampled=read_sampled(state_dir, since_ms, facts.currency), unsampled="")
    if (state_dir / "tape").is_dir():
        from arbshard.report.recorded import read_recorded

        recorded, unrecorded = read_recorded(state_dir / "tape", since_ms)
        sources = sources._replace(recorded=recorded, unrecorded=unrecorded)
    return sources


def _summary(path: Path) -> RunSummary | None:
    """Read the summary; None when there is none. Raises ``UsageError``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunSummary)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: not the summary that 'arbshard run --summary' writes: {error}") from error

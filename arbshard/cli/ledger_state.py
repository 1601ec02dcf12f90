"""The state that a ledger adds up to, for commands about an instance that does not run. Reads only."""

from pathlib import Path

from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import newest_state as replay_newest
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState


def newest_state(path: Path) -> PortfolioState:
    """The state after the last event. Raises ``UsageError`` (no ledger), ``LedgerError``."""
    with LedgerReader(path) as reader:
        return replay_newest(reader, PortfolioCodec())

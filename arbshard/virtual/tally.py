"""Counts of a run, for the report at its end."""

from collections import Counter
from decimal import Decimal

from arbshard.status.model import RuleWorth

_CODES = {-9: "killed", 0: "ended in order", 1: "defect", 3: "ledger", 4: "orphaned", 5: "fenced"}


class OracleCounts:
    """What the oracle counts besides judging."""

    def __init__(self) -> None:
        self.run = ""
        """Name of the newest session."""
        self.approved = 0
        self.entries = 0
        self.exits = 0
        self.won = 0
        """Positions that were closed with a profit."""
        self.fenced = 0
        self.pnl = Decimal(0)
        self.orders: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Requests, by risk."""
        self.barred: Counter[str] = Counter()
        """Evaluations, by workers: the same counts as in the summary of a run."""
        self.worth: dict[str, RuleWorth] = {}
        """What entries that workers refused would have brought, by the rule."""
        self.reasons: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        """Ends of processes, by kind and how they ended."""

    def followed(self, reason: str, pnl: float) -> None:
        """Count a refused entry that was followed to its end and would have brought ``pnl``."""
        self.worth[reason] = self.worth.get(reason, RuleWorth()).add(RuleWorth(1, int(pnl > 0), round(pnl)))

    def ended(self, name: str, code: int) -> None:
        """Count the end of a process with exit code ``code``."""
        self.ends[f"{name.split('-', maxsplit=1)[0]} {_CODES.get(code, str(code))}"] += 1

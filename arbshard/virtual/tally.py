"""Contains the counts of a run, for the report at its end."""

from collections import Counter
from decimal import Decimal

_CODES = {-9: "killed", 0: "ended in order", 1: "defect", 3: "ledger", 4: "orphaned", 5: "fenced"}


class OracleCounts:
    """Holds what the oracle counts in addition to judging."""

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
        """Requests that risk refused, by reason."""
        self.barred: Counter[str] = Counter()
        """Evaluations that workers refused, by reason: the same counts as in the summary of a run."""
        self.worth: dict[str, tuple[int, int, int]] = {}
        """Entries that workers refused, by the rule: how many were followed, how many of them would have won, and
        what all would have brought, in reporting currency.
        """
        self.reasons: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        """Ends of processes, by kind and how they ended."""

    def followed(self, reason: str, pnl: float) -> None:
        """Count a refused entry that was followed to its end and would have brought ``pnl``."""
        followed, won, brought = self.worth.get(reason, (0, 0, 0))
        self.worth[reason] = (followed + 1, won + (pnl > 0), brought + round(pnl))

    def ended(self, name: str, code: int) -> None:
        """Count the end of a process with exit code ``code``."""
        self.ends[f"{name.split('-', maxsplit=1)[0]} {_CODES.get(code, str(code))}"] += 1

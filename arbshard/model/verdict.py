"""Defines what was found wrong in a run, and the judgement on a whole campaign. Campaigns make them, reports show
them.
"""

from typing import Literal

import msgspec

Severity = Literal["note", "warn", "stop"]
"""``note``: a person may want to know it. ``warn``: a person should look at it. ``stop``: the attempt is ended."""

Outcome = Literal["passed", "failed", "could_not_run"]


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Is one thing that a rule found wrong, from when to when. All times are wall times in ms."""

    rule: str
    """The name of the rule, as in the campaign's file."""
    severity: Severity
    first_ms: int
    last_ms: int
    """The last time at which it was seen."""
    subject: str
    """What it is about: a shard, a venue, a pair, a process, a refusal; empty for the whole run."""
    text: str
    """One sentence for people."""
    value: float | None = None
    """The measured value; None where nothing was measured."""
    limit: float | None = None
    """The value that the rule allows, in the unit of ``value``."""
    log: str | None = None
    """The line of a log that shows it, as it was written; None where none does."""


class VerdictCheck(msgspec.Struct, frozen=True):
    """Is one question that the verdict asks."""

    name: str
    passed: bool
    text: str
    """One sentence with the figures of the answer."""


class Verdict(msgspec.Struct, frozen=True):
    """Says whether a campaign passed, and why."""

    outcome: Outcome
    reasons: tuple[str, ...]
    """Why it did not pass, one sentence each; for a campaign that passed, the figures that support this."""
    checks: tuple[VerdictCheck, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 when the campaign passed, 1 when it failed, and 2 when it could not run."""
        return {"passed": 0, "failed": 1, "could_not_run": 2}[self.outcome]

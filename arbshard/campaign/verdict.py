"""Decides whether a campaign passed. It is pure, and uses the ledgers, not what the run shows of itself.

A strategy that always wins, earns more than its edges allow, or whose paper orders meet exactly the books of the
decision is not believed: these are the signs of a simulation that is too kind.
"""

from collections.abc import Iterator, Sequence
from math import sqrt

import msgspec

from arbshard.campaign.facts import TradingFacts
from arbshard.campaign.file import VerdictConfig
from arbshard.campaign.rules import name_refusals
from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO
from arbshard.model.verdict import Anomaly, Verdict, VerdictCheck

_LUCK = 5.0
_SETTLING_S = 15.0
"""Seconds in which each attempt may start and close its positions. The monitor samples what is between."""


class CampaignFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds everything on which the verdict is based."""

    ledger: TradingFacts
    wanted_s: float
    """The duration that was asked for."""
    ran_s: float
    """How long the system ran."""
    watched_s: float | None
    """How long the monitor watched it; None in the simulation, which has no monitor."""
    is_paper: bool = True
    stopped: tuple[str, ...] = ()
    """Attempts that ended before their time, each with the reason."""
    anomalies: tuple[Anomaly, ...] = ()
    refused: dict[str, int] = {}
    """Number of evaluations that workers or risk refused, by rule."""
    run_problems: tuple[str, ...] = ()
    """Why the last run did not end cleanly."""
    violations: tuple[str, ...] = ()
    """What the judges of the simulation found."""
    interrupted: bool = False
    """Whether a person ended it before its time."""


def judge(facts: CampaignFacts, rules: VerdictConfig) -> Verdict:
    """Return the verdict, with every check."""
    checks = tuple(_checks(facts, rules))
    failed = tuple(check.text for check in checks if not check.passed)
    if failed:
        return Verdict("failed", failed, checks)
    one = facts.ledger
    rate = 100 * one.wins / one.exits if one.exits else 0.0
    text = f"{one.entries:,} entries, {one.exits:,} exits, {rate:.1f} % won, PnL {one.pnl:,.0f}"
    return Verdict("passed", (f"{text}; all {len(checks)} checks hold", *_refused(facts)), checks)


def _refused(facts: CampaignFacts) -> Iterator[str]:
    """Yield what kept it from trading more; nothing when no edge was refused."""
    if named := name_refusals(facts.refused):
        yield f"evaluations with an edge were refused by {named}"


def could_not_run(why: str) -> Verdict:
    """Return the verdict of a campaign that did not begin."""
    return Verdict("could_not_run", (why,), ())


def _checks(facts: CampaignFacts, rules: VerdictConfig) -> Iterator[VerdictCheck]:
    one = facts.ledger
    yield _check(
        "ledger_readable",
        not one.unreadable,
        "the ledger can be read",
        f"the ledger cannot be read: {one.unreadable}",
    )
    yield _check(
        "ledger_verified",
        not one.differences,
        "everything in the ledger follows from its fills",
        f"the ledger contradicts its fills: {_some(one.differences)}",
    )
    yield _check(
        "finite",
        not one.not_finite,
        "all figures are numbers",
        f"figures are not numbers: {_some(one.not_finite)}",
    )
    yield _check(
        "trades",
        one.entries >= rules.entries_min,
        "; ".join((f"{one.entries:,} positions were opened", *_refused(facts))),
        f"{one.entries:,} positions were opened, {rules.entries_min:,} are wanted; "
        + next(_refused(facts), "no rule refused an edge, so there was none to enter on"),
    )
    yield _check(
        "exits",
        not one.open_count and one.exits >= min(one.entries, 1),
        "every position that was opened was closed",
        f"{one.open_count:,} of {one.entries:,} positions were opened and not closed: {_some(one.open)}",
    )
    yield _check(
        "losses",
        one.exits <= rules.all_won_max or one.losses > 0,
        f"{one.wins:,} of {one.exits:,} positions were won",
        f"all of {one.exits:,} positions were won, which is not credible",
    )
    yield from _edges(facts, rules)
    share = facts.ran_s / facts.wanted_s
    yield _check(
        "time",
        share >= rules.ran_share_min,
        f"it ran for {facts.ran_s:,.0f} s of {facts.wanted_s:,.0f} s",
        f"it ran for {facts.ran_s:,.0f} s of {facts.wanted_s:,.0f} s only"
        + ", for it was interrupted" * facts.interrupted,
    )
    yield from _course(facts, rules)


def _edges(facts: CampaignFacts, rules: VerdictConfig) -> Iterator[VerdictCheck]:
    """Check that results come from the edges that were decided on, and that orders met other books than these."""
    one = facts.ledger
    # By how much entries filled better than promised, and exits. Worse fills of one do not offset the other.
    beyond = max(one.arrived - one.decided, ZERO) + max(one.kept - one.promised, ZERO)
    beyond_bps = float(MONEY_CONTEXT.divide(beyond, one.turnover) * BPS) if one.turnover > 0 else 0.0
    # Single trades may be lucky: books move for us while an order is on its way. The mean's scatter falls with the
    # root of their number.
    allowed_bps = rules.beyond_edge_bps_max * (1 + _LUCK / sqrt(max(one.entries, 1)))
    yield _check(
        "edges",
        beyond_bps <= allowed_bps,
        f"fills were {beyond_bps:.2f} bps better than the books of the decisions, of {allowed_bps:.2f} allowed",
        f"the result is {beyond:,.0f} ({beyond_bps:.2f} bps of the turnover) beyond what the edges at the decisions"
        f" allow; up to {allowed_bps:.2f} bps is credible",
    )
    if not facts.is_paper:
        return
    share = one.same / one.measured if one.measured else 0.0
    yield _check(
        "arrival",
        one.measured < rules.same_edge_min or share <= rules.same_edge_share_max,
        f"{one.same:,} of {one.measured:,} entries filled exactly as decided",
        f"{one.same:,} of {one.measured:,} entries filled exactly as decided: the paper venue meets the books of the"
        " decision, not those of the arrival",
    )


def _course(facts: CampaignFacts, rules: VerdictConfig) -> Iterator[VerdictCheck]:
    """Check the course of the campaign."""
    if facts.watched_s is not None:
        yield _check(
            "watched",
            facts.watched_s
            >= rules.watched_share_min * (facts.ran_s - _SETTLING_S * (1 + len(facts.stopped))),
            f"the monitor watched for {facts.watched_s:,.0f} s",
            f"the monitor watched for {facts.watched_s:,.0f} s of {facts.ran_s:,.0f} s only",
        )
    yield _check(
        "attempts",
        len(facts.stopped) <= rules.stopped_max,
        f"{len(facts.stopped)} attempts ended before their time",
        f"{len(facts.stopped)} attempts ended before their time: {_some(facts.stopped)}",
    )
    warnings = [one for one in facts.anomalies if one.severity == "warn"]
    yield _check(
        "warnings",
        len(warnings) <= rules.warnings_max,
        f"{len(warnings)} anomalies of severity warn",
        f"{len(warnings)} anomalies of severity warn, at most {rules.warnings_max} are allowed:"
        f" {_some([one.text for one in warnings])}",
    )
    yield _check(
        "end",
        not facts.run_problems,
        "the last run ended cleanly",
        f"the last run did not end cleanly: {_some(facts.run_problems)}",
    )
    yield _check(
        "invariants",
        not facts.violations,
        "all invariants held",
        f"the simulation violates an invariant: {_some(facts.violations)}",
    )


def _check(name: str, passed: bool, holds: str, fails: str) -> VerdictCheck:
    return VerdictCheck(name, passed, holds if passed else fails)


def _some(texts: Sequence[str], most: int = 3) -> str:
    more = f" and {len(texts) - most} more" * (len(texts) > most)
    return "; ".join(texts[:most]) + more

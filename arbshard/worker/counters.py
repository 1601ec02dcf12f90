"""What a worker counts: the names on its page. Written by ``meter.py``, read by ``arbshard.status``."""

from collections.abc import Iterable

from arbshard.model.refusal import Refusal
from arbshard.venues.registry import TRADED

DATA_REFUSALS = tuple(reason for reason in Refusal if reason >= 200)
"""Reasons that are found in the worker, before risk is asked: its own, and those that bar entries as risk says."""

FOLLOWED = ("followed", "would_win", "would_bring")
"""Of refused entries that were followed, by reason: how many, how many would have won, and what they would have
brought together, in whole units of the reporting currency."""

LIVE_COUNTERS = (
    "asks",
    "unknown",
    "dry_run",
    "budget_waits",
    "budget_refused",
    "rate_limited",
    "warm_failed",
    "unreadable",
    "unknown_words",
    "events",
    "events_lost",
    "events_bad",
)
"""With ``mode = "live"``. ``asks``: questions how an order stands; ``unknown``: orders whose end did not come in
time; ``budget_waits`` and ``budget_refused``: calls that had to wait for the rate budget, and that did not get it;
``rate_limited``: answers 429 and 418; ``unknown_words``: answers with an order state that is in no table;
``events``: private events heard of our orders."""


def counters(traded: Iterable[str] = TRADED) -> tuple[str, ...]:
    """The names of all counters of a run on the venues ``traded``."""
    return (
        "pid",
        "epoch",
        "state",
        "beat",
        "beat_ns",
        "seen",
        "pairs",
        "frames",
        "conflated",
        "ticks",
        *(f"bad_{venue}" for venue in traded),
        "overflows",
        "torn",
        "opportunities",
        "approved",
        "refused",
        "late",
        "silent",
        "orders",
        "rejected",
        "partial",
        "fills",
        "busy",
        "errors",
        "universe",
        *LIVE_COUNTERS,
        *(f"refusal_{reason.name}" for reason in DATA_REFUSALS),
        *(f"{what}_{reason.name}" for reason in DATA_REFUSALS for what in FOLLOWED),
    )


GAUGES = frozenset({"pid", "epoch", "state", "beat", "beat_ns", "seen", "pairs", "busy", "universe"})
"""Of the counters, those that say something of one incarnation only: they are not added to its predecessors'."""

HISTOGRAMS = ("receive_decision", "decision_approval", "decision_wire", "loop_gap")
"""Nanoseconds. ``decision_wire``: until a leg's request was handed to the socket, live only. ``loop_gap``: how late
the worker's timer came: the longest anything waited."""


def answer_histogram(venue: str) -> str:
    """The name of the histogram of a venue's answers: from sending an order that it accepted to the order's end."""
    return f"answer_{venue}"


def histograms(traded: Iterable[str] = TRADED) -> tuple[str, ...]:
    """The names of all histograms of a run on the venues ``traded``; all are in nanoseconds."""
    return (*HISTOGRAMS, *map(answer_histogram, traded))

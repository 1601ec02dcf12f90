"""Names what a worker counts on its page. ``meter`` writes the counters, and ``arbshard.status`` reads them."""

from collections.abc import Iterable

from arbshard.model.refusal import Refusal
from arbshard.venues.registry import TRADED

DATA_REFUSALS = tuple(reason for reason in Refusal if reason >= 200)
"""Reasons that the worker finds before risk is asked: its own, and those by which risk bars entries."""

FOLLOWED = ("followed", "would_win", "would_bring")
"""Counters of refused entries that were followed, by reason: how many, how many would have won, and what they would
have brought together, in whole units of the reporting currency."""

LIVE_COUNTERS = (
    "asks",
    "unknown",
    "dry_run",
    "budget_waits",
    "budget_refused",
    "rate_limited",
    "warm_failed",
    "logons_lost",
    "withheld",
    "rules_broken",
    "unreadable",
    "unknown_words",
    "events",
    "events_lost",
    "events_bad",
)
"""Counters with ``mode = "live"``. ``asks``: queries of an order's state; ``unknown``: orders whose end did not come
in time; ``budget_waits`` and ``budget_refused``: calls that had to wait for the rate budget, and that did not get it;
``rate_limited``: answers 429 and 418; ``logons_lost``: calls in place of whose answer the venue ended the logon of
their connection; ``withheld``: orders that were not sent after all, because a new connection had to be opened and
took too long; ``rules_broken``: trades of which neither leg was sent, because one breaks its market's present rules;
``unknown_words``: answers with an order state that is in no table; ``events``: private events received about our
orders."""


def counters(traded: Iterable[str] = TRADED) -> tuple[str, ...]:
    """Return the names of all counters of a run on the venues ``traded``."""
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
"""Counters that concern one incarnation only: they are not added to its predecessors'."""

HISTOGRAMS = ("receive_decision", "decision_approval", "decision_wire", "loop_gap")
"""Histograms of nanoseconds. ``decision_wire``: until a leg's request was handed to the socket, live only.
``loop_gap``: by how much the worker's timer was late, which is the longest that anything waited."""


def answer_histogram(venue: str) -> str:
    """Return the name of the histogram of a venue's answers: from sending an accepted order to its end."""
    return f"answer_{venue}"


def wire_histogram(venue: str) -> str:
    """Return the name of the histogram of a venue's entries, live: from the receipt of the newer of both books until
    the leg was handed to the socket.
    """
    return f"book_wire_{venue}"


def histograms(traded: Iterable[str] = TRADED) -> tuple[str, ...]:
    """Return the names of all histograms of a run on the venues ``traded``; all are in nanoseconds."""
    names = tuple(traded)
    return (*HISTOGRAMS, *map(answer_histogram, names), *map(wire_histogram, names))

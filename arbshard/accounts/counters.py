"""Names what the accounts process counts on its page. ``meter.py`` writes it, ``arbshard.status`` reads it."""

from collections.abc import Iterable

from arbshard.venues.registry import TRADED

_PER_VENUE = (
    "stream_up",
    "reconnects",
    "events",
    "repeated",
    "foreign",
    "bad_frames",
    "unknown_words",
    "polls",
    "poll_errors",
    "statements",
    "unsettled",
    "statement_ms",
    "skew_ms",
    "wallet_errors",
    "fee_errors",
)
"""``stream_up``: 1 while the private stream is on. ``events``: order events published. ``repeated``: reports without
news. ``foreign``: reports of orders that are not ours. ``unknown_words``: orders reported in a state that is in no
table. ``unsettled``: statements between whose readings something changed. ``statement_ms``: wall time of the newest
one. ``skew_ms``: how far the venue's clock is ahead of ours. ``wallet_errors``: questions about deposits and
withdrawals that failed. ``fee_errors``: questions about the account's fees that failed.
"""


def counters(traded: Iterable[str] = TRADED) -> tuple[str, ...]:
    """Return the names of all counters of a run on the venues ``traded``."""
    return (
        "pid",
        "ready",
        "beat",
        "beat_ns",
        "errors",
        "silent",
        "denied",
        "unreceived",
        "budget_waits",
        "budget_refused",
        "rate_limited",
        *(f"{name}_{venue}" for venue in traded for name in _PER_VENUE),
    )


"""``silent``: statements that risk did not answer. ``denied``: those it refused. The third: events to which no
worker had subscribed.
"""

HISTOGRAMS = ("loop_gap",)

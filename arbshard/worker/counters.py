"""What a worker counts: the names on its page. Written by ``meter.py``, read by ``arbshard.status``."""

from arbshard.model.refusal import Refusal

DATA_REFUSALS = tuple(reason for reason in Refusal if 200 <= reason < 300 or reason is Refusal.NOT_FUNDED)
"""Reasons that are found in the worker, before risk is asked."""


COUNTERS = (
    "pid",
    "epoch",
    "state",
    "beat",
    "beat_ns",
    "pairs",
    "frames",
    "conflated",
    "ticks",
    "bad_upbit",
    "bad_binance",
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
    *(f"refusal_{reason.name}" for reason in DATA_REFUSALS),
)

HISTOGRAMS = ("receive_decision", "decision_approval", "loop_gap")
"""Nanoseconds. ``loop_gap``: how late the worker's timer came: the longest anything waited."""

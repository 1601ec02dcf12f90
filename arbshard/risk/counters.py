"""What the risk process counts: the names on its page. Written by ``service`` and ``assembly``, read by status."""

from arbshard.config.run import SHARDS_MAX

COUNTERS = (
    "pid",
    "ready",
    "session",
    "beat",
    "beat_ns",
    "requests",
    "batches",
    "repeated",
    "bad",
    "bad_frames",
    "unsent",
    "unviewed",
    "approvals",
    "refusals",
    "stale",
    "events",
    "checkpoints",
    "doubted",
    "open_positions",
    "open_intents",
    "entries",
    "exits",
    "errors",
    "instructions",
    "terms",
    "halted",
    "listing_wanted",
    "commands",
    "breaks",
    "universe",
    "fenced",
    "closed",
    "disk_free_mb",
    "disk_room",
    "reserve_kept",
    "reserve_used",
    "archived",
    "archive_failures",
    *(f"fence_{shard}" for shard in range(SHARDS_MAX)),
)
"""``repeated``: requests that made no event because they were known. ``bad``: messages that are no requests.
``bad_frames``: bytes that are no messages. ``unviewed``: entries whose limit prices were compared with no books,
because risk had read none of the pair lately.
``stale``: refusals to replaced incarnations (part of ``refusals``). ``doubted``: positions called done of which too
much was left. ``entries`` and ``exits`` of this session. ``instructions``: changes with what workers are to do beside
trading (``OperatorState.serial``). ``terms``: changes with what entries they may make. ``commands``: of operators.
``breaks``: times that the books did not balance.
``universe``: serial of the one risk goes by.
``closed``: 1 once the session was ended in order and the ledger was read back after its close: the note is final.
``disk_free_mb``: free on the ledger's disk. ``disk_room``: ``disk.Room``. ``reserve_kept``: whether the reserve
beside the ledger is there; ``reserve_used``: times that it was given up.
``archived``: periods of the ledger that were moved into archives; ``archive_failures``: attempts that failed.
``fenced``: workers taken out because they were stuck. ``fence_<shard>``: the lowest epoch that may still trade."""

GAUGES = frozenset(
    {
        "pid", "ready", "session", "beat", "beat_ns", "doubted", "open_positions", "open_intents", "entries", "exits",
        "instructions", "terms", "halted", "listing_wanted", "universe", "closed", "disk_free_mb", "disk_room",
        "reserve_kept", *(f"fence_{shard}" for shard in range(SHARDS_MAX)),
    }
)  # fmt: skip
"""Of the counters, those that are as the newest incarnation says and are not added to those of its predecessors."""

HISTOGRAMS = ("handle", "commit", "loop_gap")
"""Nanoseconds. ``handle``: a whole batch, from bytes to bytes, with its commit. ``loop_gap``: how late the timer
came: the longest anything waited."""

NOTE_BYTES = 1 << 20
"""Room for the note (``note.RiskNote``) of 1,000 pairs."""

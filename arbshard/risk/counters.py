"""Defines the names of the counters on the page of risk. ``service`` and ``assembly`` write it, status reads it."""

from arbshard.config.run import SHARDS_MAX
from arbshard.model.cluster_note import LEADING_COUNTS, LEADING_GAUGES

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
    *LEADING_GAUGES,
    *LEADING_COUNTS,
    *(f"fence_{shard}" for shard in range(SHARDS_MAX)),
)
"""``repeated``: requests that made no event because they were known. ``bad``: messages that are not requests.
``bad_frames``: invalid bytes. ``unviewed``: entries whose limit prices were compared with no books, because risk had
read none of the pair lately. ``stale``: refusals to replaced incarnations (part of ``refusals``). ``doubted``:
positions called done of which too much was left. ``entries`` and ``exits`` of this session. ``instructions``:
changes with what workers are to do beside trading (``OperatorState.serial``). ``terms``: changes with what entries
they may make. ``commands``: of operators. ``breaks``: times that the books did not balance. ``universe``: serial of
the one risk uses. ``closed``: 1 once the session was ended in order and the ledger was read back after its close:
the note is final. ``disk_free_mb``: free on the ledger's disk. ``disk_room``: ``disk.Room``. ``reserve_kept``:
whether the reserve beside the ledger is there; ``reserve_used``: times that it was given up. ``archived``: periods
of the ledger that were moved into archives; ``archive_failures``: attempts that failed. ``fenced``: workers fenced
because they were stuck.
``fence_<shard>``: the lowest epoch that may still trade.

On the leader of a cluster: ``model.cluster_note.LEADING_GAUGES`` and ``LEADING_COUNTS``.
"""

GAUGES = frozenset(
    {
        "pid", "ready", "session", "beat", "beat_ns", "doubted", "open_positions", "open_intents", "entries", "exits",
        "instructions", "terms", "halted", "listing_wanted", "universe", "closed", "disk_free_mb", "disk_room",
        "reserve_kept", *LEADING_GAUGES,
        *(f"fence_{shard}" for shard in range(SHARDS_MAX)),
    }
)  # fmt: skip
"""Counters that are as the newest incarnation sets them and are not added to those of its predecessors."""

HISTOGRAMS = ("handle", "commit", "loop_gap")
"""In nanoseconds. ``handle``: a whole batch, from bytes to bytes, with its commit. ``loop_gap``: how late the timer
came: the longest that anything waited.
"""

NOTE_BYTES = 1 << 20
"""Size in bytes of the note (``note.RiskNote``), enough for 1,000 pairs."""

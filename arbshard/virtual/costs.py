"""Defines how much CPU time callbacks take on the virtual machine. These are values; ``loop`` charges them to the
process that runs.

They are constants and never measured while a simulation runs, or two runs of one seed would differ. Their sizes are
those of ``docs/performance.md``, and of a slow machine where that page gives none: what matters is which callbacks
are heavy. All are in nanoseconds.
"""

CALLBACK_NS = 20_000
"""Time for any callback: a frame is routed, a tick evaluated, or a request handled."""
COMMIT_NS = 400_000
"""Time for a transaction of the ledger."""
EVENT_NS = 20_000
"""Time for each event in a transaction."""
START_CHILD_NS = 8_000_000
"""Time to start a process."""
ERROR_NS = 3_000_000
"""Time to log an error with its traceback."""
UNIVERSE_NS = 1_000_000
"""Time to write a universe."""

SLOW_NS = 100_000_000
"""Longest time that any callback may block a process's loop: soon after it, those who wait for its beat regard it as
dead.
"""
SLACK_NS = 1_000_000
"""Delay below which a process runs as if it were not late: a cheap callback must not cost a timer each time."""

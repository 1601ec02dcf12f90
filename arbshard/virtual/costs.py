"""What callbacks take on the virtual machine. Values; ``loop`` charges them to the process that runs.

They are constants and never measured while a simulation runs, or two runs of one seed would differ. Their sizes
are those of ``docs/performance.md``, and of a slow machine where it says nothing: what counts is which callbacks are
heavy.
"""

CALLBACK_NS = 20_000
"""Any callback: a frame routed, a tick evaluated, a request handled."""
COMMIT_NS = 400_000
"""A transaction of the ledger."""
EVENT_NS = 20_000
"""Each event in it."""
START_CHILD_NS = 8_000_000
"""A process is started."""
ERROR_NS = 3_000_000
"""An error is logged with its traceback."""
UNIVERSE_NS = 1_000_000
"""A universe is written."""

SLOW_NS = 100_000_000
"""Nothing may hold a process's loop longer than this: whoever waits for its beat takes it for dead soon after."""
SLACK_NS = 1_000_000
"""A process that is behind by less goes on as if it were not: what is cheap must not cost a timer each time."""

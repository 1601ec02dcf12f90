"""Archives a period of the ledger when it is long enough, while trading goes on. ``assembly`` calls it.

The work is done by a process of its own (``ledger.archiver``). What is left for risk is to let the ledger go on in
the file which that process has made: a pause of some milliseconds between two batches.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping

from arbshard.errors import LedgerBusy, LedgerError
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.successor import successor_of
from arbshard.log import get_logger

_FIRST_PAUSE_NS = 60_000_000_000
_LONGEST_PAUSE_NS = 3_600_000_000_000
_LIMIT_NS = 6 * 3_600_000_000_000
"""Time limit of the archiver, in ns: a ledger of a month that was never archived takes two hours."""
_HAND_OVER_NS = 60_000_000_000
"""For how long risk tries to go on in the new file, in ns, in case other programs read all the time."""
_END_S = 5.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "ARBSHARD_CRASH_AT")
"""Environment variables that the archiver gets. It needs no key."""

CountArchived = Callable[[bool], None]
"""Is called after each attempt with whether the period was archived."""


class Archivist:
    """Starts the archiver, watches it, and gives its result to the store."""

    def __init__(
        self, store: LedgerStore, period_events: int, environ: Mapping[str, str], count: CountArchived
    ) -> None:
        """Make an archivist. ``period_events`` is the length of a period; 0 has nothing archived."""
        self._store = store
        self._period_events = period_events
        self._environ = {name: environ[name] for name in _PASSED_ON if name in environ}
        self._count = count
        self._child: subprocess.Popen[bytes] | None = None
        self._since_ns = 0
        """When the child was started, or when it was ready."""
        self._steps_done: int | None = None
        """Number of steps done of the hand-over; None when none is under way."""
        self._longest_ns = 0
        """The longest pause of the hand-over, in ns."""
        self._not_before_ns = 0
        self._pause_ns = _FIRST_PAUSE_NS

    def poll(self, now_ns: int, monotonic_ns: Callable[[], int]) -> None:
        """Do what is to be done now, a few times a second. Raises ``LedgerError`` when the ledger cannot go on."""
        if self._steps_done is not None:
            self._hand_over(now_ns, monotonic_ns)
        elif self._child is not None:
            self._look_at_child(now_ns)
        elif self._is_due and now_ns >= self._not_before_ns:
            self._start(now_ns)

    def stop(self) -> None:
        """End the archiver, if it runs. The archiver may be killed at any time, and this may be called again."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            try:
                child.wait(_END_S)
            except subprocess.TimeoutExpired:  # as on a disk that does not answer; risk must go on answering
                get_logger().error("the archiver does not end", pid=child.pid)
            if child.stderr is not None:
                child.stderr.close()

    @property
    def _is_due(self) -> bool:
        store = self._store
        return 0 < self._period_events <= store.snapshot_seq - store.archived_seq

    def _start(self, now_ns: int) -> None:
        command = [sys.executable, "-m", "arbshard.ledger.archiver", str(self._store.path)]
        try:
            self._child = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            self._failed(f"the archiver cannot be started: {error.strerror}", now_ns)
        self._since_ns = now_ns

    def _look_at_child(self, now_ns: int) -> None:
        child = self._child
        assert child is not None
        code = child.poll()
        if code is None:
            if now_ns - self._since_ns > _LIMIT_NS:
                self.stop()
                self._failed("the archiver did not come to an end", now_ns)
            return
        assert child.stderr is not None
        said = child.stderr.read().decode(errors="replace").strip().splitlines()
        self.stop()
        if code == 0:
            self._steps_done = 0
            self._longest_ns = 0
            self._since_ns = now_ns
        else:
            self._failed(said[-1] if said else f"the archiver ended with code {code}", now_ns)

    def _hand_over(self, now_ns: int, monotonic_ns: Callable[[], int]) -> None:
        """Hand a period over in three steps, a tick each, so that none of the pauses is long."""
        done = self._steps_done or 0
        store, successor = self._store, successor_of(self._store.path)
        began_ns = monotonic_ns()
        steps = (
            store.checkpoint,
            lambda: store.prepare_successor(successor),
            lambda: store.take_over(successor),
        )
        try:
            steps[done]()
        except LedgerBusy as error:
            if now_ns - self._since_ns > _HAND_OVER_NS:
                self._steps_done = None
                self._failed(str(error), now_ns)
            return
        except LedgerError as error:
            self._steps_done = None
            if store.failure is not None:  # the ledger itself has failed
                raise
            self._failed(str(error), now_ns)
            return
        self._longest_ns = max(self._longest_ns, monotonic_ns() - began_ns)
        self._steps_done = done + 1
        if self._steps_done < len(steps):
            return
        self._steps_done = None
        self._pause_ns = _FIRST_PAUSE_NS
        self._count(True)
        get_logger().info(
            "period archived",
            archived=store.archived_seq,
            goes_on_to=store.last_seq,
            longest_pause_ms=round(self._longest_ns / 1e6, 1),
        )

    def _failed(self, why: str, now_ns: int) -> None:
        self._count(False)
        get_logger().error("the period was not archived", why=why, next_try_s=self._pause_ns // 10**9)
        self._not_before_ns = now_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, _LONGEST_PAUSE_NS)

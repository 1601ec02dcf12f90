"""Run a worker that records, for each touch, the time from its change to the first decision on it.

``python -m perf.first_seen``, started by the supervisor for ``touch``.
"""

from collections import deque

from typing_extensions import override

from arbshard.model.book import BookTop
from arbshard.shm.pages import PageWriter
from arbshard.worker.main import main
from arbshard.worker.meter import WorkerMeter
from perf.stamp import sent_ns_of
from perf.worker import SEND_DECISION

_KEPT = 10_000


class FirstSeenMeter(WorkerMeter):
    """Records each stamp once: a touch that comes again with the levels is not counted."""

    further_histograms = (SEND_DECISION,)

    def __init__(self, page: PageWriter, pid: int, epoch: int, pairs: int) -> None:
        super().__init__(page, pid, epoch, pairs)
        self._send_decision = page.histogram(SEND_DECISION)
        self._seen: set[float] = set()
        self._order: deque[float] = deque()

    @override
    def decided(self, top: BookTop, now_ns: int) -> None:
        super().decided(top, now_ns)
        stamp = top.bid_size
        changed_ns = sent_ns_of(stamp)
        if changed_ns is None or stamp in self._seen:
            return
        self._record(self._send_decision, now_ns - changed_ns)
        self._seen.add(stamp)
        self._order.append(stamp)
        if len(self._order) > _KEPT:
            self._seen.discard(self._order.popleft())


if __name__ == "__main__":
    raise SystemExit(main(FirstSeenMeter))

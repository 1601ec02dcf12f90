"""Provides a worker that also records the time from the exchange's intended send to the decision.

The supervisor starts it with ``python -m perf.worker``.
"""

from typing_extensions import override

from arbshard.model.book import BookTop
from arbshard.shm.pages import PageWriter
from arbshard.worker.main import main
from arbshard.worker.meter import WorkerMeter
from perf.stamp import sent_ns_of

SEND_DECISION = "send_decision"


class PerfMeter(WorkerMeter):
    """Is a meter that also records send → decision; it reads the send time from the size of the best bid."""

    further_histograms = (SEND_DECISION,)

    def __init__(self, page: PageWriter, pid: int, epoch: int, pairs: int) -> None:
        super().__init__(page, pid, epoch, pairs)
        self._send_decision = page.histogram(SEND_DECISION)

    @override
    def decided(self, top: BookTop, now_ns: int) -> None:
        super().decided(top, now_ns)
        sent_ns = sent_ns_of(top.bid_size)
        if sent_ns is not None:  # the venue's first snapshot has no stamp
            self._record(self._send_decision, now_ns - sent_ns)


if __name__ == "__main__":
    raise SystemExit(main(PerfMeter))

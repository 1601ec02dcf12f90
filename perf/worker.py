"""A worker that also records exchange-send → decision: ``python -m perf.worker``, started by the supervisor."""

from arbshard.model.book import BookTop
from arbshard.shm.pages import PageWriter
from arbshard.worker.main import main
from arbshard.worker.meter import WorkerMeter
from perf.stamp import sent_ns_of

SEND_DECISION = "send_decision"


class PerfMeter(WorkerMeter):
    """Reads the send time from the size of the best bid."""

    further_histograms = (SEND_DECISION,)

    def __init__(self, page: PageWriter, pid: int, epoch: int, pairs: int) -> None:
        super().__init__(page, pid, epoch, pairs)
        self._send_decision = page.histogram(SEND_DECISION)

    def decided(self, top: BookTop, now_ns: int) -> None:
        """See ``WorkerMeter``. Frames without a stamp (the venue's first snapshot) are left out."""
        super().decided(top, now_ns)
        sent_ns = sent_ns_of(top.bid_size)
        if sent_ns is not None:
            self._record(self._send_decision, now_ns - sent_ns)


if __name__ == "__main__":
    raise SystemExit(main(PerfMeter))

"""Reads the pages of the processes beside a run: series, metrics, alerts, and the desk in the browser."""

from collections import Counter

from arbshard.errors import SharedMemoryError
from arbshard.model.notes import ChildNote
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.model import AlertsStatus, MetricsStatus, SeriesStatus, WebStatus


def series_of(files: RunFiles, child: ChildNote | None) -> SeriesStatus | None:
    """Return the status of the process that keeps the series; None where it is not wanted."""
    if child is None:
        return None
    counters: dict[str, int] = {}
    trouble = child.reason
    try:
        with PageReader.attach(files.series_page) as page:
            counters = page.values()
            trouble = page.note().decode(errors="replace") or trouble
    except SharedMemoryError:
        counters = {}  # not started yet
    return SeriesStatus(
        state=child.state,
        pid=child.pid or None,
        restarts=child.restarts,
        samples=counters.get("samples", 0),
        missed=counters.get("missed", 0),
        lost_rows=counters.get("lost_rows", 0),
        kept_mb=round(counters.get("kept_bytes", 0) / 1e6, 1),
        trouble=trouble,
    )


def metrics_of(files: RunFiles, child: ChildNote | None) -> MetricsStatus | None:
    """Return the status of the process that serves the metrics; None where it is not wanted."""
    if child is None:
        return None
    counters: dict[str, int] = {}
    try:
        with PageReader.attach(files.metrics_page) as page:
            # Until it has made a page of its own there may be that of a process that was killed.
            counters = page.values() if page.value("pid") == child.pid else {}
    except SharedMemoryError:
        counters = {}  # not started yet
    return MetricsStatus(
        state=child.state,
        pid=child.pid or None,
        restarts=child.restarts,
        port=counters.get("port", 0),
        requests=counters.get("scrapes", 0),
        failures=counters.get("failures", 0),
        trouble=child.reason,
    )


def alerting_of(files: RunFiles, child: ChildNote | None) -> AlertsStatus | None:
    """Return the status of the process that sends alerts; None where it is not wanted."""
    if child is None:
        return None
    counters: dict[str, int] = {}
    trouble = child.reason
    try:
        with PageReader.attach(files.alerts_page) as page:
            if page.value("pid") == child.pid:
                counters = page.values()
                trouble = page.note().decode(errors="replace").strip() or trouble
    except SharedMemoryError:
        counters = {}  # not started yet
    shown = {
        name: counters.get(name, 0)
        for name in ("holding", "outbox", "delivered", "failures", "unknown_chats")
    }
    return AlertsStatus(child.state, child.pid or None, child.restarts, **shown, trouble=trouble)


def web_of(files: RunFiles, child: ChildNote | None) -> WebStatus | None:
    """Return the status of the desk in the browser; None where it is not wanted."""
    if child is None:
        return None
    counters, url = Counter[str](), ""
    try:
        with PageReader.attach(files.web_page) as page:
            # Until it has made a page of its own there may be that of a process that was killed.
            if page.value("pid") == child.pid:
                counters, url = Counter(page.values()), page.note().decode(errors="replace")
    except SharedMemoryError:
        counters = Counter()  # not started yet
    return WebStatus(
        state=child.state,
        pid=child.pid or None,
        restarts=child.restarts,
        url=url,
        trouble=child.reason,
        **{name: counters[name] for name in ("port", "viewers", "actions", "refused", "failures")},
    )

"""Provides figures of a run for Prometheus, by a process beside the run that answers ``/metrics`` and ``/health``.

``python -m arbshard.metrics`` is a child of the supervisor with ``[metrics] enabled = true``. ``families`` makes
the figures from what the run shows on its pages, ``health`` decides whether it is alive and trades, ``serving``
answers over HTTP. It needs prometheus-client, which the extra ``metrics`` installs. ``docs/metrics.md`` lists the
figures.
"""

COUNTERS = ("pid", "port", "beat_ns", "scrapes", "failures")
"""Names of the counters on its page. ``failures``: scrapes that could not be answered."""

"""Defines the counters on the page of the series' writer. ``main`` writes them, ``arbshard.status`` reads them."""

COUNTERS = ("pid", "beat", "beat_ns", "samples", "missed", "segments", "failures", "lost_rows", "kept_bytes")
"""``missed``: samples that could not be taken, or came too late. ``segments``: files that were written.
``failures``: files that could not be written or removed. ``lost_rows``: rows of files that could not be written.
``kept_bytes``: size of all files after the last segment. The note is the last failure, as text.
"""

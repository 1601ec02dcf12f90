"""Serves the desk in the browser: one page that shows running instances, and by which operators act on them.

``python -m arbshard.web`` is a child of the supervisor with ``[web] enabled = true``; ``arbshard web`` starts the
same server beside instances that run already. ``view``, ``pairs``, ``actions`` and ``access`` are pure: what is
shown, what an action is, who may do what. ``reading`` reads the pages of an instance, ``serving`` answers browsers,
and ``page/`` is what a browser loads. ``docs/desk.md`` describes it for its users.
"""

COUNTERS = ("pid", "port", "beat_ns", "viewers", "actions", "refused", "failures")
"""The names on its page. ``refused``: requests without the right they need; ``failures``: defects while answering."""

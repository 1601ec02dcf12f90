"""Alerts of a run: a process beside it that keeps them, sends them until they are delivered, and takes commands.

``python -m arbshard.alerts`` is a child of the supervisor with ``[alerts] enabled = true``. ``conditions`` says what
holds now, ``book`` when that begins, is repeated and is over, ``store`` keeps it with an outbox of messages,
``sending`` delivers these to the targets, and ``telegram`` answers commands. Only ``sending`` and ``telegram`` need
libraries, which the extras ``alerts`` and ``telegram`` bring. ``docs/alerts.md`` describes all of it.
"""

COUNTERS = (
    "pid",
    "beat_ns",
    "holding",
    "outbox",
    "delivered",
    "failures",
    "unstored",
    "heartbeats",
    "heartbeat_failures",
    "commands",
    "unknown_chats",
    "reaches",
)
"""The names on its page. ``holding``: alerts that are not over. ``outbox``: messages that are not delivered yet.
``failures``: tries to deliver that failed. ``unstored``: turns whose alerts could not be written to the file.
``unknown_chats``: commands of chats that are not on the list, which get no answer.
``reaches``: 1 unless there is no target, or the last try to deliver has failed at each of them."""

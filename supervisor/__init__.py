"""Implements the process of ``arbshard run``: exchange connections, the shared-memory feed, the tree of children."""

# PyPI's process manager also installs a top-level package called ``supervisor``; this name shows which one was
# imported (checked at set-up and by every command).
ARBSHARD = True

"""Provides the ``arbshard`` command as ``python -m arbshard``."""

from arbshard.cli import main

main()

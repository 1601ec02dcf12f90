"""``python -m arbshard``: the same as the ``arbshard`` command."""

from arbshard.cli import main

main()

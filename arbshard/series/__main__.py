"""Writes the series of a run: ``python -m arbshard.series``."""

import sys

from arbshard.series.main import main

if __name__ == "__main__":
    sys.exit(main())

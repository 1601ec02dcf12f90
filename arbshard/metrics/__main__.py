"""Runs ``python -m arbshard.metrics``, which is ``main``."""

import sys

from arbshard.metrics.main import main

if __name__ == "__main__":
    sys.exit(main())

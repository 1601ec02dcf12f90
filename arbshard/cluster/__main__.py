"""Provides ``python -m arbshard.cluster``."""

import sys

from arbshard.cluster.main import main

if __name__ == "__main__":
    sys.exit(main())

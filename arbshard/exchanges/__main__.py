"""Serves both simulated exchanges: ``python -m arbshard.exchanges``."""

import sys

from arbshard.exchanges.main import main

if __name__ == "__main__":
    sys.exit(main())

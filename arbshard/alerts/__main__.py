"""Runs ``python -m arbshard.alerts``."""

import sys

from arbshard.alerts.main import main

if __name__ == "__main__":
    sys.exit(main())

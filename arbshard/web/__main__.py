"""Starts the desk of a run; this is ``python -m arbshard.web``."""

import sys

from arbshard.web.main import main

if __name__ == "__main__":
    sys.exit(main())

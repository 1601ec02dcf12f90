"""Entry point of ``python -m arbshard.sim``."""

import sys

from arbshard.sim.main import main

if __name__ == "__main__":
    sys.exit(main())

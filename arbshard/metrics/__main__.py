"""``python -m arbshard.metrics``."""

import sys

from arbshard.metrics.main import main

if __name__ == "__main__":
    sys.exit(main())

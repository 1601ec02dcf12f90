"""Makes the risk process a program: ``python -m arbshard.risk``."""

import sys

from arbshard.risk.main import main

sys.exit(main())

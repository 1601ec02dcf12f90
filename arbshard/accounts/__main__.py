"""Makes the accounts process a program: ``python -m arbshard.accounts``."""

import sys

from arbshard.accounts.main import main

if __name__ == "__main__":
    sys.exit(main())

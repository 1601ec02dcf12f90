"""Serves both simulated exchanges: ``python -m arbshard.exchanges``."""

import os
import sys

if __name__ == "__main__":
    # This process opens no connection itself. Its HTTP library would read all authorities that the system trusts,
    # twice: a third of the time that it takes to import.
    os.environ["SSL_CERT_FILE"] = os.devnull
    from arbshard.exchanges.main import main

    sys.exit(main())

"""Runs ``python -m arbshard.worker``, which is ``main``."""

from arbshard.worker.main import main

raise SystemExit(main())

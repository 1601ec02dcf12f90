"""``python -m arbshard.worker``."""

from arbshard.worker.main import main

raise SystemExit(main())

"""The real risk process without a cluster, for tests of what its supervisor does in a run on several hosts: it needs
no followers, and a worker may begin whatever its grant is.
"""

import asyncio
import os
import sys
from pathlib import Path
from unittest import mock

from msgspec.structs import replace

from arbshard.config import Config
from arbshard.process import Parent
from arbshard.ready import wait_for_numbers
from arbshard.risk import main as risk
from arbshard.risk.assembly import ExitCode

if __name__ == "__main__":
    if "--ready" in sys.argv:
        sys.argv.remove("--ready")
        if asyncio.run(wait_for_numbers(Parent(os.getppid()).is_gone, "term")) is None:
            sys.exit(ExitCode.ORPHANED)
    else:
        place = sys.argv.index("--term")
        del sys.argv[place : place + 2]
    read = risk._read

    def read_without_cluster(path: Path, kind: type) -> object:
        """Read a file of the run; of its configuration all but the cluster."""
        found = read(path, kind)
        return replace(found, cluster=None) if isinstance(found, Config) else found

    with mock.patch.object(risk, "_read", read_without_cluster):
        sys.exit(risk.main())

"""The real risk process without a cluster, for tests of what its supervisor does in a run on several hosts: it needs
no followers, and a worker may begin whatever its grant is.
"""

import sys
from pathlib import Path
from unittest import mock

from msgspec.structs import replace

from arbshard.config import Config
from arbshard.risk import main as risk

if __name__ == "__main__":
    place = sys.argv.index("--term")
    del sys.argv[place : place + 2]
    read = risk._read

    def read_without_cluster(path: Path, kind: type) -> object:
        """Read a file of the run; of its configuration all but the cluster."""
        found = read(path, kind)
        return replace(found, cluster=None) if isinstance(found, Config) else found

    with mock.patch.object(risk, "_read", read_without_cluster):
        sys.exit(risk.main())

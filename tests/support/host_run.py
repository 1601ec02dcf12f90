"""``arbshard run`` on a host of a cluster whose agent is ``support.fake_agent``. ``CLUSTER`` has its cluster file."""

import os
import sys
from unittest import mock

import msgspec
from msgspec.structs import replace

from arbshard.cli import main
from arbshard.config import Config
from arbshard.config.cluster import ClusterConfig
from supervisor.main import Options
from supervisor.main import run as supervise
from supervisor.processes.specs import Programs

_PROGRAMS = Programs(agent="support.fake_agent", risk="support.lone_risk")


def run(config: Config, options: Options) -> int:
    """Run as a host of the cluster that the environment describes."""
    cluster = msgspec.json.decode(os.environ["CLUSTER"], type=ClusterConfig)
    own = replace(config, cluster=cluster, run=replace(config.run, shards=cluster.shards))
    return supervise(own, options, _PROGRAMS)


if __name__ == "__main__":
    with mock.patch("supervisor.main.run", run):
        sys.argv = ["arbshard", *sys.argv[1:]]
        main()

"""``arbshard run`` with the workers of ``support.broken_worker``."""

import sys
from functools import partial

from arbshard.cli import main
from supervisor import main as supervisor
from supervisor.processes.specs import Programs

if __name__ == "__main__":
    supervisor.run = partial(supervisor.run, programs=Programs(worker="support.broken_worker"))
    sys.argv = ["arbshard", *sys.argv[1:]]
    main()

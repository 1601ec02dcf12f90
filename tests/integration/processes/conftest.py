"""A run of its own for each test, observed through its pages."""

import psutil
import pytest

from support.instance import Instance

CONFIG = "[strategy]\nmax_hold_s = 5.0\n[sim]\ncoins = 6\nseed = 11\nupdates_per_s = 5.0\n[run]\nshards = 2\n"


class Watched(Instance):
    """An instance whose shards are watched."""

    def decides(self, shard: int, epoch: int) -> bool:
        """Whether a shard evaluates ticks in this epoch or a later one."""
        values = self.worker(shard)
        return values.get("epoch", 0) >= epoch and values.get("ticks", 0) > 0

    def spare_pid(self) -> int:
        """Of the spare that is ready; 0 without one."""
        note = self.note()
        if note is None or note.state != "running" or "ready" not in note.spares:
            return 0
        at_work = {child.pid for child in note.children}
        family = psutil.Process(self.process.pid).children()
        return next((one.pid for one in family if "--spare" in one.cmdline() and one.pid not in at_work), 0)


@pytest.fixture
def start(tmp_path):
    """Makes a run, given lines of the section ``[run]`` and arguments, and waits until it says that it runs."""
    made = []

    def build(settings: str = "", *arguments: str) -> Watched:
        spares = "" if "spare_workers" in settings else "spare_workers = 1\n"
        made.append(Watched(tmp_path, CONFIG + spares + settings))
        made[-1].start(*arguments)
        made[-1].until_running()
        return made[-1]

    yield build
    for one in made:
        one.close()

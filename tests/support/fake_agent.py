"""A cluster agent that shows on its page what a test has written into a file, and answers the supervisor.

``python -m support.fake_agent --run-dir … --state-dir …`` reads ``agent.json`` in the state directory.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from arbshard.clock import lease_ns
from arbshard.errors import SharedMemoryError
from arbshard.model.cluster_note import ClusterNote, HostSight, HostView, ShardPlace, counters
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent, add_parent_option
from arbshard.shm.pages import PageReader, PageWriter

_TURN_S = 0.01
_VALID_NS = 1_000_000_000


class Shown(msgspec.Struct, frozen=True):
    """What the page shall show."""

    grants: tuple[int, ...]
    term: int = 1
    leads: bool = True
    is_valid: bool = True
    universe: int = 0
    phase: int = 0
    nats: bool = True
    others: tuple[str, ...] = ("b", "c")
    """Hosts that are seen; the first of them holds what this one does not."""
    epochs: int = 0
    """The epoch that the workers of that host have."""
    leader: str = "a"
    why: str = ""


def shown_in(state_dir: Path) -> Path:
    """The file by which a test steers the agent."""
    return state_dir / "agent.json"


def show(state_dir: Path, shown: Shown) -> None:
    """Have the agent show this from its next turn on."""
    state_dir.mkdir(parents=True, exist_ok=True)
    new = shown_in(state_dir).with_suffix(".new")
    new.write_bytes(msgspec.json.encode(shown))
    new.replace(shown_in(state_dir))


def _leaves(files: RunFiles) -> bool:
    try:
        with PageReader.attach(files.supervisor_page) as page:
            return page.value("leaves") == 1
    except SharedMemoryError:
        return False


def _views(shown: Shown) -> tuple[HostView, ...]:
    rest = tuple(
        ShardPlace(shard, 1, shown.epochs, shown.universe)
        for shard, grant in enumerate(shown.grants)
        if not grant
    )
    return tuple(
        HostView(name, time.time_ns() // 1_000_000, "1", leads=False, term=shown.term, seq=1,
                 shards=rest if name == shown.others[0] else (), frames_s=1.0, cpu=0.1, nats=True,
                 universe=shown.universe or 1)
        for name in shown.others
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    add_parent_option(parser)
    given = parser.parse_args()
    files, parent = RunFiles(given.run_dir), Parent(given.parent_pid)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    shown = msgspec.json.decode(shown_in(given.state_dir).read_bytes(), type=Shown)
    beats = 0
    with PageWriter.create(files.cluster_page, counters(len(shown.grants))) as page:

        def set_(name: str, value: int) -> None:
            page.set(page.counter(name), value)

        while not ended and not parent.is_gone():
            shown = msgspec.json.decode(shown_in(given.state_dir).read_bytes(), type=Shown)
            leaves, beats = _leaves(files), beats + 1
            set_("leads", int(shown.leads and not leaves))
            set_("term", shown.term)
            set_("universe", shown.universe)
            set_("phase", shown.phase)
            for shard, grant in enumerate(shown.grants):
                set_(f"grant_{shard}", 0 if leaves else grant)
            if shown.is_valid:
                set_("valid_until_ns", lease_ns() + _VALID_NS)
                set_("lead_until_ns", lease_ns() + _VALID_NS)
            note = ClusterNote(
                "c", "a", shown.leader, shown.term, shown.nats, 1.0, _views(shown), why=shown.why,
                sights=dict.fromkeys(shown.others, HostSight(1.0, 0.0)),
            )  # fmt: skip
            page.write_note(msgspec.json.encode(note))
            set_("pid", os.getpid())
            set_("beat", beats)
            set_("beat_ns", time.monotonic_ns())
            set_("ready", 1)
            time.sleep(_TURN_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Times how a cluster of three hosts gets over losses, and compares its ledgers with the exchanges at the end.

The hosts are network namespaces, 1 ms from each other. ``make hosts`` runs it; it needs root and ``nats-server``.
"""

import argparse
import json
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # before tests, which has folders of the same names
sys.path.extend(str(Path(__file__).resolve().parents[1] / name) for name in ("", "torture"))

from arbshard.shm.pages import PageReader
from kills.agreement import disagreements, read_ledger
from support.cluster import Cluster, RunningShard
from support.namespaces import NamespaceNetwork, why_impossible

_MAKER = re.compile(r"s[0-9]+-([0-9]+)-([0-9]+)-")
_VENUES = ("upbit", "binance")
_PAUSE_S = 30.0
_NATS_AWAY_S = 8.0
_SETTLED_S = 15.0
"""A shard moves for the sake of balance when loads have been unequal for ten seconds."""


class Trial:
    """One cluster that is broken in many ways, one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.rows: list[tuple[str, float]] = []
        """(what was broken, seconds until all pairs were decided on again)."""
        self.problems: list[str] = []

    def run(self) -> None:
        """Break it and wait for it, in turn."""
        cluster = self._cluster
        began_s = time.monotonic()
        cluster.start()
        cluster.until_deciding()
        self._row("all hosts started", time.monotonic() - began_s)
        self._trade()
        self._lose("a host killed", self._follower(), cluster.kill_host, cluster.restart_host)
        self._lose("a host cut off from the others", self._follower(), self._network.isolate, self._heal)
        self._lose("a host cut off from all", self._follower(), self._network.cut_off, self._heal)
        self._lose(f"a host paused for {_PAUSE_S:.0f} s", self._follower(), cluster.pause_host, self._wake)
        self._lose("the leader's host killed", self._leader(), cluster.kill_host, cluster.restart_host)
        self._lose("the leader's host cut off", self._leader(), self._network.isolate, self._heal)
        self._lose(
            f"the leader's host paused for {_PAUSE_S:.0f} s", self._leader(), cluster.pause_host, self._wake
        )
        self._without_nats("NATS killed and started again", wiped=False)
        self._without_nats("NATS killed, wiped and started again", wiped=True)
        self._trade()
        self.approvals = self._approvals()
        leader = self._leader()
        for name, ended in cluster.stop().items():
            if ended.code:
                self.problems.append(f"{name} ended with {ended.code}: {ended.out.splitlines()[-1]}")
        self._compare(leader)

    @property
    def _network(self) -> NamespaceNetwork:
        network = self._cluster.network
        assert isinstance(network, NamespaceNetwork)
        return network

    def _leader(self) -> str:
        return self._cluster.wait_for(self._cluster.leader, 30)

    def _follower(self) -> str:
        """A host that does not lead and decides on a shard."""
        leader = self._leader()
        return self._cluster.wait_for(
            lambda: next((one.host for one in self._cluster.deciding().values() if one.host != leader), None),
            60,
        )

    def _lose(
        self, what: str, name: str, lose: Callable[[str], None], bring_back: Callable[[str], None]
    ) -> None:
        cluster = self._cluster
        others = [one for one in cluster.names if one != name]
        began_s = time.monotonic()
        lose(name)
        cluster.until_deciding(others)
        self._row(what, time.monotonic() - began_s)
        began_s = time.monotonic()
        bring_back(name)
        cluster.wait_for(lambda: name in {one.host for one in cluster.deciding().values()}, 120)
        cluster.until_deciding()
        self._row("  it is back and decides", time.monotonic() - began_s)
        self._trade()

    def _heal(self, _: str) -> None:
        self._network.heal()

    def _wake(self, name: str) -> None:
        time.sleep(_PAUSE_S)
        self._cluster.wake_host(name)

    def _without_nats(self, what: str, *, wiped: bool) -> None:
        cluster = self._cluster
        before = self._until_settled()
        for name in cluster.names:
            cluster.kill_nats(name)
        time.sleep(_NATS_AWAY_S)
        after = cluster.deciding()
        if after != before:
            moved = ", ".join(
                f"shard {shard} from {before.get(shard)} to {after.get(shard)}"
                for shard in range(cluster.shards)
                if before.get(shard) != after.get(shard)
            )
            self.problems.append(f"{what}: shards moved or stopped while NATS was away: {moved}")
        for name in cluster.names:
            if wiped:
                cluster.wipe_nats(name)
            cluster.start_nats(name)
        time.sleep(_NATS_AWAY_S)
        began_s = time.monotonic()
        cluster.until_deciding()
        self._row(f"{what}: all pairs are decided on {_NATS_AWAY_S:.0f} s later", time.monotonic() - began_s)

    def _until_settled(self) -> dict[int, RunningShard]:
        """Wait until no shard moves any more for the sake of balance; return where they run."""
        found, since_s = self._cluster.deciding(), time.monotonic()

        def is_settled() -> bool:
            nonlocal found, since_s
            now = self._cluster.deciding()
            if now != found:
                found, since_s = now, time.monotonic()
            return len(found) == self._cluster.shards and time.monotonic() - since_s >= _SETTLED_S

        self._cluster.wait_for(is_settled, 180)
        return found

    def _trade(self) -> None:
        """Wait until the leader has approved more entries."""

        def entries() -> int:
            return self._cluster.runs[self._leader()].risk().get("entries", 0)

        before = entries()
        self._cluster.wait_for(lambda: entries() > before + 3, 90)

    def _approvals(self) -> dict[str, str]:
        """Time from decision to approval by host, in microseconds."""
        leader, found = self._leader(), {}
        for shard, one in sorted(self._cluster.deciding().items()):
            with PageReader.attach(self._cluster.runs[one.host].files.worker_page(shard)) as page:
                times = page.histogram("decision_approval")
            if times.count:
                where = "leader's host" if one.host == leader else "another host"
                p50, p99 = (times.percentile_ns(share) / 1000 for share in (50, 99))
                found[f"shard {shard}, {where}"] = f"p50 {p50:,.0f} p99 {p99:,.0f} ({times.count})"
        return found

    def _compare(self, leader: str) -> None:
        cluster = self._cluster
        books = {venue: next(iter(cluster.exchange_books(venue).values())) for venue in _VENUES}
        ledger = read_ledger(cluster.runs[leader].ledger)
        self.problems += disagreements(books, ledger)
        for venue, book in books.items():
            self.problems += [
                f"{venue}: {one}" for one in late_epochs(book["orders"], ledger.tag, list(ledger.orders))
            ]
        rows = {name: _events(run.ledger) for name, run in cluster.runs.items()}
        for name, events in rows.items():
            if events != rows[leader][: len(events)]:
                self.problems.append(f"the replica of {name} differs from the leader's ledger")
        for name, run in cluster.runs.items():
            verified = run.carry_out("ledger", "verify")
            if verified.code:
                self.problems.append(f"the ledger of {name}: {verified.out}{verified.err}")
        self._row(f"orders at the venues: {sum(len(book['orders']) for book in books.values())}", 0)

    def _row(self, what: str, took_s: float) -> None:
        self.rows.append((what, took_s))
        print(f"{took_s:8.2f} s  {what}", flush=True)


def late_epochs(orders: list[dict], tag: str, approved: Sequence[str]) -> list[str]:
    """Orders, oldest first, that an older epoch of a shard has sent after a newer one.

    An order bears the epoch in which its intent began. A further order of an intent that was taken over is the
    successor's: risk refuses older epochs, and has approved it after an order of the newer one. ``approved`` has the
    names of all orders as risk has approved them.
    """
    places = {name: place for place, name in enumerate(approved)}
    first: dict[tuple[int, int], int] = {}
    for name, place in places.items():
        maker = _MAKER.match(name)
        if maker is not None:
            first.setdefault((int(maker[1]), int(maker[2])), place)
    newest: dict[int, int] = {}
    found = []
    for order in orders:
        name = order["client_id"].removeprefix(f"{tag}-")
        maker = _MAKER.match(name)
        if maker is None:
            found.append(f"order {order['client_id']} names no worker")
            continue
        shard, epoch = int(maker[1]), int(maker[2])
        last = newest.get(shard, 0)
        if epoch < last and places.get(name, -1) < first.get((shard, last), len(places)):
            found.append(f"order {order['client_id']} came after one of epoch {last}")
        newest[shard] = max(last, epoch)
    return found


def _events(ledger: Path) -> list[tuple]:
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT * FROM events ORDER BY seq").fetchall()


def main() -> int:
    """Run the trial; return 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(prog="tests/several_hosts")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--spares", type=int, default=1, help="spare workers of each host")
    parser.add_argument("--lease-ms", type=int, default=1000, help="longer on a machine that is busy")
    parser.add_argument("--paper", action="store_true", help="orders stay on paper")
    given = parser.parse_args()
    why = why_impossible()
    if why:
        print(why, file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="arbshard-hosts-") as folder,
        Cluster(
            Path(folder),
            NamespaceNetwork("abc"),
            shards=given.shards,
            coins=given.pairs + 2,
            updates_per_s=2.0,
            config=f"[run]\nspare_workers = {given.spares}\n",
            is_live=not given.paper,
            further=f"lease_ms = {given.lease_ms}",
        ) as cluster,
    ):
        trial = Trial(cluster)
        trial.run()
    print(json.dumps(trial.approvals, indent=2))
    for problem in trial.problems:
        print(f"WRONG: {problem}")
    return 1 if trial.problems else 0


if __name__ == "__main__":
    sys.exit(main())

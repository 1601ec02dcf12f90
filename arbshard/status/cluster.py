"""Reads what the cluster agent shows, for ``collect``: the hosts, the leader, and why this host does not trade."""

from collections.abc import Iterator

import msgspec

from arbshard.clock import Clock, lease_ns
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import SharedMemoryError
from arbshard.model.cluster_note import COUNTED, ClusterNote, HostView, decode_cluster_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.model import ClusterHostStatus, ClusterStatus, Problem

_OLD_S = 5.0
"""A host that has written nothing about itself for so long (seconds) is shown as away."""
_CONTACT_FRESH_NS = 1_000_000_000


class _Settings(msgspec.Struct, frozen=True):
    """Is the part of a run's configuration that is needed here."""

    cluster: ClusterConfig | None = None


def read_settings(files: RunFiles) -> ClusterConfig | None:
    """Return the cluster of a run; None for a run on one host, and before it has written its configuration."""
    try:
        return msgspec.json.decode(files.config.read_bytes(), type=_Settings, strict=False).cluster
    except (OSError, msgspec.MsgspecError):
        return None


def read_cluster(files: RunFiles, cluster: ClusterConfig, clock: Clock) -> ClusterStatus:
    """Return the state of the cluster as this host knows it."""
    counters: dict[str, int] = {}
    note: ClusterNote | None = None
    try:
        with PageReader.attach(files.cluster_page) as page:
            counters = page.values()
            note = decode_cluster_note(text) if (text := page.note()) else None
    except (SharedMemoryError, msgspec.MsgspecError):
        counters, note = {}, None  # the agent has not begun, or it is being replaced
    return describe(cluster, counters, note, clock.wall_ms(), clock.monotonic_ns(), lease_ns())


def describe(
    cluster: ClusterConfig,
    counters: dict[str, int],
    note: ClusterNote | None,
    now_ms: int,
    now_ns: int,
    at_lease_ns: int,
) -> ClusterStatus:
    """Return the state of the cluster, from the agent's page. ``at_lease_ns``: the time by the clock of leases."""
    is_alive = now_ns - counters.get("beat_ns", 0) <= _CONTACT_FRESH_NS
    own = tuple(shard for shard in range(cluster.shards) if counters.get(f"grant_{shard}", 0))
    views = {view.host: view for view in note.hosts} if note is not None else {}
    leader = note.leader if note is not None else ""
    newest = max((view.seq for view in views.values()), default=0)
    hosts = tuple(_host(name, views.get(name), leader, newest, now_ms) for name in cluster.hosts)
    held = {*own, *(shard for host in hosts for shard in host.shards)}
    may_trade = is_alive and counters.get("valid_until_ns", 0) > at_lease_ns
    why = note.why if note is not None else ""
    return ClusterStatus(
        name=cluster.name,
        host=cluster.host,
        leader=leader,
        term=counters.get("term", 0),
        may_trade=may_trade,
        why="" if may_trade else why or ("" if is_alive else "the cluster agent of this host does not run"),
        contact_s=round(note.contact_ms / 1000, 3) if note is not None and note.contact_ms >= 0 else None,
        nats=note is not None and note.nats,
        replication=cluster.replication,
        hosts=hosts,
        unplaced=tuple(shard for shard in range(cluster.shards) if shard not in held),
        kept=note.kept if note is not None else (),
        phase="ending" if counters.get("phase", 0) else "running",
        counts={name: counters[name] for name in COUNTED if name in counters},
    )


def _host(name: str, view: HostView | None, leader: str, newest: int, now_ms: int) -> ClusterHostStatus:
    if view is None:
        return ClusterHostStatus(name, None, leads=name == leader)
    leads = name == leader
    return ClusterHostStatus(
        name=name,
        age_s=round(max(now_ms - view.at_ms, 0) / 1000, 1),
        leads=leads,
        shards=tuple(sorted(place.shard for place in view.shards if place.grant)),
        behind=None if leads else max(newest - view.seq, 0),
        nats=view.nats,
        leaving=view.leaving,
        has_pairs=view.universe > 0,
        frames_s=view.frames_s,
        cpu=view.cpu,
        version=view.version,
        note=view.note,
    )


def is_away(host: ClusterHostStatus) -> bool:
    """Return whether the host has not been seen lately."""
    return host.age_s is None or host.age_s > _OLD_S


def problems_of_cluster(cluster: ClusterStatus, *, is_ending: bool) -> Iterator[Problem]:
    """Yield what keeps the cluster from trading as configured, as this host sees it."""
    if is_ending:
        return
    if not cluster.leader:
        why = f": {cluster.why}" if cluster.why else ""
        yield Problem("leader", "", f"the cluster has no leader that this host knows{why}")
    elif not cluster.may_trade:
        yield Problem(
            "host", cluster.host, f"this host does not trade: {cluster.why or 'no reason is known'}"
        )
    if not cluster.nats:
        yield Problem(
            "nats",
            "",
            "this host is not connected to NATS: the hosts agree without it, and a takeover takes longer",
        )
    yield from _problems_of_hosts(cluster)
    if cluster.unplaced and cluster.leader:
        named = ", ".join(map(str, cluster.unplaced))
        yield Problem("unplaced", "", f"no host holds shard {named}: its pairs are not traded")
    for text in cluster.kept:
        yield Problem("kept", "", f"a command waits until the leader can be reached: {text}")


def _problems_of_hosts(cluster: ClusterStatus) -> Iterator[Problem]:
    for host in cluster.hosts:
        is_own = host.name == cluster.host
        if host.leaving:
            continue
        if is_away(host):
            if not is_own:
                seen = (
                    "was never seen" if host.age_s is None else f"has not been seen for {host.age_s:,.0f} s"
                )
                yield Problem("host", host.name, f"host {host.name} {seen}")
        elif not host.has_pairs and (cluster.may_trade or not is_own):
            why = host.note or "it has not got the pairs of the cluster"
            yield Problem("host", host.name, f"host {host.name} does not trade: {why}")

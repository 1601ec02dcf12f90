"""Reads what the cluster agent shows, for ``collect``: the hosts, the leader, and why this host does not trade."""

from collections.abc import Iterator, Mapping
from math import inf
from types import MappingProxyType

import msgspec

from arbshard.clock import Clock, lease_ns
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import SharedMemoryError
from arbshard.model.cluster_note import (
    COUNTED,
    LEADING_COUNTS,
    LEADING_GAUGES,
    ClusterNote,
    HostSight,
    HostView,
    decode_cluster_note,
)
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.model import ClusterHostStatus, ClusterStatus, Problem

_CLOCKS_APART_S = 2.0
"""Wall clocks that differ by more than this are a problem: a host whose clock is set by NTP is far below it."""
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


def read_cluster(
    files: RunFiles, cluster: ClusterConfig, clock: Clock, risk: Mapping[str, int] | None = None
) -> ClusterStatus:
    """Return the state of the cluster as this host knows it. ``risk``: the counters of the leader's risk."""
    counters: dict[str, int] = {}
    note: ClusterNote | None = None
    try:
        with PageReader.attach(files.cluster_page) as page:
            counters = page.values()
            note = decode_cluster_note(text) if (text := page.note()) else None
    except (SharedMemoryError, msgspec.MsgspecError):
        counters, note = {}, None  # the agent has not begun, or it is being replaced
    return describe(cluster, counters, note, clock.monotonic_ns(), lease_ns(), risk or {})


def describe(
    cluster: ClusterConfig,
    counters: dict[str, int],
    note: ClusterNote | None,
    now_ns: int,
    at_lease_ns: int,
    risk: Mapping[str, int] = MappingProxyType({}),
) -> ClusterStatus:
    """Return the state of the cluster, from the agent's page. ``at_lease_ns``: the time by the clock of leases.

    ``risk``: the counters of the leader's risk, as this host has got them.
    """
    is_alive = now_ns - counters.get("beat_ns", 0) <= _CONTACT_FRESH_NS
    own = tuple(shard for shard in range(cluster.shards) if counters.get(f"grant_{shard}", 0))
    views = {view.host: view for view in note.hosts} if note is not None else {}
    newest = max((view.seq for view in views.values()), default=0)
    silent_s = max(now_ns - counters.get("beat_ns", now_ns), 0) / 1e9
    sights = {**(note.sights if note is not None else {}), cluster.host: HostSight(0.0, 0.0)}
    ages = {name: one.age_ms / 1000 + silent_s for name, one in sights.items()}
    followed = note.leader if note is not None else ""
    is_led = followed != "" and ages.get(followed, inf) <= cluster.away_s
    leader = followed if is_led else ""
    hosts = tuple(
        _host(views[name], sights[name], ages[name], leader, newest, cluster.away_s)
        if name in views and name in sights
        else ClusterHostStatus(name, None, away=True, leads=name == leader)
        for name in cluster.hosts
    )
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
        lost=followed if followed and not is_led else "",
        contact_s=round(note.contact_ms / 1000, 3) if note is not None and note.contact_ms >= 0 else None,
        nats=note is not None and note.nats,
        replication=cluster.replication,
        hosts=hosts,
        unplaced=tuple(shard for shard in range(cluster.shards) if shard not in held),
        kept=note.kept if note is not None else (),
        phase="ending" if counters.get("phase", 0) else "running",
        counts={name: counters[name] for name in COUNTED if name in counters},
        leading={name: risk[name] for name in (*LEADING_GAUGES, *LEADING_COUNTS) if name in risk}
        if leader
        else {},
        refused=note.refused if note is not None else (),
    )


def _host(
    view: HostView, sight: HostSight, age_s: float, leader: str, newest: int, away_s: float
) -> ClusterHostStatus:
    leads = view.host == leader
    return ClusterHostStatus(
        name=view.host,
        age_s=round(age_s, 1),
        away=age_s > away_s,
        ahead_s=round(sight.ahead_ms / 1000, 1),
        leads=leads,
        # What a host that is away may run has ended by itself, because its time is over.
        shards=tuple(sorted(place.shard for place in view.shards if place.grant and age_s <= away_s)),
        behind=None if leads else max(newest - view.seq, 0),
        nats=view.nats,
        leaving=view.leaving,
        has_pairs=view.universe > 0,
        frames_s=view.frames_s,
        cpu=view.cpu,
        version=view.version,
        note=view.note,
        tells=view.alerts and view.term > 0,
    )


def elsewhere_of(cluster: ClusterStatus | None, shard: int) -> str:
    """Return where a shard is run when that is not this host, for people; empty in a run on one host."""
    if cluster is None:
        return ""
    holder = next((host.name for host in cluster.hosts if shard in host.shards), "")
    if holder == cluster.host:
        return ""
    return f"host {holder} runs it and has its books" if holder else "no host runs it now"


def problems_of_cluster(cluster: ClusterStatus, *, is_ending: bool) -> Iterator[Problem]:
    """Yield what keeps the cluster from trading as configured, as this host sees it."""
    if is_ending:
        return
    if not cluster.leader:
        lost = f"host {cluster.lost}, which led last, is away" if cluster.lost else ""
        why = "; ".join(filter(None, (lost, cluster.why)))
        text = "the cluster has no leader that this host knows"
        yield Problem("leader", "leader", f"{text}: {why}" if why else text)
    elif not cluster.may_trade:
        yield Problem(
            "host", cluster.host, f"this host does not trade: {cluster.why or 'no reason is known'}"
        )
    if not cluster.nats:
        yield Problem(
            "nats",
            "NATS",
            "this host is not connected to NATS: the hosts agree without it, and a takeover takes longer",
        )
    yield from _problems_of_hosts(cluster)
    if cluster.unplaced and cluster.leader:
        named = ", ".join(map(str, cluster.unplaced))
        yield Problem("unplaced", "shards", f"no host holds shard {named}: its pairs are not traded")
    for text in cluster.kept:
        yield Problem("kept", "commands", f"a command waits until the leader can be reached: {text}")


def _problems_of_hosts(cluster: ClusterStatus) -> Iterator[Problem]:
    own = next((host for host in cluster.hosts if host.name == cluster.host), None)
    for text in cluster.refused:
        yield Problem("host", text.partition(" is refused")[0], text)
    for host in cluster.hosts:
        is_own = host.name == cluster.host
        if host.leaving:
            continue
        if host.away:
            is_refused = any(text.startswith(f"host {host.name} is refused") for text in cluster.refused)
            if not is_own and not is_refused:
                yield Problem("host", host.name, f"host {host.name} {_how_away(host)}")
            continue
        if not host.has_pairs and (cluster.may_trade or not is_own):
            why = host.note or "it has not got the pairs of the cluster"
            yield Problem("host", host.name, f"host {host.name} does not trade: {why}")
        if abs(host.ahead_s) > _CLOCKS_APART_S:
            side = "ahead of" if host.ahead_s > 0 else "behind"
            yield Problem(
                "clock",
                f"clock of {host.name}",
                f"the wall clock of host {host.name} is {abs(host.ahead_s):,.0f} s {side} that of this host: set "
                "both by NTP, because trading days and times in the ledger follow the clock of the leader, and "
                "venues refuse requests with a wrong time",
            )
        if own is not None and own.version and host.version != own.version:
            yield Problem(
                "version",
                f"version of {host.name}",
                f"host {host.name} runs arbshard {host.version} and this host {own.version}: use one version on all "
                "hosts",
            )


def _how_away(host: ClusterHostStatus) -> str:
    if host.age_s is not None:
        return f"has not been seen for {host.age_s:,.0f} s"
    return (
        "was never seen: see whether it runs, whether its ports can be reached from here, and whether it has the "
        "same cluster file"
    )

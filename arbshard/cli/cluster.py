"""Defines ``arbshard cluster …``: makes the files of a new cluster, and shows what the agent of this host knows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.config.cluster import PORTS
from arbshard.config.cluster_file import find_address_fault, is_loopback
from arbshard.errors import SharedMemoryError, UsageError

if TYPE_CHECKING:
    from arbshard.cluster.keys import HostPlace
    from arbshard.model.cluster_note import ClusterNote

app = typer.Typer(help="Run one arbshard on several hosts: make its files, see what a host knows.")

_TRADES = "this host trades"
_LOST_S = 5.0
"""A leader that has not been seen for so long (seconds) is not shown as one."""
_SILENT_S = 1.0
"""An agent that has not beaten for so long (seconds) has ended or hangs; it beats several times a second."""


@app.command()
def init(
    hosts: Annotated[
        str,
        typer.Option(
            "--hosts",
            help="Name and address of each host, if need be with its port: a=10.0.0.1,b=10.0.0.2:7500.",
        ),
    ],
    nats: Annotated[
        str,
        typer.Option(
            "--nats", help="Addresses of the NATS servers, with commas; default: one on each host, port 4222."
        ),
    ] = "",
    cluster: Annotated[str, typer.Option("--cluster-name", help="Name of the cluster.")] = "arbshard",
    shards: Annotated[
        int, typer.Option("--shards", min=1, max=64, help="Number of shards of the whole cluster.")
    ] = 4,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65533, help="First of the three ports of each host.")
    ] = 7400,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("cluster"),
) -> None:
    """Make the cluster file, the keys of each host, and the settings of its NATS servers. Nothing is overwritten."""
    from arbshard.cluster.keys import CLUSTER_FILE, ClusterPlan, make_cluster

    places = _places_of(hosts, port)
    servers = tuple(one.strip() for one in nats.split(",") if one.strip())
    if not servers:
        addresses = dict.fromkeys(_bracketed(place.address) for place in places.values())
        servers = tuple(f"nats://{address}:4222" for address in addresses)
    made = make_cluster(ClusterPlan(cluster, places, servers, shards), out)
    for one in made:
        typer.echo(f"{one.path}: {f'for host {one.host} alone' if one.host else _whose(one.path)}")
    if len(places) == 2:
        typer.echo(
            "With two hosts the loss of either pauses trading; with three one of them may be lost.", err=True
        )
    if len(servers) == 2:
        typer.echo("With two NATS servers the loss of either stops both; use one, three or five.", err=True)
    local = [host for host, place in places.items() if is_loopback(place.address)]
    if local:
        typer.echo(
            f"Other machines cannot reach host {', '.join(local)}: its address is one of this machine alone.",
            err=True,
        )
    first = next(iter(places))
    typer.echo(
        f"Copy {CLUSTER_FILE} to each host, and to each host its own files. Start NATS, then on host {first}: "
        f"arbshard run --config desk.toml --cluster {CLUSTER_FILE} --host {first}"
    )


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what the agent of this host knows: the leader, all hosts, where the shards are, and what waits."""
    from arbshard.model.cluster_note import decode_cluster_note
    from arbshard.shm.pages import PageReader

    instance, files = running_files(name, config)
    try:
        with PageReader.attach(files.cluster_page) as page:
            raw, silent_s = page.note(), (time.monotonic_ns() - page.value("beat_ns")) / 1e9
    except SharedMemoryError as error:
        raise UsageError(
            f"'{instance}' runs on one host alone: a cluster begins with 'arbshard run --cluster FILE --host NAME'"
        ) from error
    if not raw:
        raise UsageError(f"the agent of '{instance}' has shown nothing yet; try again in a moment")
    if as_json:
        typer.echo(msgspec.json.format(raw).decode())
    else:
        _print(decode_cluster_note(raw), silent_s)


def _print(note: "ClusterNote", silent_s: float) -> None:
    from arbshard.status.render import terminal
    from arbshard.status.tables import WholeTable

    if silent_s > _SILENT_S:
        typer.echo(
            f"the cluster agent of this host has been silent for {silent_s:,.0f} s: this is what it knew then"
        )
    typer.echo(f"cluster {note.cluster}, seen from host {note.host}: {_leader_of(note, silent_s)}")
    typer.echo(f"NATS: {'connected' if note.nats else 'NOT connected'}")
    table = WholeTable("Hosts")
    for heading in ("host", "shards"):
        table.add_column(heading)
    for heading in ("seen", "term", "events", "frames/s", "CPU"):
        table.add_column(heading, justify="right")
    for heading in ("NATS", "version"):
        table.add_column(heading)
    table.add_column("note", no_wrap=False)
    for one in note.hosts:
        sight = note.sights.get(one.host)
        table.add_row(
            f"{one.host} (leads)" if one.leads else one.host,
            ", ".join(str(place.shard) for place in one.shards) or "-",
            f"{sight.age_ms / 1000 + silent_s:,.1f} s ago" if sight is not None else "this host",
            str(one.term),
            "-"
            if one.leads
            else f"{one.seq:,}",  # what its copy of the ledger has: the leader has the ledger
            f"{one.frames_s:,.0f}",
            f"{one.cpu:.0%}",
            "yes" if one.nats else "NO",
            one.version,
            one.note or "-",
        )
    terminal().print(table)
    if note.placement:
        places = ", ".join(f"{shard} on {host}" for shard, host in note.placement)
        typer.echo(f"shards, as the leader places them: {places}")
    for text in note.refused:
        typer.echo(text)
    for command in note.kept:
        typer.echo(f"kept until the leader can be reached: {command}")
    if silent_s <= _SILENT_S:
        typer.echo(f"this host does not trade: {note.why}" if note.why else _TRADES)


def _leader_of(note: "ClusterNote", silent_s: float) -> str:
    if not note.leader:
        return "no leader is known"
    sight = note.sights.get(note.leader)
    seen_s = sight.age_ms / 1000 + silent_s if sight is not None else 0.0
    if seen_s > _LOST_S:
        return f"host {note.leader} led last, and has not been seen for {seen_s:,.0f} s"
    confirmed = (
        f"it confirmed this host {note.contact_ms / 1000:.2f} s ago" if note.contact_ms >= 0 else "no contact"
    )
    return f"host {note.leader} leads in term {note.term}, {confirmed}"


def _places_of(text: str, port: int) -> "dict[str, HostPlace]":
    """Return where each host that ``--hosts`` names is reached. Raises ``UsageError``."""
    places: dict[str, HostPlace] = {}
    for part in text.split(","):
        host, _, address = part.strip().partition("=")
        place = _place_of(address, port)
        if not host or place is None:
            raise UsageError(
                f"--hosts {part.strip() or text}: write NAME=ADDRESS or NAME=ADDRESS:PORT, as in "
                "a=10.0.0.1,b=10.0.0.2"
            )
        if fault := find_address_fault(place.address):
            raise UsageError(f"--hosts {part.strip()}: {fault}")
        if host in places:
            raise UsageError(f"--hosts: names host {host} twice")
        places[host] = place
    _require_room(places)
    return places


def _place_of(text: str, port: int) -> "HostPlace | None":
    """Return the place that ``text`` names, as ADDRESS or ADDRESS:PORT; None when it has another form."""
    from arbshard.cluster.keys import HostPlace

    given = f"[{text}]" if text.count(":") > 1 and "[" not in text else text
    try:
        parts = urlsplit(f"//{given}")
        place = HostPlace(parts.hostname or "", parts.port or port)
    except ValueError:
        return None
    is_whole = parts.netloc == given and "@" not in given and place.address
    return place if is_whole else None


def _require_room(places: "dict[str, HostPlace]") -> None:
    """Raise ``UsageError`` with ports that may be used, when hosts at one address would use the same ports."""
    from arbshard.cluster.keys import HostPlace

    apart: dict[str, HostPlace] = {}
    for host, place in places.items():
        beside = [one.port for one in apart.values() if one.address == place.address]
        is_free = all(abs(place.port - one) >= PORTS for one in beside)
        apart[host] = place if is_free else HostPlace(place.address, max(beside) + PORTS)
    if apart != places:
        shown = ",".join(f"{host}={_bracketed(place.address)}:{place.port}" for host, place in apart.items())
        raise UsageError(
            f"--hosts: hosts at one address need ports of their own, {PORTS} each. On several machines, write the "
            f"address of each; to try a cluster on one machine, write --hosts {shown}"
        )


def _whose(path: Path) -> str:
    return "the same on each host" if path.suffix == ".toml" else "for that NATS server"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

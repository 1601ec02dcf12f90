"""Makes the files with which a cluster begins: the cluster file, the keys of each host, and the settings of NATS.

Nothing is ever overwritten, because a key that is lost cannot be made again.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import zmq

from arbshard.config.cluster_file import nats_place, parse_cluster
from arbshard.errors import UsageError
from arbshard.private_files import open_private

CLUSTER_FILE = "cluster.toml"
NATS_USER = "arbshard"
_ROUTES_PORTS = 2000
"""Difference between the port at which a NATS server talks to other servers and that for its clients, as in 6222 and
4222."""
_PASSWORD_BYTES = 24


class HostPlace(NamedTuple):
    """States where a host is reached."""

    address: str
    port: int


class ClusterPlan(NamedTuple):
    """States what the files are to contain."""

    name: str
    hosts: dict[str, HostPlace]
    nats: tuple[str, ...]
    shards: int


class MadeFile(NamedTuple):
    """Names a file that was made, and the host that needs it; empty for all."""

    path: Path
    host: str


def make_cluster(plan: ClusterPlan, folder: Path) -> Sequence[MadeFile]:
    """Write the files of a new cluster into ``folder``, and return what was written.

    Raises ``UsageError`` when one of them exists or the plan is invalid; then nothing was written.
    """
    pairs = {host: _key_pair() for host in plan.hosts}
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    publics = {host: public for host, (public, _) in pairs.items()}
    texts: dict[Path, tuple[str, str]] = {folder / CLUSTER_FILE: ("", _cluster_text(plan, publics))}
    for host, (_, secret) in pairs.items():
        texts[folder / f"{host}.key"] = host, _key_text(plan.name, host, secret, password)
    for owner, name, text in _nats_texts(plan, password):
        texts[folder / name] = owner, text
    hosts = {host: {**place._asdict(), "key": publics[host]} for host, place in plan.hosts.items()}
    tree = {"name": plan.name, "nats": plan.nats, "shards": plan.shards, "hosts": hosts}
    parse_cluster(tree, "cluster init")  # by the same rules as what people write, before anything is written
    for path in texts:
        if path.exists():
            raise UsageError(f"{path} exists: choose another folder by --out; nothing is ever overwritten")
    written: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, (_, text) in texts.items():
            with open_private(path, "x") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        raise UsageError(f"--out {folder}: cannot be written: {error.strerror}") from error
    return [MadeFile(path, host) for path, (host, _) in texts.items()]


def _key_pair() -> tuple[str, str]:
    """Return a new public key and its secret one (CURVE, Z85)."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _cluster_text(plan: ClusterPlan, publics: dict[str, str]) -> str:
    lines = [
        "# The cluster file: the same on every host. It holds no secret. docs/cluster.md describes each key.",
        f'name = "{plan.name}"',
        f"shards = {plan.shards}  # of the whole cluster",
        'replication = "sync"  # an approval waits until a majority of the hosts has stored it',
        f"nats = [{', '.join(_quoted(one) for one in plan.nats)}]",
    ]
    for host, place in plan.hosts.items():
        lines += [
            "",
            f"[hosts.{host}]",
            f"address = {_quoted(place.address)}",
            f"port = {place.port}  # and the two after it",
            f'key = "{publics[host]}"',
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key_text(name: str, host: str, secret: str, password: str) -> str:
    return (
        f"# Secret keys of host {host} of the cluster {name}. Keep this file on that host alone, with mode 0600.\n"
        f'curve_secret = "{secret}"\n'
        f'nats_user = "{NATS_USER}"\n'
        f'nats_password = "{password}"\n'
    )


def _nats_texts(plan: ClusterPlan, password: str) -> Sequence[tuple[str, str, str]]:
    """Return owner, file name and text of the settings of each NATS server; the owner is empty when it is no host of
    ours.

    Raises ``UsageError`` for an invalid address.
    """
    places: list[HostPlace] = []
    for address in plan.nats:
        place = nats_place(address)
        if place is None:
            raise UsageError(f"--nats {address}: write it as nats://HOST:4222")
        places.append(HostPlace(*place))
    owners = [
        next((host for host, one in plan.hosts.items() if one.address == at.address), "") for at in places
    ]
    found = []
    for number, (owner, place) in enumerate(zip(owners, places, strict=True), 1):
        is_alone = owner and owners.count(owner) == 1
        name = owner if is_alone else f"server{number}"
        others = [other for other in places if other != place]
        text = _nats_text(plan, name, place, others, password)
        found.append((owner if is_alone else "", f"nats-{name}.conf", text))
    return found


def _nats_text(
    plan: ClusterPlan, name: str, place: HostPlace, others: Sequence[HostPlace], password: str
) -> str:
    lines = [
        f"# Settings of the NATS server {name} of the cluster {plan.name}: nats-server --config nats-{name}.conf",
        f"server_name: {plan.name}-{name}",
        f'listen: "{_joined(place)}"',
        "jetstream {",
        f'  store_dir: "/var/lib/nats/{plan.name}-{name}"',
        "  max_memory_store: 64MB",
        "  max_file_store: 256MB",
        "}",
        f'authorization {{ user: {NATS_USER}, password: "{password}" }}',
    ]
    if others:
        routes = [
            f'    "nats-route://{NATS_USER}:{password}@{_joined(one, _ROUTES_PORTS)}"' for one in others
        ]
        lines += [
            "cluster {",
            f"  name: {plan.name}",
            f'  listen: "{_joined(place, _ROUTES_PORTS)}"',
            f'  authorization {{ user: {NATS_USER}, password: "{password}" }}',
            "  routes: [",
            *routes,
            "  ]",
            "}",
        ]
    lines += [
        "# The password crosses the network in clear text unless there is TLS. With certificates of your own, write",
        "# tls://HOST:4222 in the cluster file, and here (the same again inside of cluster):",
        '# tls { cert_file: "/etc/nats/server.pem", key_file: "/etc/nats/server.key", ca_file: "/etc/nats/ca.pem" }',
    ]
    return "\n".join(lines) + "\n"


def _joined(place: HostPlace, above: int = 0) -> str:
    address = f"[{place.address}]" if ":" in place.address else place.address
    return f"{address}:{place.port + above}"

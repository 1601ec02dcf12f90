"""Loads the cluster file, and the key file of the host that reads it.

An error has the file and the path of the key, and says what would be right. The cluster file holds no secret.
"""

import re
import tomllib
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from arbshard.config.cluster import PORTS, ClusterConfig, HostConfig, HostName
from arbshard.config.file import read_toml
from arbshard.config.section import Section, explain
from arbshard.errors import ConfigError
from arbshard.private_files import read_private
from arbshard.secret import Secret

NATS_PORT = 4222
_BEATS_MIN = 3
"""Number of beats that a lease must have room for: one of them may be lost."""

_LABEL = "[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")

Kind = TypeVar("Kind")


class HostKeys(NamedTuple):
    """Holds the secrets of this host."""

    curve: Secret
    """The secret key (CURVE, Z85) that belongs to ``HostConfig.key``."""
    nats_user: str
    nats_password: Secret
    """The password at NATS; empty where NATS asks for none."""


class _KeyFile(Section, frozen=True):
    curve_secret: str
    nats_user: str = ""
    nats_password: str = ""


def load_cluster(path: Path, host: str) -> ClusterConfig:
    """Return the cluster of the file ``path`` as ``host`` reads it. Raises ``ConfigError``."""
    cluster = parse_cluster(read_toml(path, str(path)), str(path))
    if host not in cluster.hosts:
        raise ConfigError(str(path), f"there is no host '{host}'; its hosts are {', '.join(cluster.hosts)}")
    key_file = path.absolute().parent / (cluster.key_file or f"{host}.key")
    return replace(cluster, host=host, key_file=str(key_file))


def parse_cluster(tree: dict[str, Any], where: str) -> ClusterConfig:
    """Return the cluster that the keys of a cluster file describe, for no host in particular.

    Raises ``ConfigError``, whose text begins with ``where``.
    """
    if "host" in tree:
        raise ConfigError(where, "host: the file is the same on all hosts; name this one by --host")
    hosts = tree.get("hosts")
    for name, table in hosts.items() if isinstance(hosts, dict) else ():
        _convert(name, HostName, where, f"hosts: the name {name!r}")
        _convert(table, HostConfig, where, f"hosts.{name}")
    cluster: ClusterConfig = _convert(tree, ClusterConfig, where, "")
    problem = _find_contradiction(cluster)
    if problem:
        raise ConfigError(where, problem)
    return cluster


def read_host_keys(cluster: ClusterConfig) -> HostKeys:
    """Return the secrets in the key file of this host.

    Raises ``ConfigError`` when the file is missing, may be read by others, or belongs to another host.
    """
    path = Path(cluster.key_file)
    try:
        keys = msgspec.convert(tomllib.loads(read_private(path, "cluster.key_file")), _KeyFile)
    except tomllib.TOMLDecodeError as error:  # its text may quote the file, which is secret
        raise ConfigError(str(path), "is not valid TOML") from error
    except msgspec.ValidationError as error:
        raise ConfigError(str(path), explain(error, _KeyFile)) from error
    secret = Secret(keys.curve_secret)
    shown = _public_key(secret)
    if shown is None:
        raise ConfigError(str(path), "curve_secret: must be a secret key of 40 characters (Z85)")
    if shown != cluster.own.key:
        raise ConfigError(
            str(path),
            f"curve_secret: its public key is {shown}, but hosts.{cluster.host}.key of the cluster file is "
            f"{cluster.own.key}; is this the file of another host, or of another cluster?",
        )
    return HostKeys(secret, keys.nats_user, Secret(keys.nats_password))


def nats_place(address: str) -> tuple[str, int] | None:
    """Return host and port of a NATS server's address; None when it is not one."""
    try:
        parts = urlsplit(address)
        port = parts.port or NATS_PORT
    except ValueError:
        return None
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path not in ("", "/"):
        return None
    return None if find_address_fault(parts.hostname) else (parts.hostname, port)


def find_address_fault(address: str) -> str:
    """Return why other hosts cannot reach anything at ``address``, a name or an IP address; empty if they may."""
    try:
        ip = ip_address(address)
    except ValueError:
        if not _NAME.match(address) or address.rstrip(".").rpartition(".")[2].isdecimal():
            return f"'{address}' is neither an IP address nor the name of a host"
        return ""
    if ip.is_unspecified or ip.is_multicast:
        return f"{address} is not the address of one host"
    return ""


def is_loopback(address: str) -> bool:
    """Return whether ``address`` means whichever machine uses it."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address.rstrip(".").lower() == "localhost"


def _public_key(secret: Secret) -> str | None:
    """Return the public key of a secret one; None if it is not a key."""
    import zmq  # not needed to read any other configuration

    try:
        public = secret.use_encoded(zmq.curve_public)
    except (ValueError, zmq.ZMQError):
        return None
    return public.decode() if isinstance(public, bytes) else None


def _find_contradiction(cluster: ClusterConfig) -> str:
    """Return what contradicts what in the file; empty if nothing does."""
    for number, address in enumerate(cluster.nats):
        if "@" in address:
            return f"nats[{number}]: no user or password may be in it; the key file of each host has them"
        if nats_place(address) is None:
            return f"nats[{number}]: write it as nats://HOST:{NATS_PORT} or tls://HOST:{NATS_PORT}, not '{address}'"
    for name, host in cluster.hosts.items():
        if fault := find_address_fault(host.address):
            return f"hosts.{name}.address: {fault}"
    if len(set(cluster.nats)) < len(cluster.nats):
        return "nats: names an address twice"
    if cluster.beat_ms * _BEATS_MIN > cluster.lease_ms:
        return f"beat_ms: must be at most a third of lease_ms, which is {cluster.lease_ms}"
    return _find_overlap(tuple(cluster.hosts.items()))


def _find_overlap(hosts: Sequence[tuple[str, HostConfig]]) -> str:
    for number, (name, one) in enumerate(hosts):
        for other, earlier in hosts[:number]:
            if one.key == earlier.key:
                return f"hosts.{name}.key: is the same as that of {other}; each host has a key of its own"
            if one.address == earlier.address and abs(one.port - earlier.port) < PORTS:
                return (
                    f"hosts.{name}.port: {other} has the same address, and each host uses {PORTS} ports from "
                    f"its port on; write {earlier.port + PORTS} or more"
                )
    return ""


def _convert(value: Any, kind: Any, where: str, path: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        root = kind if isinstance(kind, type) else ClusterConfig
        raise ConfigError(where, f"{path}: " * bool(path) + explain(error, root)) from error

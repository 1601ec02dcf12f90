"""Puts what the simulated exchanges report once they listen into the configuration. Pure; ``run`` uses it."""

import msgspec

from arbshard.config import Config, SimConfig
from arbshard.venues.registry import TRADED


class _Address(msgspec.Struct, frozen=True):
    ws_url: str
    rest_url: str


_Said = dict[str, msgspec.Raw]
"""An address by the venue's name, and other values."""


def with_exchanges(config: Config, ready: bytes) -> tuple[Config, SimConfig]:
    """Return ``config`` with their addresses, and the same exchanges on the same ports, in case they must be
    restarted.

    With ``sim.tls`` the run itself uses the addresses with TLS, so that it connects as to a real venue.
    """
    said = msgspec.json.decode(ready, type=_Said)
    plain = _addresses(said)
    used, ca_file = plain, ""
    sim = config.sim.on_ports(_ports(plain))
    secure = msgspec.json.decode(said["tls"], type=_Said | None) if "tls" in said else None
    if secure is not None:
        used, ca_file = _addresses(secure), msgspec.json.decode(secure["ca_file"], type=str)
        sim = sim.on_ports(_ports(used), tls=True)
    venues = config.venues.at(
        {venue: (one.ws_url, one.rest_url) for venue, one in used.items()}, ca_file=ca_file
    )
    return msgspec.structs.replace(config, venues=venues), sim


def _addresses(said: _Said) -> dict[str, _Address]:
    return {venue: msgspec.json.decode(said[venue], type=_Address) for venue in TRADED}


def _ports(addresses: dict[str, _Address]) -> dict[str, int]:
    return {venue: int(one.rest_url.rsplit(":", 1)[1]) for venue, one in addresses.items()}

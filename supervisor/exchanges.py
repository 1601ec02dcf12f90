"""What the simulated exchanges say once they listen, put into the configuration. Pure; used by ``run``."""

import msgspec

from arbshard.config import Config, SimConfig, VenueConfig


class _Address(msgspec.Struct, frozen=True):
    ws_url: str
    rest_url: str


class _Secure(msgspec.Struct, frozen=True):
    upbit: _Address
    binance: _Address
    ca_file: str


class _Ready(msgspec.Struct, frozen=True):
    upbit: _Address
    binance: _Address
    tls: _Secure | None = None


def with_exchanges(config: Config, ready: bytes) -> tuple[Config, SimConfig]:
    """``config`` with their addresses; and the same exchanges on the same ports, should they have to be restarted.

    With ``sim.tls`` the run itself uses the addresses with TLS, so that it takes the way to a real venue.
    """
    said = msgspec.json.decode(ready, type=_Ready)
    replace = msgspec.structs.replace
    used, ca_file = (said.tls, said.tls.ca_file) if said.tls is not None else (said, "")
    venues = replace(
        config.venues,
        upbit=_at(config.venues.upbit, used.upbit, ca_file),
        binance=_at(config.venues.binance, used.binance, ca_file),
    )
    sim = replace(config.sim, upbit_port=_port(said.upbit), binance_port=_port(said.binance))
    if said.tls is not None:
        sim = replace(sim, upbit_tls_port=_port(said.tls.upbit), binance_tls_port=_port(said.tls.binance))
    return replace(config, venues=venues), sim


def _at(venue: VenueConfig, address: _Address, ca_file: str) -> VenueConfig:
    return msgspec.structs.replace(venue, ws_url=address.ws_url, rest_url=address.rest_url, ca_file=ca_file)


def _port(address: _Address) -> int:
    return int(address.rest_url.rsplit(":", 1)[1])

"""What the simulated exchanges say once they listen, put into the configuration. Pure; used by ``run``."""

import msgspec

from arbshard.config import Config, SimConfig


class _Address(msgspec.Struct, frozen=True):
    ws_url: str
    rest_url: str


class _Ready(msgspec.Struct, frozen=True):
    upbit: _Address
    binance: _Address


def with_exchanges(config: Config, ready: bytes) -> tuple[Config, SimConfig]:
    """``config`` with their addresses; and the same exchanges on the same ports, should they have to be restarted."""
    said = msgspec.json.decode(ready, type=_Ready)
    replace = msgspec.structs.replace
    venues = replace(
        config.venues,
        upbit=replace(config.venues.upbit, ws_url=said.upbit.ws_url, rest_url=said.upbit.rest_url),
        binance=replace(config.venues.binance, ws_url=said.binance.ws_url, rest_url=said.binance.rest_url),
    )
    upbit, binance = (int(address.rest_url.rsplit(":", 1)[1]) for address in (said.upbit, said.binance))
    sim = replace(config.sim, upbit_port=upbit, binance_port=binance)
    return replace(config, venues=venues), sim

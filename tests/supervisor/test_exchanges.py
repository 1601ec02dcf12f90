"""What the simulated exchanges say, put into the configuration."""

from msgspec.structs import replace

from arbshard.config import Config
from supervisor.exchanges import with_exchanges

READY = b"""{"pid":1,"tls":null,
 "upbit":{"ws_url":"ws://127.0.0.1:11/websocket/v1","rest_url":"http://127.0.0.1:11"},
 "binance":{"ws_url":"ws://127.0.0.1:12","rest_url":"http://127.0.0.1:12"}}"""


def test_addresses_and_ports():
    config = Config()
    fees = config.venues.upbit.buy_fee_bps
    found, sim = with_exchanges(config, READY)
    assert found.venues.upbit.ws_url == "ws://127.0.0.1:11/websocket/v1"
    assert found.venues.binance.rest_url == "http://127.0.0.1:12"
    assert found.venues.upbit.buy_fee_bps == fees
    assert (sim.upbit_port, sim.binance_port) == (11, 12)
    assert replace(sim, upbit_port=0, binance_port=0) == config.sim


def test_with_tls_the_run_itself_uses_it():
    tls = b"""{"ca_file":"/run/sim-ca.pem",
     "upbit":{"ws_url":"wss://127.0.0.1:21/websocket/v1","rest_url":"https://127.0.0.1:21"},
     "binance":{"ws_url":"wss://127.0.0.1:22","rest_url":"https://127.0.0.1:22"}}"""
    config = Config()
    found, sim = with_exchanges(config, READY.replace(b"null", tls))
    assert found.venues.upbit.ws_url == "wss://127.0.0.1:21/websocket/v1"
    assert found.venues.binance.rest_url == "https://127.0.0.1:22"
    assert {found.venues.upbit.ca_file, found.venues.binance.ca_file} == {"/run/sim-ca.pem"}
    assert (sim.upbit_port, sim.binance_port, sim.upbit_tls_port, sim.binance_tls_port) == (11, 12, 21, 22)

"""Measures the whole system, which is real processes and sockets, at a fixed rate of prepared frames (open loop).

``measure`` makes one row of the table: it starts the system, warms it up, reads the pages, waits, reads
them again, and ends the system.
"""

import time
from typing import Any

import msgspec

from arbshard.config import Config
from arbshard.exchanges.coins import COINS_MAX, coin_table
from arbshard.venues.registry import ADAPTERS, AWAY, HOME
from perf.figures import LoadRow
from perf.reading import Observer
from perf.running import System

SHARDS = 2
RATES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
WARM_UP_S = 3.0
_CHECK_S = 0.05
_COINS = ((5_000, 60), (20_000, 300), (100_000, 1_000))
"""Pairs of (highest rate, coins): each market gets as many messages as real venues send at most."""

_FEE_COINS = frozenset(coin for adapter in ADAPTERS.values() for coin in adapter.rules.fee_coins)
_SYMBOLS = Config().symbols
UNTRADED = frozenset(
    coin.base
    for coin in coin_table(COINS_MAX)
    if coin.base in _FEE_COINS or _SYMBOLS.home_ticker(HOME, AWAY, coin.base) is None
)
"""Coins of the generator that arbshard does not trade, so that it does not subscribe to them: those in which a venue
takes fees, and those whose ticker is another coin's at the other venue.
"""


def coins_at(rate: float) -> int:
    """Return how many coins share ``rate`` messages per second, on both venues."""
    return next((coins for highest, coins in _COINS if rate <= highest), _COINS[-1][1])


def traded_of(coins: int) -> int:
    """Return how many of the generator's first ``coins`` arbshard trades."""
    return sum(coin.base not in UNTRADED for coin in coin_table(coins))


def updates_of(rate: float, coins: int) -> float:
    """Return the updates per second of each market that is subscribed to: two for each of ``coins``, and FX."""
    return rate / (2 * coins + 1)


def config_of(
    rate: float, coins: int, shards: int, receiver: str | None = None, transport: str = "local"
) -> dict[str, Any]:
    """Return what differs from the default configuration."""
    config: dict[str, Any] = {
        "run": {"shards": shards, "spare_workers": 1, "log_level": "warning", "transport": transport},
        "sim": {"coins": coins, "updates_per_s": updates_of(rate, traded_of(coins)), "regime": "calm"},
        # The generator sends the same frames again and again, with the exchange time at which they were made.
        "data_quality": {"max_lag_ms": 0},
    }
    if receiver is not None:
        section = receiver_section()
        assert section is not None, "checked by the command line"
        config.setdefault(section, {})["receiver"] = receiver
    return config


def receiver_section() -> str | None:
    """Return the section of the configuration that chooses the WebSocket client; None where there is no
    choice.
    """
    config = Config()
    return next(
        (name for name in config.__struct_fields__ if hasattr(getattr(config, name), "receiver")), None
    )


def measure(
    rate: float,
    seconds: float,
    *,
    coins: int | None = None,
    shards: int = SHARDS,
    receiver: str | None = None,
    transport: str = "local",
    warm_up_s: float = WARM_UP_S,
) -> LoadRow:
    """Return one row. Raises ``MeasurementFailed`` when the system does not start, or ends before its time.

    ``rate`` is in messages per second; ``coins`` is derived from it when it is not given.
    """
    coins = coins or coins_at(rate)
    with System(("-m", "perf.system"), config_of(rate, coins, shards, receiver, transport)) as system:
        system.until_running()
        system.until_deciding()
        observer = Observer(system, shards, rate, coins)
        try:
            _watch(observer, warm_up_s)
            observer.forget_slots()
            first = observer.read()
            _watch(observer, seconds)
            row = observer.row(first, observer.read())
            return msgspec.structs.replace(
                row, details={"receiver": receiver or "as configured", "transport": transport}
            )
        finally:
            observer.close()


def _watch(observer: Observer, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        observer.check_slots()
        time.sleep(_CHECK_S)

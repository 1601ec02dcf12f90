"""Watch the gaps of a few pairs on the real public feeds, without trading.

``python examples/watch_gaps.py BTC ETH``
"""

import asyncio
import sys
from pathlib import Path

from arbshard import (
    ArbshardError,
    SystemClock,
    WebSocketMarketDataProvider,
    find_universe,
    gap_bps,
    load_config,
)


async def main(symbols: list[str], config_file: str = "configs/paper.toml", seconds: int = 30) -> None:
    """Print every pair's gap once a second."""
    config = load_config(Path(config_file))
    universe = await find_universe(config, symbols)
    provider = WebSocketMarketDataProvider(config, [leg.market for leg in universe.legs()], SystemClock())
    await provider.start()
    for _ in range(seconds):
        await asyncio.sleep(1)
        latest = provider.get_latest_snapshot
        rate = latest(universe.fx.market.symbol)
        for pair in universe.pairs:
            home, away = latest(pair.home.market.symbol), latest(pair.away.market.symbol)
            if home and away and rate:
                print(f"{pair.base:6} {gap_bps(home, away, (rate.best_bid, rate.best_ask)):8.1f} bp")
    await provider.stop()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:] or ["BTC", "ETH"]))
    except ArbshardError as error:
        sys.exit(f"watch_gaps: {error}")

"""Trade a few pairs on paper for a minute, in one process.

``python examples/trade_paper.py configs/paper.toml BTC ETH``
"""

import argparse
import sys
from pathlib import Path

from arbshard import ArbitrageLiveRunner, ArbshardError, TradeReport, load_config


def show(report: TradeReport) -> None:
    """Print one line for each trade."""
    pnl = report.position.pnl if report.position is not None else None
    print(
        f"{report.pair:6} {report.kind:5} {report.result:8} {report.reason:16} {pnl if pnl is not None else ''}"
    )


def main(config_file: str, symbols: list[str], seconds: float = 60.0) -> None:
    """Trade, then print the results."""
    with ArbitrageLiveRunner.create(load_config(Path(config_file)), symbols) as runner:
        runner.run_multisymbol_loop(duration_s=seconds, on_report=show)
        runner.stop()
    print(runner.portfolio.results.run.get(""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trade a few pairs on paper for a minute.")
    parser.add_argument(
        "config", nargs="?", default="configs/paper.toml", help="a TOML file with data = 'public'"
    )
    parser.add_argument("symbols", nargs="*", default=["BTC", "ETH"], help="pairs, by base or market")
    given = parser.parse_args()
    try:
        main(given.config, given.symbols)
    except ArbshardError as error:
        sys.exit(f"trade_paper: {error}")

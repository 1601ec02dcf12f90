"""Runs that trade all the time, and a way to keep the files of their ledgers."""

import shutil
from pathlib import Path

import pytest
from typing_extensions import override

from support.instance import Ended, Instance

# Enters whatever it costs, leaves after some seconds and enters again: something is always open, the ledger grows.
CONFIG = """
mode = "{mode}"
[sim]
coins = 6
seed = 11
updates_per_s = 5.0
[run]
shards = 1
spare_workers = 0
stop_timeout_s = {stop_timeout_s}
restart_tries = 20
stuck_after_ms = 10000
{run}
[data_quality]
max_book_age_ms = 5000
max_leg_skew_ms = 5000
max_fx_age_ms = 10000
[strategy]
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_loss_bps = 5000
stop_room_bps = 0
take_profit_bps = 4000
close_on_spread_reversal = false
max_hold_s = 6
cooldown_ms = 50
[limits]
edge_bps_min = -100
edge_bps_max = 100000
"""


class System(Instance):
    """One instance that trades all the time. What it prints is compared without the line breaks of its table."""

    def __init__(
        self,
        folder: Path,
        *,
        mode: str = "paper",
        run: str = "",
        state: Path | None = None,
        stop_timeout_s: float = 4.0,
    ) -> None:
        """``stop_timeout_s``: a run whose positions are not closed within it ends with 1, also because of load."""
        super().__init__(
            folder,
            CONFIG.format(mode=mode, run=run, stop_timeout_s=stop_timeout_s),
            state=state,
            arguments=("--live",) if mode == "live" else (),
            environment={"COLUMNS": "200"},
        )

    def trading(self, positions: int = 2) -> dict:
        """Running, with so many positions open."""
        return self.until(lambda s: s["state"] == "running" and s["portfolio"]["open"] >= positions, 100)

    @override
    def ended(self, process=None, timeout_s: float = 100.0) -> Ended:
        code, out, err = super().ended(process, timeout_s)
        return Ended(code, " ".join(out.split()), err)


@pytest.fixture
def system(tmp_path):
    """Makes systems; whatever they started is ended."""
    made: list[System] = []

    def make(**choices) -> System:
        made.append(System(tmp_path, **choices))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def kept(tmp_path):
    """Keeps the files of a ledger by another name, and puts them back."""
    folder = tmp_path / "kept"

    class Kept:
        def keep(self, ledger: Path) -> None:
            folder.mkdir()
            for path in ledger.parent.glob("ledger.sqlite*"):
                (folder / path.name).hardlink_to(path)

        def put_back(self, ledger: Path) -> None:
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                ledger.with_name(name).unlink(missing_ok=True)
                if (folder / name).exists():
                    shutil.copy2(folder / name, ledger.with_name(name))

    return Kept()

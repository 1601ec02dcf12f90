"""A live run on the embedded exchanges, whose accounts process is killed in between; and where keys must not be."""

import json
import os
import signal
import time
import urllib.request
from contextlib import closing, suppress
from decimal import Decimal

import msgspec
import psutil
import pytest

from arbshard.config import Config
from arbshard.ledger.events import decode_event
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.verify import verify
from support.instance import LIVE, SIM_KEYS, SIM_SECRET, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

DOUBLES = Decimal("0.000001")
"""By how much an amount may differ where figures were doubles."""


CONFIG = f"""{LIVE}
[sim]
coins = 4
[run]
shards = 1
"""


class LiveInstance(Instance):
    """A live run on the embedded exchanges, whose accounts are compared at its end."""

    def counts(self) -> dict[str, int]:
        """Counters of the accounts process."""
        nothing = dict.fromkeys(("pid", "statements_upbit", "statements_binance", "events_upbit"), 0)
        return self.counters(self.files.accounts_page) or nothing

    def stop_watching(self) -> dict[tuple[str, str], Decimal]:
        """Stop in order; returns what the venues held when they were last asked."""
        held = venue_balances(self.files)
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "did not end"
            with suppress(OSError):  # the exchanges are the last to go
                held = venue_balances(self.files)
            time.sleep(0.01)
        return held


@pytest.fixture
def running(tmp_path):
    with LiveInstance(tmp_path, CONFIG, arguments=("--live",), environment=SIM_KEYS) as one:
        one.start()
        yield one


def venue_balances(files):
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    held = {}
    control = {"Authorization": f"Bearer {json.loads(files.sim_ready.read_text())['token']}"}
    for venue in ("upbit", "binance"):
        url = f"{config.venues.get(venue).rest_url}/sim/accounts"
        with urllib.request.urlopen(urllib.request.Request(url, headers=control), timeout=5) as reply:
            (account,) = msgspec.json.decode(reply.read()).values()
        for currency, row in account["balances"].items():
            held[venue, currency] = Decimal(row["free"]) + Decimal(row["locked"])
    return {place: amount for place, amount in held.items() if amount}


def test_the_accounts_process_is_killed_and_nothing_is_lost(running):
    running.wait_for(lambda: running.counts()["events_upbit"] > 4)
    first = running.counts()["pid"]
    os.kill(first, signal.SIGKILL)
    running.wait_for(lambda: running.counts()["pid"] not in (0, first))
    running.wait_for(
        lambda: min(running.counts()[f"statements_{venue}"] for venue in ("upbit", "binance")) > 1
    )
    counts = running.counts()
    assert counts["errors"] == counts["denied"] == 0
    assert counts["stream_up_upbit"] == counts["stream_up_binance"] == 1
    children_pages = [
        path for path in running.files.dir.iterdir() if path.name.startswith(("page", "budget"))
    ]
    assert children_pages
    assert not any(SIM_SECRET.encode() in path.read_bytes() for path in children_pages)
    children = psutil.Process(running.process.pid).children(recursive=True)
    argv = [" ".join(child.cmdline()) for child in children]
    assert not any(SIM_SECRET in line for line in argv)
    assert len(argv) >= 4
    held = running.stop_watching()
    # A run with a restart in it is told as one to look at; nothing else was wrong.
    assert running.process.returncode == 1, running.output
    assert "0 logged, 1 restarts" in running.output
    for log in running.logs.iterdir():
        assert SIM_SECRET not in log.read_text(), log
    assert SIM_SECRET not in running.output
    report = verify(running.ledger)
    assert report.differences == ()
    assert report.positions > 0
    assert report.kinds.get("DifferenceFound", 0) == 0
    with closing(LedgerReader(running.ledger)) as ledger:
        stopped = [decode_event(row[5]) for row in ledger.rows(kinds=("Stopped",))]
    booked = {(venue, currency): amount for venue, currency, amount in stopped[-1].balances if amount}
    assert booked.keys() == held.keys()
    for place, amount in booked.items():  # Upbit's private events state doubles, Binance states exact amounts
        assert abs(amount - held[place]) <= (DOUBLES if place[0] == "upbit" else 0), place

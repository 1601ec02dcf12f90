"""Equity over a real run: an unrealised loss halts, a stop keeps exits back, and a person still closes."""

import json

import pytest

from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# Each position stands at a loss of some 20 basis points as soon as it is open: half of the round trip's costs. The
# stop comes after the halt, because it takes more of them.
TINY = """
[sim]
coins = 8
seed = 11
regime = "high-win"
updates_per_s = 5.0
[run]
stuck_after_ms = 30000
[strategy]
entry_bps = 8.0
min_edge_bps = 4.0
round_trip_bps = -100.0
take_profit_bps = 900.0
close_on_spread_reversal = false
stop_loss_bps = 5000.0
max_hold_s = 6.0
[limits]
halt_daily_loss = 100
stop_daily_loss = 200
"""


@pytest.mark.nightly  # in the gate tests/cases/test_bounded_losses.py halts on an unrealised loss
def test_an_unrealised_loss_stops_everything_but_a_close_by_hand(tmp_path):
    with Instance(tmp_path, TINY) as run:
        run.start()
        run.until_running()
        halted = run.until(lambda s: "stopped" in s["halted"] or "no exits" in s["halted"])
        assert "halted (daily_loss)" in halted["halted"]
        assert "except by 'arbshard close --name t'" in halted["halted"]
        equity = halted["equity"]
        assert float(equity["realised"]) == 0
        assert float(equity["unrealised"]) <= -200
        assert equity["equity"] == equity["unrealised"]
        assert float(equity["account_value"]) > 100_000_000
        positions = json.loads(run.do("positions", "--json"))
        assert positions
        assert all(float(one["fees"]) > 0 and float(one["home_flow"]) for one in positions)
        # Their time is over after 6 s, and no rule closes them.
        run.wait_for(lambda: min(one["age_s"] for one in json.loads(run.do("positions", "--json"))) > 8)
        assert {one["position_id"] for one in json.loads(run.do("positions", "--json"))} >= {
            one["position_id"] for one in positions
        }
        first = positions[0]["symbol"]
        assert f"closed {first}" in run.do("close", first)
        said = run.do("resume", "--reason", "seen")
        assert "resumed; it was halted since" in said
        run.until(lambda s: s["portfolio"]["exits"] >= len(positions))
        run.do("stop")
        run.ended()
        run.verify()

"""Live orders to the embedded exchanges, one of which refuses for a while: what is lost, naked and shown."""

import os
import time
from decimal import Decimal

import pytest

from support.instance import LIVE, SIM_KEYS, Instance

REFUSED_S = float(os.environ.get("ARBSHARD_TEST_REFUSED_S", "20"))
"""The figures of three minutes are had with 180."""
pytestmark = [pytest.mark.integration, pytest.mark.timeout(160 + 4 * int(REFUSED_S))]

PAUSE_MAX_S = 8
CONFIG = f"""{LIVE}
[sim]
coins = 4
[strategy]
max_hold_s = 6.0
[execution]
pause_max_s = {PAUSE_MAX_S}
[run]
shards = 1
"""
COST_BPS_MAX = 60
REJECTS = {"reject": {"share": 1, "upbit_error": "insufficient_funds_ask"}}
REVOKED = {"key_revoked": {"share": 1}}


class Desk(Instance):
    """A live run on the embedded exchanges, whose faults the test sets."""

    def refused(self) -> int:
        """Orders that a venue has refused, of the whole ledger."""
        return sum(bool(one.get("fault")) for one in self.events("OrderReported"))


def watch(desk: Desk, seconds: float) -> tuple[float, Decimal, float]:
    """Look at the run while orders are refused; (seconds until a problem was shown, dearest exits, seconds naked).

    The first is counted from the first refused order, the second is in basis points of the position.
    """
    began = looked = time.monotonic()
    first = shown = 0.0
    dearest, naked_s = Decimal(0), 0.0
    printed = began
    known = desk.refused()
    while time.monotonic() < began + seconds:
        time.sleep(0.1)
        now = time.monotonic()
        note, status = desk.risk_note(), desk.status()
        first = first or (now if desk.refused() > known else 0.0)
        about = [
            line for line in status["problems"] if "could not be left" in line or "takes no orders" in line
        ]
        shown = shown or (now if about else 0.0)
        notionals = {one.pair: Decimal(one.notional) for one in note.positions}
        for pair, failing in note.failing.items():
            if pair in notionals:
                dearest = max(dearest, Decimal(failing.cost) / notionals[pair] * 10_000)
        is_naked = Decimal(note.equity.naked) > 5000
        naked_s += now - looked if is_naked else 0.0
        looked = now
        if now - printed > seconds / 8:
            printed = now
            print(
                f"{now - began:5.1f} s: {status['state']}, {len(note.positions)} open, naked {note.equity.naked}, "
                f"equity {note.equity.equity}, {desk.refused() - known} orders refused; {status['problems']}"
            )
    assert first, "nothing was refused"
    assert shown, "nothing was shown"
    return max(shown - first, 0.0), dearest, naked_s


def test_what_a_venue_that_refuses_costs_and_that_all_is_right_again(tmp_path):
    with Desk(tmp_path, CONFIG, arguments=("--live",), environment=SIM_KEYS) as desk:
        desk.start()
        desk.wait_for(lambda: len(desk.risk_note().positions) >= 2)
        for venue, fault in (("upbit", REJECTS), ("binance", REVOKED)):
            desk.wait_for(lambda: desk.risk_note().positions)
            desk.set_faults(venue, {"set": fault})
            before = desk.refused()
            shown_s, dearest, naked_s = watch(desk, REFUSED_S)
            refused = desk.refused() - before
            print(
                f"{venue}: shown after {shown_s:.1f} s, exits cost {dearest:.1f} bps at most, naked for "
                f"{naked_s:.1f} s, {refused} orders refused"
            )
            held = {one.position_id for one in desk.risk_note().positions}
            desk.set_faults(venue, {"clear": list(fault)})
            assert shown_s <= 10
            assert dearest < COST_BPS_MAX
            assert naked_s < REFUSED_S / 2
            assert refused < 4 * (10 + 3 * REFUSED_S / PAUSE_MAX_S)  # before it was 9 a second
            entries = desk.risk_note().portfolio.entries

            def is_right(held: set[str] = held, entries: int = entries) -> bool:
                note = desk.risk_note()
                left = held & {one.position_id for one in note.positions}
                return (
                    not left and not note.refusing and not note.failing and note.portfolio.entries > entries
                )

            desk.wait_for(is_right, 100, lambda: desk.status()["problems"])
            assert desk.risk_note().halt is None
            assert not desk.risk_note().apart
        desk.stop()
        desk.verify()

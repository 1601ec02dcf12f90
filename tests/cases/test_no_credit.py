"""On paper nobody lends us anything: a worker and risk with little money, on venues that are as unkind as can be."""

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from arbshard.ledger.events import IntentApproved, OrderExtended, OrderReported
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import Close, Halt, Resume
from support import trading_rig as t
from support.effort import effort

BASES = ("AAA", "BBB")
UNKIND = {
    "reject_share": 0.2,
    "partial_share": 0.3,
    "unknown_share": 0.2,
    "unknown_s": 1.0,
    "late_fill_share": 0.5,
    "refusals_per_day": 10_000.0,
    "refusal_s": 3.0,
}
RECKLESS = {"cooldown_ms": 0.0, "max_hold_s": 5.0, "stop_loss_bps": 150.0}
"""Enters and leaves as often as it can."""


class Move(NamedTuple):
    """What happens to one pair, and for how long nothing else does."""

    base: str
    gap_bps: float
    size: float
    """Of every level of the books, in coins: some are worth less than the smallest order."""
    away_is_up: bool
    order: str
    """What a person orders: nothing mostly."""
    seconds: float


MOVES = st.builds(
    Move,
    st.sampled_from(BASES),
    st.sampled_from([-150.0, -75.0, 0.0, 75.0, 150.0]),
    st.sampled_from([1.0, 10.0, 50.0, 1e6]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["", "", "", "", "close", "halt", "resume"]),
    st.sampled_from([0.25, 1.0, 4.0]),
)


def test_no_balance_is_below_zero_after_any_event():
    found = dict.fromkeys(("intents", "filled", "extra", "unknown", "refused", "late"), 0)

    def count(event):
        found["intents"] += isinstance(event, IntentApproved)
        found["extra"] += isinstance(event, OrderExtended)
        if isinstance(event, OrderReported):
            found["filled"] += bool(event.fills)
            found["unknown"] += event.state == "UNKNOWN"
            found["refused"] += event.state == "REJECTED"
            found["late"] += event.state == "PARTIAL"

    # An example takes half a second: to make a failing one smaller would take many minutes.
    @settings(
        max_examples=effort(12, 200), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
    )
    @given(
        seed=st.integers(1, 1_000),
        quote_home=st.integers(100_000, 3_000_000),
        quote_away=st.integers(100, 2_000),
        inventory=st.integers(50_000, 1_500_000),
        moves=st.lists(MOVES, min_size=10, max_size=40),
    )
    def holds(seed, quote_home, quote_away, inventory, moves):
        paper = UNKIND | {
            "seed": seed,
            "quote_home": Decimal(quote_home),
            "quote_away": Decimal(quote_away),
            "inventory_notional": Decimal(inventory),
        }

        async def work(rig):
            await trade(rig, moves)
            state = PortfolioState()
            for event in rig.events():
                state.apply(event)
                overdrawn = {account: one.total for account, one in state.balances.items() if one.total < 0}
                assert not overdrawn, event
                count(event)

        with tempfile.TemporaryDirectory() as folder:
            t.run(Path(folder), work, bases=BASES, paper=paper, strategy=RECKLESS)

    holds()
    print(found)
    assert min(found.values()) > 5, found


async def trade(rig, moves):
    """Let the moves happen, one after the other."""
    for move in moves:
        prices = rig.prices[move.base]
        prices.gap_bps, prices.size = move.gap_bps, move.size
        prices.live["binance"] = move.away_is_up
        if move.order == "close":
            rig.command(Close((move.base,)))
        elif move.order == "halt":
            rig.command(Halt("seen enough", flatten=move.gap_bps > 0))
        elif move.order == "resume":
            rig.command(Resume("seen enough"))
        await rig.sleep(move.seconds)

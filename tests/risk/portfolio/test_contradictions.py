"""Events of transfers and valuations that contradict what is known: such a ledger is not gone on with."""

from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import Deposited, EquityMarked, TransferAnnounced, TransferEnded
from arbshard.risk.portfolio.state import PortfolioState

D = Decimal


def announced(transfer_id: str = "t1") -> TransferAnnounced:
    return TransferAnnounced(
        at_ms=2, transfer_id=transfer_id, source="upbit", target="binance", currency="BTC",
        amount=D("1.5"), fee=D("0.0005"), price=D(1_000_000), reason="by hand",
    )  # fmt: skip


def moved(venue: str, amount: str, transfer_id: str = "t1") -> Deposited:
    return Deposited(
        at_ms=3, venue=venue, currency="BTC", amount=D(amount), why="transfer", transfer=transfer_id
    )


def ended(fee: str, lost: str, transfer_id: str = "t1") -> TransferEnded:
    return TransferEnded(
        at_ms=4, transfer_id=transfer_id, currency="BTC", how="lost", fee=D(fee), lost=D(lost)
    )


def marked(equity: str, unrealised: str, high_water: str) -> EquityMarked:
    return EquityMarked(
        at_ms=5, equity=D(equity), unrealised=D(unrealised), high_water=D(high_water),
        day=1, day_unrealised=D(0), week_unrealised=D(0), marks=(),
    )  # fmt: skip


@pytest.fixture
def state() -> PortfolioState:
    """2 BTC at home, 1.5 of which are to be moved away."""
    made = PortfolioState()
    made.apply(Deposited(at_ms=1, venue="upbit", currency="BTC", amount=D(2), why="opening"))
    made.apply(announced())
    return made


@pytest.mark.parametrize(
    ("before", "event", "said"),
    [
        ((), announced(), "transfer t1 was announced twice"),
        ((), moved("upbit", "-1.6"), "-1.6 on upbit is not a part of it"),
        ((), moved("binance", "-1.5"), "-1.5 on binance is not a part of it"),
        ((), moved("binance", "1.5"), "1.5 on binance is not a part of it"),  # it has not left
        ((moved("upbit", "-1.5"),), moved("binance", "1.6"), "1.6 on binance is not a part of it"),
        ((), moved("upbit", "-1.5", "t2"), "transfer t2 is not open"),
        ((), ended("0", "0", "t2"), "transfer t2 is not open"),
        ((), ended("0", "1.5"), "ended with 0 under way"),
        ((moved("upbit", "-1.5"),), ended("0.0005", "0"), "ended with 1.5 under way"),
        ((moved("upbit", "-1.5"), ended("0.0005", "1.4995")), ended("0", "0"), "transfer t1 is not open"),
    ],
)
def test_a_transfer_that_contradicts_what_is_known_is_damage(state, before, event, said) -> None:
    for one in before:
        state.apply(one)
    with pytest.raises(LedgerDamaged, match=said):
        state.apply(event)


def test_a_transfer_that_is_ended_before_it_has_left_holds_nothing_any_more(state) -> None:
    assert state.balance("upbit", "BTC").held == D("1.5")
    state.apply(TransferEnded(at_ms=4, transfer_id="t1", currency="BTC", how="cancelled"))
    assert (state.balance("upbit", "BTC").held, state.balance("upbit", "BTC").total) == (0, 2)


def test_equity_that_is_not_the_sum_of_its_parts_is_damage(state) -> None:
    state.apply(marked("5", "5", "5"))
    with pytest.raises(LedgerDamaged, match="equity is stated as 6, realised 0 and unrealised 5"):
        state.apply(marked("6", "5", "6"))


def test_a_high_water_mark_that_falls_is_damage(state) -> None:
    state.apply(marked("5", "5", "7"))
    with pytest.raises(LedgerDamaged, match="the high-water mark fell to 6 from 7"):
        state.apply(marked("5", "5", "6"))

"""Double entry: nothing appears or vanishes."""

from collections import defaultdict
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from arbshard.ledger.events import Deposited, OrderReported, Stopped
from arbshard.ledger.postings import postings_of, venue_account
from arbshard.model.market import Market
from arbshard.model.order import Fill

amounts = st.decimals(Decimal("0.00000001"), Decimal(10) ** 9, places=8)
fees = st.decimals(Decimal(0), Decimal(10) ** 4, places=8)
MARKETS = (Market("upbit", "KRW-BTC", "BTC", "KRW"), Market("binance", "ETHUSDT", "ETH", "USDT"))


@st.composite
def fills(draw) -> Fill:
    market = draw(st.sampled_from(MARKETS))
    currency = draw(st.sampled_from((market.base, market.quote)))
    side = draw(st.sampled_from(("buy", "sell")))
    return Fill("f", "c", market, side, draw(amounts), draw(amounts), draw(fees), currency)


def reported(*made: Fill) -> OrderReported:
    return OrderReported(
        at_ms=1,
        intent_id="i",
        pair="BTC",
        client_id="c",
        state="FILLED",
        detail="",
        decision_price=Decimal(0),
        fills=made,
    )


@given(st.lists(fills(), max_size=5))
def test_the_lines_of_fills_add_up_to_zero_in_each_currency(made) -> None:
    sums = defaultdict(Decimal)
    for line in postings_of(reported(*made)):
        sums[line.currency] += line.amount
    assert all(total == 0 for total in sums.values())


@given(st.lists(fills(), max_size=5))
def test_the_venue_lines_are_what_the_balances_change_by(made) -> None:
    booked, due = defaultdict(Decimal), defaultdict(Decimal)
    for line in postings_of(reported(*made)):
        if line.account.startswith("venue:"):
            booked[line.account, line.currency] += line.amount
    for fill in made:
        for currency, change in fill.changes():
            due[venue_account(fill.market.venue), currency] += change
    assert {key: value for key, value in booked.items() if value} == {
        key: value for key, value in due.items() if value
    }


def test_a_fill_moves_coins_money_and_fee() -> None:
    fill = Fill("f", "c", MARKETS[1], "buy", Decimal(2), Decimal(30), Decimal("0.002"), "ETH")
    assert [tuple(line) for line in postings_of(reported(fill))] == [
        ("venue:binance", "ETH", Decimal(2)),
        ("trade:binance:ETHUSDT", "ETH", Decimal(-2)),
        ("venue:binance", "USDT", Decimal(-60)),
        ("trade:binance:ETHUSDT", "USDT", Decimal(60)),
        ("venue:binance", "ETH", Decimal("-0.002")),
        ("fees:binance", "ETH", Decimal("0.002")),
    ]


def test_without_a_fee_there_is_no_fee_line() -> None:
    fill = Fill("f", "c", MARKETS[0], "sell", Decimal(1), Decimal(5), Decimal(0), "KRW")
    assert all(not line.account.startswith("fees:") for line in postings_of(reported(fill)))


def test_a_deposit_has_its_other_side() -> None:
    event = Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(7), why="opening")
    assert [tuple(line) for line in postings_of(event)] == [
        ("venue:upbit", "KRW", Decimal(7)),
        ("deposits:upbit", "KRW", Decimal(-7)),
    ]


def test_other_events_move_nothing() -> None:
    assert postings_of(Stopped(at_ms=1, balances=(("upbit", "KRW", Decimal(7)),))) == []

"""Transfers: announced, on their way, arrived, lost; and what a person says that a difference is."""

from decimal import Decimal

import pytest

from arbshard.ledger.events import Deposited, DifferenceFound, DifferenceResolved, TransferEnded
from arbshard.ledger.postings import UnstoredLedger
from arbshard.ledger.verify import verify
from arbshard.risk.portfolio.holdings import find_any_break
from arbshard.risk.portfolio.results import Totals, day_of
from arbshard.risk.transfers import _OPEN_MAX
from arbshard.wire.inventory import (
    AnnounceTransfer,
    ArriveTransfer,
    EndTransfer,
    OpenTransfers,
    ShowTransfers,
)
from arbshard.wire.messages import Denied, Done
from arbshard.wire.reconciliation import AcceptDifference
from support import world as w

D = Decimal


def announce(**changes) -> AnnounceTransfer:
    """1.5 BTC to the away venue, 0.0005 of it for the network, unless said otherwise."""
    given = {
        "source": w.HOME,
        "target": w.AWAY,
        "currency": "BTC",
        "amount": D("1.5"),
        "fee": D("0.0005"),
        "reason": "",
        "price": D(1_000_000),
    }
    return AnnounceTransfer(**(given | changes))


def is_whole(world) -> bool:
    """Whether portfolio and double entry agree to the last digit."""
    state, ledger = world.state, UnstoredLedger()
    ledger.append(world.events)
    return find_any_break(state.balances, ledger.balances, state.transfers.under_way()) is None


def verified(world, path) -> tuple[str, ...]:
    world.stop()
    world.write_ledger(path)
    return verify(path).differences


class TestOnPaper:
    def test_it_leaves_at_once_and_arrives_when_a_person_says_so(self, tmp_path) -> None:
        world = w.World()
        before = world.state.balance(w.HOME, "BTC").total
        assert isinstance(world.tell(announce()), Done)
        assert world.state.balance(w.HOME, "BTC").total == before - D("1.5")
        assert world.state.transfers.under_way() == {"BTC": D("1.5")}
        assert world.state.realised == 0
        assert is_whole(world)
        there = world.state.balance(w.AWAY, "BTC").total
        assert isinstance(world.tell(ArriveTransfer("t1")), Done)
        assert world.state.balance(w.AWAY, "BTC").total == there + D("1.4995")
        assert world.state.transfers.open == {}
        assert world.state.realised == D(-500)  # the fee is a cost
        assert world.state.results.loss(day_of(world.now_ms)) == D(500)
        assert is_whole(world)
        assert verified(world, tmp_path / "ledger.sqlite") == ()

    def test_what_never_arrives_is_a_loss_of_the_day(self, tmp_path) -> None:
        world = w.World()
        world.tell(announce(fee=D(0)))
        world.tell(ArriveTransfer("t1", D("1.4")))
        assert world.tell(ShowTransfers()) == OpenTransfers(tuple(world.state.transfers.open.values()))
        assert world.state.transfers.under_way() == {"BTC": D("0.1")}
        assert world.state.realised == 0
        world.tell(EndTransfer("t1", "lost"))
        assert world.state.realised == D(-100_000)
        assert world.state.results.loss(day_of(world.now_ms)) == D(100_000)
        assert world.core.valuation.drawdown == D(100_000)
        assert is_whole(world)
        assert verified(world, tmp_path / "ledger.sqlite") == ()

    def test_what_is_cancelled_comes_back(self) -> None:
        world = w.World()
        before = world.state.balance(w.HOME, "BTC")
        world.tell(announce())
        world.tell(EndTransfer("t1", "cancelled"))
        assert world.state.balance(w.HOME, "BTC") == before
        assert world.state.realised == 0
        assert is_whole(world)

    def test_money_from_outside_and_to_outside_is_no_result(self, tmp_path) -> None:
        world = w.World()
        before = world.state.balance(w.HOME, "KRW").total
        world.tell(
            announce(
                source="outside", target=w.HOME, currency="KRW", amount=D(1_000_000), fee=D(0), price=None
            )
        )
        assert world.state.balance(w.HOME, "KRW").total == before + 1_000_000
        world.tell(announce(target="outside", currency="KRW", amount=D(300_000), fee=D(1000), price=None))
        assert world.state.balance(w.HOME, "KRW").total == before + 700_000
        assert world.state.transfers.open == {}
        assert world.state.realised == D(-1000)  # only the fee
        moved = [event for event in world.events if isinstance(event, Deposited) and event.transfer]
        assert [(event.why, event.amount) for event in moved] == [
            ("deposit", 1_000_000),
            ("withdrawal", -299_000),
            ("fee", -1000),
        ]
        assert is_whole(world)
        assert verified(world, tmp_path / "ledger.sqlite") == ()

    def test_what_leaves_without_a_fee_is_no_result(self, tmp_path) -> None:
        world = w.World()
        world.tell(announce(target="outside", currency="KRW", amount=D(300_000), fee=D(0), price=None))
        moved = [event for event in world.events if isinstance(event, Deposited) and event.transfer]
        assert [(event.why, event.amount) for event in moved] == [("withdrawal", -300_000)]
        assert (world.state.transfers.open, world.state.realised) == ({}, 0)
        assert is_whole(world)
        assert verified(world, tmp_path / "ledger.sqlite") == ()

    def test_what_is_between_venues_is_part_of_the_account(self) -> None:
        """At the bid of the venue that it goes to; by the price of its announcement while there is no book."""
        world = w.World()
        world.tell(announce(price=D(990_000)))
        world.tell(announce(currency="ETH", price=D(2_000)))
        valuation = world.core.valuation
        assert valuation.under_way_worth == D("1.5") * 990_000 + D("1.5") * 2_000
        valuation.set_prices(world.pairs["BTC"], (1_000_000.0, 700.0), 1400.0)
        assert valuation.under_way_worth == D("1.5") * 700 * 1400 + D("1.5") * 2_000

    def test_what_open_positions_need_is_not_moved(self) -> None:
        world = w.World()
        position = world.open_position("BTC")
        bought, other = (w.HOME, w.AWAY) if position.direction == "buy_home" else (w.AWAY, w.HOME)
        has = world.state.balance(bought, "BTC").total
        answer = world.tell(announce(source=bought, target=other, amount=has))
        assert isinstance(answer, Denied)
        assert "needed to leave open positions" in answer.why
        answer = world.tell(announce(source=bought, target=other, amount=has - position.long_base))
        assert isinstance(answer, Done)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"target": "kraken"}, "kraken is not a venue of this run"),
            ({"target": w.HOME}, "moves nothing"),
            ({"amount": D(0)}, "0 is not an amount to move"),
            ({"fee": D("1.5")}, "leaves nothing of 1.5"),
            ({"price": None}, "give --price"),
            ({"price": D(0)}, "0 is not a price"),
            ({"currency": "B T C"}, "'B T C' is not a currency"),
            ({"source": "outside", "target": w.HOME}, "only what arrives counts"),
            ({"amount": D(10**9)}, "neither held for orders nor needed"),
        ],
    )
    def test_what_cannot_be_is_denied(self, changes, said) -> None:
        world = w.World()
        before = len(world.events)
        answer = world.tell(announce(**changes))
        assert isinstance(answer, Denied)
        assert said in answer.why
        assert len(world.events) == before

    def test_more_than_is_under_way_cannot_arrive(self) -> None:
        world = w.World()
        world.tell(announce())
        assert isinstance(world.tell(ArriveTransfer("t1", D(2))), Denied)
        assert isinstance(world.tell(ArriveTransfer("t7")), Denied)

    def test_what_is_not_open_cannot_end(self) -> None:
        world = w.World()
        world.tell(announce())
        answer = world.tell(EndTransfer("t7", "lost"))
        assert answer == Denied("no transfer t7 is open; open: t1")

    def test_so_many_can_be_open(self) -> None:
        world = w.World()
        for _ in range(_OPEN_MAX):
            assert isinstance(world.tell(announce(amount=D("0.001"), fee=D(0))), Done)
        answer = world.tell(announce(amount=D("0.001"), fee=D(0)))
        assert answer == Denied(f"{_OPEN_MAX} transfers are open; end some of them first")


@pytest.fixture
def desk(make_desk):
    made = make_desk()
    made.state()
    return made


class TestLive:
    def test_an_announced_transfer_is_neither_a_block_nor_a_difference(self, desk, tmp_path) -> None:
        world, venues = desk.world, desk.venues
        world.tell(announce())
        assert world.state.balance(w.HOME, "BTC").held == D(
            "1.5"
        )  # until it has left, nothing else spends it
        assert desk.state() == []
        venues.held[w.HOME, "BTC"] -= D("1.5")
        (left,) = desk.state()
        assert (left.why, left.amount, left.venue) == ("transfer", D("-1.5"), w.HOME)
        assert world.state.balance(w.HOME, "BTC").held == 0
        assert world.state.transfers.under_way() == {"BTC": D("1.5")}
        venues.held[w.AWAY, "BTC"] += D("1.4995")
        arrived, ended = desk.state()
        assert (arrived.amount, arrived.venue, ended.fee, ended.value) == (
            D("1.4995"),
            w.AWAY,
            D("0.0005"),
            -500,
        )
        assert desk.refusal(world.entry()) is None
        assert is_whole(world)
        assert verified(world, tmp_path / "ledger.sqlite") == ()

    def test_one_that_arrives_short_is_a_difference_until_a_person_says_what_became_of_it(self, desk) -> None:
        world, venues = desk.world, desk.venues
        world.tell(announce())
        venues.held[w.HOME, "BTC"] -= D("1.5")
        desk.state()
        venues.held[w.AWAY, "BTC"] += D("1.4")
        assert isinstance(desk.state()[0], DifferenceFound)
        world.tell(ArriveTransfer("t1", D("1.4")))
        assert world.state.reconciled.differences == {}
        assert desk.state() == []
        assert world.state.transfers.under_way() == {"BTC": D("0.1")}
        world.tell(EndTransfer("t1", "lost"))
        ended = world.events[-1] if isinstance(world.events[-1], TransferEnded) else world.events[-2]
        assert (ended.fee, ended.lost, ended.value) == (D("0.0005"), D("0.0995"), -100_000)
        assert desk.state() == []

    def test_what_has_not_left_is_neither_lost_nor_back(self, desk) -> None:
        """Its money is still on the venue: to book it as lost would take away what is there."""
        world = desk.world
        before = world.state.balance(w.HOME, "BTC")
        world.tell(announce())
        answer = world.tell(EndTransfer("t1", "lost"))
        assert isinstance(answer, Denied)
        assert "it has not left upbit: cancel it" in answer.why
        answer = world.tell(EndTransfer("t1", "cancelled"))
        assert isinstance(answer, Done)
        assert answer.text.endswith("nothing more is expected of it")
        assert world.state.balance(w.HOME, "BTC") == before
        assert world.state.realised == 0
        assert desk.state() == []

    def test_what_never_came_from_outside_is_no_loss_of_ours(self, desk) -> None:
        world = desk.world
        world.tell(
            announce(source="outside", target=w.HOME, currency="KRW", amount=D(9), fee=D(0), price=None)
        )
        answer = world.tell(EndTransfer("t1", "lost"))
        assert isinstance(answer, Denied)
        assert "it comes from outside: cancel it" in answer.why
        assert isinstance(world.tell(EndTransfer("t1", "cancelled")), Done)
        assert world.state.transfers.open == {}

    def test_what_goes_outside_does_not_arrive_at_a_venue(self, desk) -> None:
        world = desk.world
        world.tell(announce(target="outside", fee=D(0)))
        answer = world.tell(ArriveTransfer("t1"))
        assert isinstance(answer, Denied)
        assert "it ends when it has left upbit" in answer.why
        assert world.state.transfers.under_way() == {}

    def test_a_statement_is_explained_by_transfers_of_its_own_currency_alone(self, desk) -> None:
        world, venues = desk.world, desk.venues
        world.tell(announce(currency="ETH", amount=D("1.5"), fee=D(0)))
        venues.held[w.HOME, "BTC"] -= D("1.5")
        assert any(isinstance(event, DifferenceFound) for event in desk.state())
        assert world.state.transfers.under_way() == {}
        assert world.state.balance(w.HOME, "ETH").held == D("1.5")

    def test_a_difference_that_a_transfer_comes_to_explain_blocks_no_more(self, desk) -> None:
        """A venue that takes it away in two parts: the first one alone fits nothing that was announced."""
        world, venues = desk.world, desk.venues
        world.tell(announce())
        venues.held[w.HOME, "BTC"] -= D("1.0")
        assert any(isinstance(event, DifferenceFound) for event in desk.state())
        assert desk.refusal(world.entry()) is not None
        venues.held[w.HOME, "BTC"] -= D("0.5")
        resolved = [event for event in desk.state() if isinstance(event, DifferenceResolved)]
        assert [(event.currency, event.how) for event in resolved] == [("BTC", "agrees")]
        assert world.state.reconciled.differences == {}
        assert world.state.transfers.under_way() == {"BTC": D("1.5")}
        assert desk.refusal(world.entry()) is None
        assert is_whole(world)

    def test_one_never_announced_can_be_announced_afterwards(self, desk) -> None:
        world, venues = desk.world, desk.venues
        venues.held[w.HOME, "BTC"] -= D("1.5")
        assert isinstance(desk.state()[0], DifferenceFound)
        assert desk.refusal(world.entry()) is not None
        world.tell(announce())
        assert any(isinstance(event, DifferenceResolved) for event in world.events)
        assert world.state.reconciled.differences == {}
        assert desk.refusal(world.entry()) is None
        assert world.state.transfers.under_way() == {"BTC": D("1.5")}

    def test_two_that_arrive_together_are_both_recognised(self, desk) -> None:
        world, venues = desk.world, desk.venues
        for amount in (D(1), D(2)):
            world.tell(announce(amount=amount, fee=D(0)))
        venues.held[w.HOME, "BTC"] -= 3
        desk.state()
        venues.held[w.AWAY, "BTC"] += 3
        desk.state()
        assert world.state.transfers.open == {}
        assert is_whole(world)

    def test_an_arrival_shows_that_it_has_left(self, desk) -> None:
        """The source's currency may be busy for hours, so that its statement cannot be compared."""
        world, venues = desk.world, desk.venues
        world.tell(announce())
        venues.held[w.HOME, "BTC"] -= D("1.5")
        venues.held[w.AWAY, "BTC"] += D("1.4995")
        desk.state(w.AWAY)
        assert world.state.transfers.open == {}
        assert desk.state() == []

    def test_a_deposit_from_outside_is_expected_and_no_result(self, desk) -> None:
        world, venues = desk.world, desk.venues
        world.tell(
            announce(
                source="outside", target=w.HOME, currency="KRW", amount=D(1_000_000), fee=D(0), price=None
            )
        )
        assert desk.state() == []
        venues.held[w.HOME, "KRW"] += 1_000_000
        assert [type(event) for event in desk.state()] == [Deposited, TransferEnded]
        assert world.state.realised == 0

    @pytest.mark.parametrize(
        ("change", "kind", "value"),
        [
            (1, "deposit", 0),
            (-1, "withdrawal", 0),
            (-1, "fee", -9),
            (-1, "unexplained", -9),
            (1, "unexplained", 9),
        ],
    )
    def test_a_person_says_what_a_difference_is(self, desk, change, kind, value) -> None:
        world, venues = desk.world, desk.venues
        venues.held[w.HOME, "BTC"] += change
        desk.state()
        assert isinstance(world.tell(AcceptDifference(w.HOME, "BTC", "", kind, D(9))), Done)
        assert world.state.realised == value
        valuation = world.core.valuation
        assert (valuation.high_water, valuation.drawdown) == (max(value, 0), max(-value, 0))
        assert world.state.results.loss(day_of(world.now_ms)) == -value
        assert world.state.results.run.get("", Totals()).beside == value
        assert is_whole(world)

    @pytest.mark.parametrize(("venue", "value"), [(w.HOME, -1_100), (w.AWAY, -500 * 2)])
    def test_a_difference_is_valued_at_the_price_of_its_own_venue(self, desk, venue, value) -> None:
        world = desk.world
        (pair,) = (one for one in world.core.ownership.universe.pairs if one.base == "BTC")
        world.core.valuation.set_prices(pair, (1_100.0, 500.0), 2.0)
        desk.venues.held[venue, "BTC"] -= 1
        desk.state(venue)
        assert isinstance(world.tell(AcceptDifference(venue, "BTC", "", "unexplained")), Done)
        assert world.state.realised == value

    @pytest.mark.parametrize(
        ("change", "kind"), [(1, "withdrawal"), (1, "fee"), (-1, "deposit"), (-1, "unexplained")]
    )
    def test_what_the_difference_cannot_be_is_denied(self, desk, change, kind) -> None:
        """An unexplained one has to be valued, and nothing is known of the price here."""
        desk.venues.held[w.HOME, "BTC"] += change
        desk.state()
        assert isinstance(desk.world.tell(AcceptDifference(w.HOME, "BTC", "", kind)), Denied)

    def test_losses_beside_trading_halt_like_any_other(self, desk) -> None:
        """0.1 coins lost on the way left all results empty."""
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        desk.world.tell(AcceptDifference(w.HOME, "BTC", "", price=D(50_000_000)))
        assert desk.world.state.standing.halt is not None
        assert desk.world.state.standing.halt.cause in ("daily_loss", "drawdown")

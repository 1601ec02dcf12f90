"""Whether venues and markets take orders: who changes it, what it refuses, and how it ends."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import OrderReported, VenueStateChanged, decode_event, encode_event
from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import decode_risk_note
from arbshard.risk.note import NoteWriter
from arbshard.risk.portfolio.holdings import Journal
from arbshard.risk.portfolio.venue_states import VenueStates
from arbshard.risk.venue_facts import BUSY_MIN, BUSY_MS, PAUSE_MS, PAUSE_MS_MAX, pause_ms
from arbshard.wire.messages import Approved, Close, Halt, Refused
from support import world as w


@pytest.fixture
def world() -> w.World:
    return w.World()


def refused(order, fault, detail="no"):
    state = "NOT_ACCEPTED" if fault in {"busy", "venue"} else "REJECTED"
    return w.OrderResult(order, state, detail=detail, fault=fault)


def enter(world, *results, base="BTC"):
    """An entry whose legs end with ``results`` by (home, away); None: expired unfilled."""
    world.core.guard.rests.clear()  # of its own, a pair pauses after an entry that achieved nothing
    intent = world.entry(base)
    home, away = results
    world.carry_out(
        intent,
        refused(intent.home, *home) if home else w.expired(intent.home),
        refused(intent.away, *away) if away else w.expired(intent.away),
    )
    return intent


def answer(world, base="BTC"):
    world.core.guard.rests.clear()
    reply = world.submit(world.entry(base))
    if isinstance(reply, Refused):
        return reply.reason
    assert isinstance(reply, Approved)
    intent_id = reply.intent_id
    intent = world.state.trades[intent_id].intent
    world.report(intent, w.expired(intent.home), w.expired(intent.away))
    world.conclude(intent)
    return None


def changes(world):
    return [(one.venue, one.symbol, one.state) for one in world.events if isinstance(one, VenueStateChanged)]


def listing(world, *stopped, at_ms=None):
    universe = world.core.ownership.universe
    new = universe.with_listing((), universe.fx, stopped, world.now_ms if at_ms is None else at_ms)
    world.events += world.core.set_universe(new, world.now_ms, world.now_ms * 1_000_000)
    world.core.commit()


def test_nothing_is_known_at_the_start_and_an_order_that_is_taken_shows_it(world) -> None:
    assert world.state.venues.takes == {}
    assert answer(world) is None
    assert set(world.state.venues.takes) == {
        ("upbit", ""), ("upbit", "KRW-BTC"), ("binance", ""), ("binance", "BTCUSDT"),
    }  # fmt: skip
    assert changes(world) == []  # the reports say it all
    assert world.restart("run-1").state.venues.takes == world.state.venues.takes
    assert world.restart("run-2").state.venues.takes == {}


@pytest.mark.parametrize("fault", ["market", "order"])
def test_a_refused_market_enters_nothing_and_the_others_do(world, fault) -> None:
    enter(world, (fault, "invalid_price_ask: off the tick"), None)
    assert answer(world) is Refusal.MARKET_REFUSES
    assert answer(world, "ETH") is None
    refusal = world.state.venues.refusal(world.pairs["BTC"])
    assert (refusal.venue, refusal.symbol, refusal.fault) == ("upbit", "KRW-BTC", fault)
    assert refusal.why == "invalid_price_ask: off the tick"
    assert world.core.venue_facts.listing_wanted == 1


def test_an_order_that_breaks_the_known_rules_says_nothing_about_the_market(world) -> None:
    """A rest below the minimum is refused by our own check, too, and no listing can change that."""
    for quantity, limit in ((Decimal("0.000000001"), w.HOME_PRICE), (w.QUANTITY, Decimal("1000000.001"))):
        world.core.guard.rests.clear()
        intent = world.entry(quantity=w.QUANTITY)
        intent = replace(intent, home=replace(intent.home, quantity=quantity, limit=limit))
        assert isinstance(world.submit(intent), Approved)
        world.report(intent, refused(intent.home, "order"), w.expired(intent.away))
        world.conclude(intent)
    assert world.state.venues.refuses == {}
    assert world.core.venue_facts.listing_wanted == 0


def test_a_refused_venue_enters_nothing_of_any_pair(world) -> None:
    enter(world, None, ("venue", "-2015: Invalid API-key"))
    assert answer(world) is Refusal.VENUE_REFUSES
    assert answer(world, "ETH") is Refusal.VENUE_REFUSES
    assert world.core.venue_facts.listing_wanted == 0


def test_the_refusal_is_in_the_ledger_with_the_report_that_shows_it(world) -> None:
    """So that it holds from the very next decision, and an alert comes at once."""
    intent = world.entry()
    world.submit(intent)
    before = len(world.events)
    world.report(intent, refused(intent.away, "venue", "-2015: key"))
    assert [type(one).__name__ for one in world.events[before:]] == ["OrderReported", "VenueStateChanged"]
    event = world.events[-1]
    assert (event.venue, event.symbol, event.state, event.why) == ("binance", "", "refuses", "-2015: key")
    assert decode_event(encode_event(event)) == event


def test_exits_go_on_and_one_that_is_taken_ends_the_refusal(world) -> None:
    position = world.open_position()
    enter_eth = world.entry("ETH")
    world.submit(enter_eth)
    world.report(enter_eth, refused(enter_eth.away, "venue"), w.expired(enter_eth.home))
    world.conclude(enter_eth)
    assert answer(world, "ETH") is Refusal.VENUE_REFUSES
    leaving = replace(world.exit_of(position), lead="away")
    assert world.carry_out(leaving, done=True).state == "CLOSED"
    assert answer(world, "ETH") is None
    assert ("binance", "", "takes orders") in changes(world)


def test_it_survives_a_restart_of_risk_and_ends_with_the_run(world) -> None:
    enter(world, ("market", "market_offline"), ("venue", "-2015"))
    again = world.restart("run-1")
    again.ask(again.hello())
    assert answer(again) is Refusal.MARKET_REFUSES
    assert set(again.state.venues.refuses) == {("upbit", "KRW-BTC"), ("binance", "")}
    assert again.restart("run-2").state.venues.refuses == {}


def test_funds_are_counted_by_venue_and_currency_until_an_order_is_taken_that_spends_them(world) -> None:
    for _ in range(2):
        enter(world, ("funds", "insufficient_funds_ask"), None)
    short = world.state.venues.short
    assert {key: (one.count, one.detail) for key, one in short.items()} == {
        ("upbit", "BTC"): (2, "insufficient_funds_ask")
    }
    assert answer(world) is None
    assert world.state.venues.short == {}


def test_busy_changes_nothing_before_it_has_lasted(world) -> None:
    for _ in range(BUSY_MIN + 3):
        enter(world, ("busy", "429"), None)
    assert world.state.venues.refuses == {}
    world.now_ms += BUSY_MS
    enter(world, ("busy", "429"), None)
    assert answer(world) is Refusal.VENUE_REFUSES
    assert world.state.venues.refuses["upbit", ""].fault == "busy"
    assert "9 orders in a row" in world.state.venues.refuses["upbit", ""].why


def test_busy_answers_with_a_good_one_between_them_are_no_row(world) -> None:
    for _ in range(BUSY_MIN):
        enter(world, ("busy", "429"), None)
    assert answer(world) is None
    world.now_ms += BUSY_MS
    enter(world, ("busy", "429"), None)
    assert world.state.venues.refuses == {}


def test_without_listings_a_market_is_tried_again_after_a_pause_that_doubles(world) -> None:
    for in_a_row in range(1, 4):
        enter(world, ("order", "invalid_price_ask"), None)
        assert world.state.venues.refuses["upbit", "KRW-BTC"].in_a_row == in_a_row
        world.tick(PAUSE_MS * 2 ** (in_a_row - 1) - 10)
        assert answer(world) is Refusal.MARKET_REFUSES
        world.tick(20)
        assert world.state.venues.refuses == {}
    assert answer(world) is None
    enter(world, ("order", "invalid_price_ask"), None)
    assert world.state.venues.refuses["upbit", "KRW-BTC"].in_a_row == 1


def test_the_pause_has_a_limit() -> None:
    assert pause_ms(1) == PAUSE_MS
    assert pause_ms(60) == PAUSE_MS_MAX


def test_each_refusal_begins_the_pause_anew(world) -> None:
    position = world.open_position()
    enter(world, ("market", "market_offline"), None, base="ETH")
    intent = world.exit_of(position)
    world.submit(intent)
    world.report(intent, refused(intent.home, "market"))
    world.tick(PAUSE_MS - 1000)
    world.report(intent, refused(intent.away, "market"))
    count = len(changes(world))
    world.tick(2000)
    lifted = [one for one in changes(world)[count:] if one[2] == "unknown"]
    assert lifted == [("upbit", "KRW-ETH", "unknown"), ("upbit", "KRW-BTC", "unknown")]


def test_where_listings_are_read_a_market_waits_for_one_that_has_it(world) -> None:
    listing(world)
    enter(world, ("market", "market_offline"), None)
    world.tick(3 * PAUSE_MS)
    assert answer(world) is Refusal.MARKET_REFUSES
    listing(world)
    world.tick()
    assert answer(world) is None


def test_a_listing_read_before_the_pause_is_over_is_used_when_it_is(world) -> None:
    listing(world)
    enter(world, ("market", "market_offline"), None)
    listing(world)
    assert answer(world) is Refusal.MARKET_REFUSES
    world.tick(PAUSE_MS + 10)
    assert answer(world) is None


def test_a_market_that_stops_trading_by_the_listing_refuses(world) -> None:
    listing(world, ("binance", "BTCUSDT", "BREAK"))
    assert answer(world) is Refusal.MARKET_REFUSES
    assert world.state.venues.refuses["binance", "BTCUSDT"].why == "listed as not trading: BREAK"
    assert answer(world, "ETH") is None
    listing(world)
    assert answer(world) is None
    assert world.state.venues.in_a_row == {}


def test_changed_rules_end_the_refusal_of_an_order_at_once(world) -> None:
    for fault, ends in (("order", True), ("market", False)):
        enter(world, (fault, "x"), None)
        universe = world.core.ownership.universe
        new = universe.with_listing((world.pairs["BTC"],), universe.fx, (), world.now_ms)
        assert new.revised == {"BTC": new.serial}
        world.events += world.core.set_universe(new, world.now_ms, world.now_ms * 1_000_000)
        world.core.commit()
        assert (answer(world) is None) is ends


def test_an_older_listing_is_no_news(world) -> None:
    listing(world, ("binance", "BTCUSDT", "BREAK"), at_ms=world.now_ms)
    listing(world, at_ms=world.now_ms - 1)
    assert ("binance", "BTCUSDT") in world.state.venues.refuses
    assert world.core.venue_facts._stopped


class TestLive:
    def test_a_refused_venue_waits_for_a_statement_after_the_pause(self, make_desk) -> None:
        desk = make_desk()
        desk.state()
        enter(desk.world, None, ("venue", "-2015"))
        desk.world.tick(PAUSE_MS + 1)
        assert answer(desk.world) is Refusal.VENUE_REFUSES
        desk.state("upbit")
        desk.world.tick()
        assert answer(desk.world) is Refusal.VENUE_REFUSES
        desk.state("binance")
        desk.world.tick()
        assert desk.world.state.venues.refuses == {}
        assert changes(desk.world)[-1] == ("binance", "", "unknown")

    def test_a_statement_before_the_pause_is_over_is_no_sign_alone(self, make_desk) -> None:
        desk = make_desk()
        desk.state()
        enter(desk.world, None, ("venue", "-2015"))
        desk.state()
        desk.world.tick()
        assert answer(desk.world) is Refusal.VENUE_REFUSES


class TestFees:
    def test_a_fee_that_is_not_the_configured_one_is_noted_once(self, world) -> None:
        for base in ("BTC", "ETH"):
            intent = world.entry(base)
            fill = replace(w.make_fill(intent.home), fee=w.make_fill(intent.home).fee * 2)
            world.carry_out(intent, w.OrderResult(intent.home, "FILLED", (fill,)), w.filled(intent.away))
        (fee,) = world.core.venue_facts.new_fees
        assert (fee.venue, fee.side, fee.configured_bps, fee.paid_bps) == ("upbit", "sell", 5, 10)
        assert list(world.core.venue_facts.fees) == [("upbit", "sell")]

    def test_rounding_and_fees_in_another_coin_are_not_noted(self, world) -> None:
        intent = world.entry()
        exact, away = w.make_fill(intent.home), w.make_fill(intent.away)
        rounded = replace(exact, fee=exact.fee.quantize(Decimal(1)) + Decimal("0.00000001"))
        in_coin = replace(away, fee=Decimal("0.01"), fee_currency="BNB")
        world.carry_out(
            intent,
            w.OrderResult(intent.home, "FILLED", (rounded,)),
            w.OrderResult(intent.away, "FILLED", (in_coin,)),
        )
        assert world.core.venue_facts.fees == {}


def test_the_note_has_what_refuses_and_whom_it_concerns(world) -> None:
    enter(world, ("market", "market_offline"), None)
    enter(world, None, ("venue", "-2015"), base="ETH")
    note = decode_risk_note(NoteWriter(world.core, "KRW").encode(world.now_ms))
    assert [(one.venue, one.symbol, one.pairs, one.fault) for one in note.refusing] == [
        ("upbit", "KRW-BTC", ("BTC",), "market"),
        ("binance", "", ("BTC", "ETH"), "venue"),
    ]
    assert "upbit" in note.taking


def test_a_refusal_without_a_fault_is_damage(world) -> None:
    with pytest.raises(LedgerDamaged, match="for no fault"):
        world.state.apply(VenueStateChanged(at_ms=1, venue="upbit", symbol="", state="refuses", why="x"))


def test_what_did_not_refuse_cannot_take_orders_again(world) -> None:
    for state in ("unknown", "takes orders"):
        with pytest.raises(LedgerDamaged, match="did not refuse"):
            world.state.apply(VenueStateChanged(at_ms=1, venue="upbit", symbol="", state=state, why="x"))


def test_a_change_can_be_taken_back(world) -> None:
    answer(world)
    before = world.state.state_hash()
    for state, fault in (("refuses", "venue"), ("unknown", ""), ("refuses", "market"), ("takes orders", "")):
        event = VenueStateChanged(at_ms=1, venue="upbit", symbol="", state=state, why="x", fault=fault)
        world.state.apply(event)
    world.state.rollback()
    assert world.state.state_hash() == before


class TestWhatCannotBeClosed:
    def test_the_answer_of_a_close_says_what_waits_for_which_venue(self, world) -> None:
        world.open_position("BTC")
        world.open_position("ETH")
        world.core.lost_feeds = frozenset({"binance"})
        answer = world.tell(Close(("BTC",)))
        assert answer.text == "closing BTC; BTC: not closed, binance is down; hedged"
        assert answer.pairs == ("BTC",)
        world.core.lost_feeds = frozenset()
        assert world.tell(Halt("", flatten=True)).text.endswith("; closing BTC, ETH")

    def test_a_market_that_refuses_holds_its_pair_alone(self, world) -> None:
        world.open_position("BTC")
        world.open_position("ETH")
        listing(world, ("upbit", "KRW-ETH", "market_offline"))
        answer = world.tell(Halt("", flatten=True))
        assert answer.text.endswith(
            "; closing BTC, ETH; ETH: not closed, upbit KRW-ETH takes no orders "
            "(listed as not trading: market_offline); hedged"
        )

    def test_a_pair_with_an_intent_under_way_is_not_called_hedged(self, world) -> None:
        world.submit(world.entry("BTC"))
        world.core.lost_feeds = frozenset({"upbit", "binance"})
        assert world.core.unclosable() == {"BTC": "upbit and binance are down; an intent is under way"}

    def test_status_has_the_same(self, world) -> None:
        world.open_position("BTC")
        world.core.lost_feeds = frozenset({"upbit"})
        world.tell(Close(("BTC",)))
        note = decode_risk_note(NoteWriter(world.core, "KRW").encode(world.now_ms))
        assert note.unclosable == {"BTC": "upbit is down; hedged"}
        assert note.closing == {"BTC": "manual"}

    def test_nothing_is_said_of_what_is_flat(self, world) -> None:
        world.core.lost_feeds = frozenset({"upbit"})
        assert world.core.unclosable() == {}


def test_accounts_with_too_little_are_forgotten_from_the_oldest_on() -> None:
    """Each coin that ever lacked would be kept for ever, in every snapshot too."""
    states, journal = VenueStates(), Journal()
    states.use(journal)
    for number in range(201):
        base = f"C{number}"
        market = w.make_leg(w.HOME, f"KRW-{base}", base, "KRW", "1", 0).market
        order = w.Order(f"x-{number}", market, "sell", Decimal(1), Decimal(1))
        states.record(
            OrderReported(
                at_ms=number, intent_id="x", pair=base, client_id=f"x-{number}", state="REJECTED", detail="",
                decision_price=Decimal(0), fills=(), fault="funds",
            ),
            order,
        )  # fmt: skip
    assert len(states.short) == 200
    assert (w.HOME, "C0") not in states.short
    assert (w.HOME, "C200") in states.short


def test_exit_of_a_refusing_market_sends_that_leg_first(world) -> None:
    """Both legs at once would have the other one filled and taken back; an exit that a person orders goes alike."""
    position = world.open_position("ETH")
    world.core.guard.rests.clear()
    enter(world, None, ("venue", "-2015: key"))
    for reason in ("take_profit", "manual"):
        leaving = world.exit_of(position, reason=reason)
        reply = world.submit(leaving)
        assert isinstance(reply, Refused)
        assert reply.reason is Refusal.EXIT_WAITS
        assert reply.detail == "the away leg has to go first: binance takes no orders: -2015: key"
        retry = reply.exit_retry
        assert (retry.lead, retry.is_small, retry.wait_ms, retry.tries) == ("away", True, 0, 0)
    first = replace(world.exit_of(position), lead="away")
    assert isinstance(world.submit(first), Approved)

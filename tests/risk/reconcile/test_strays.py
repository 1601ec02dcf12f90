"""Open orders that no intent owns, and everything that is shown of what venues and ledger do not agree on."""

from decimal import Decimal

from arbshard.ledger.events import StrayFound, StrayGone
from arbshard.model.refusal import Refusal
from support import world as w

TAG = "ab1cd"


class TestStrays:
    ORDER = ("binance", f"{TAG}-s1-0-1-77-a0", "BTCUSDT", Decimal(2))

    def test_an_open_order_that_no_intent_owns_blocks_its_pair(self, desk) -> None:
        desk.venues.open_orders.append(self.ORDER)
        (found,) = desk.state()
        assert isinstance(found, StrayFound)
        assert (found.client_id, found.pair, found.remaining) == ("s1-0-1-77-a0", "BTC", 2)
        assert desk.refusal(desk.world.entry()) is Refusal.NOT_RECONCILED
        assert desk.refusal(desk.world.entry("ETH")) is None
        assert desk.state() == []
        desk.venues.open_orders.clear()
        (gone,) = desk.state()
        assert isinstance(gone, StrayGone)
        assert desk.refusal(desk.world.entry()) is None

    def test_orders_of_others_are_none_of_ours(self, desk) -> None:
        for name in ("", "x-by-hand", "zz9zz-s1-0-1-77-a0", TAG):
            desk.venues.open_orders.append(("binance", name, "BTCUSDT", Decimal(2)))
        assert desk.state() == []

    def test_an_order_of_an_open_intent_is_owned(self, desk) -> None:
        intent = desk.world.entry()
        desk.world.submit(intent)
        desk.venues.open_orders.append((w.AWAY, f"{TAG}-{intent.away.client_id}", "BTCUSDT", w.QUANTITY))
        assert desk.state() == []
        # A name that the intent does not have is nobody's.
        desk.venues.open_orders.append((w.AWAY, f"{TAG}-{intent.intent_id}-a7", "BTCUSDT", w.QUANTITY))
        assert [event.client_id for event in desk.state()] == [f"{intent.intent_id}-a7"]

    def test_one_whose_intent_ended_since_is_not_astray(self, desk) -> None:
        intent = desk.world.entry()
        desk.world.submit(intent)
        desk.venues.open_orders.append((w.AWAY, f"{TAG}-{intent.away.client_id}", "BTCUSDT", w.QUANTITY))
        desk.world.now_ms += 1
        said = desk.venues.statement(w.AWAY, desk.world.now_ms)
        desk.world.report(intent, w.expired(intent.home), w.expired(intent.away))
        desk.world.conclude(intent)
        before = len(desk.world.events)
        desk.world.tell(said)
        assert desk.world.events[before:] == []
        assert len(desk.state()) == 1  # still open now: that is another matter

    def test_of_a_market_that_is_not_traded(self, desk) -> None:
        desk.venues.open_orders.append((w.AWAY, f"{TAG}-s1-0-1-5-a0", "DOGEUSDT", Decimal(1)))
        (found,) = desk.state()
        assert found.pair == ""
        assert desk.refusal(desk.world.entry()) is None


class TestShowing:
    def test_everything_is_in_it(self, desk) -> None:
        intent = desk.world.entry("ETH")
        desk.world.submit(intent)
        desk.world.report(intent, w.OrderResult(intent.home, "UNKNOWN"))
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.venues.open_orders.append(TestStrays.ORDER)
        desk.state()
        shown = desk.show()
        assert shown.tag == TAG
        assert [(one.venue, one.settled, one.open_orders) for one in shown.statements] == [
            ("binance", True, 1),
            ("upbit", True, 0),
        ]
        binance, upbit = shown.statements
        assert binance.at_ms > binance.compared_ms > 0  # BNB may have paid a fee
        assert upbit.at_ms == upbit.compared_ms > 0
        assert [(one.venue, one.currency, one.pairs) for one in shown.differences] == [
            ("upbit", "BTC", ("BTC",))
        ]
        assert [one.client_id for one in shown.strays] == ["s1-0-1-77-a0"]
        (unknown,) = shown.unknown
        assert (unknown.client_id, unknown.pair, unknown.symbol) == (intent.home.client_id, "ETH", "KRW-ETH")
        assert unknown.since_ms == intent.decided_ms
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.PAIR_BUSY

    def test_before_anything_was_stated(self, new) -> None:
        shown = new.show()
        assert [(one.venue, one.at_ms, one.compared_ms) for one in shown.statements] == [
            ("binance", 0, 0),
            ("upbit", 0, 0),
        ]

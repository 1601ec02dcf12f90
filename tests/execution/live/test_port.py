"""Sending and asking: what is final, what is unknown, and that nothing is ever sent twice."""

import asyncio
from decimal import Decimal

import msgspec
import pytest

from arbshard.venues.registry import get_adapter


def read_order(order, body):
    return get_adapter(order.market.venue).orders.read(order, body)


async def later(seconds=5.0):
    await asyncio.sleep(seconds)
    raise AssertionError("nobody waits that long")


def used(room, window):
    return room.budget.usage(window, room.clock.monotonic_ns()).used


def sent(venue, path):
    return [call for call in venue.calls if call[0] == "POST" and call[1] == path]


class TestBinance:
    async def test_reply_ends_it(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.answer(said.binance()))
        result = await room.port.send(ask)
        assert (result.state, result.filled, result.fault) == ("FILLED", Decimal("0.001"), "")
        assert result.decision_price > 0
        assert room.binance.calls[0][2]["newClientOrderId"] == "ab1cd-s1-0-1-1-a0"
        assert len(room.port.tracker) == 0

    async def test_worker_that_was_replaced_sends_nothing(self, open_room, said, ask):
        """Approved, then stopped, then fenced: it wakes with the order in its hand."""
        room = open_room()
        room.binance.says("order", said.answer(said.binance()))
        room.port._is_fenced = lambda: True
        result = await room.port.send(ask)
        assert (result.state, result.detail) == ("NOT_ACCEPTED", "not sent: this worker has been replaced")
        assert sent(room.binance, "order") == []

    async def test_a_worker_that_is_replaced_while_its_connection_is_opened_sends_nothing(
        self, open_room, ask
    ):
        room = open_room()
        fenced = []

        async def opens():
            fenced.append(1)

        room.binance.opens = opens
        room.port._is_fenced = lambda: bool(fenced)
        result = await room.port.send(ask)
        assert (result.state, result.fault) == ("NOT_ACCEPTED", "")
        assert result.detail == "not accepted: not sent: this worker has been replaced"
        assert room.binance.calls == []

    async def test_hedge_is_sent_also_when_its_book_is_lost(self, open_room, said, ask):
        """What the book promised is for statistics alone."""
        room = open_room()
        room.books.books.clear()
        room.binance.says("order", said.answer(said.binance()))
        result = await room.port.send(ask)
        assert (result.state, result.decision_price) == ("FILLED", 0)

    async def test_partly(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.answer(said.binance("EXPIRED", "0.00040000")))
        result = await room.port.send(ask)
        assert (result.state, result.filled) == ("EXPIRED", Decimal("0.0004"))

    async def test_event_before_the_reply(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", later)
        fills = read_order(ask, said.answer(said.binance()).body).fills

        def hear():
            room.port.tracker.apply(ask.client_id, "FILLED", Decimal("0.001"), fills, "7", "")

        result = await room.port.send(ask, on_sent=hear)
        assert (result.state, result.fills) == ("FILLED", fills)

    async def test_rejected(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.answer({"code": -2010, "msg": "Market is closed."}, 400))
        result = await room.port.send(ask)
        assert (result.state, result.fault) == ("REJECTED", "market")
        assert result.detail == "-2010: Market is closed."

    async def test_rejected_on_the_stream(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", later)

        def hear():
            room.port.tracker.apply(ask.client_id, "REJECTED", Decimal(0), (), "7", "MARKET_CLOSED", "market")

        result = await room.port.send(ask, on_sent=hear)
        assert (result.state, result.detail, result.fault) == ("REJECTED", "MARKET_CLOSED", "market")

    async def test_rejected_by_the_answer_about_the_order(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.answer(said.binance("REJECTED", "0")))
        result = await room.port.send(ask)
        assert (result.state, result.fault) == ("REJECTED", "order")

    @pytest.mark.parametrize(("status", "fault"), [(429, "busy"), (418, "venue"), (403, "venue")])
    async def test_not_accepted_says_nothing_about_the_price(self, open_room, said, ask, status, fault):
        room = open_room()
        room.binance.says("order", said.answer({}, status))
        result = await room.port.send(ask)
        assert (result.state, result.fault) == ("NOT_ACCEPTED", fault)

    async def test_nothing_left_this_machine(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.unsent)
        result = await room.port.send(ask)
        assert (result.state, result.fault) == ("NOT_ACCEPTED", "busy")

    async def test_commission_of_a_found_order_is_fetched(self, open_room, said, ask):
        room = open_room()
        found = said.binance()
        del found["fills"]
        row = {"id": 5, "price": "60001", "qty": "0.001", "commission": "0.06", "commissionAsset": "USDT"}
        room.binance.says("order", said.answer(found))
        room.binance.says("myTrades", said.answer([row]))
        result = await room.port.ask(ask)
        assert [fill.fee for fill in result.fills] == [Decimal("0.06")]
        assert room.binance.calls[-1][2]["orderId"] == "7"

    async def test_commission_that_is_not_told_leaves_it_unknown(self, open_room, said, ask):
        room = open_room()
        found = said.binance()
        del found["fills"]
        room.binance.says("order", said.answer(found))
        room.binance.says("myTrades", said.answer([]))
        assert (await room.port.ask(ask)).state == "UNKNOWN"

    async def test_commission_that_cannot_be_asked_for_leaves_it_unknown(self, open_room, said, ask):
        """A fill without its fee would be booked for good."""
        room = open_room()
        found = said.binance()
        del found["fills"]
        row = {"id": 5, "price": "60001", "qty": "0.001", "commission": "0.06", "commissionAsset": "USDT"}
        room.binance.says("order", said.answer(found), said.answer(found))
        room.binance.says("myTrades", said.lost, said.answer([row]))
        first = await room.port.ask(ask)
        assert (first.state, first.fills) == ("UNKNOWN", ())
        assert (await room.port.ask(ask)).state == "FILLED"


class TestUpbit:
    async def test_asked_until_it_has_ended(self, open_room, said, bid):
        room = open_room(order_timeout_s=2.0)
        room.upbit.says("orders", said.answer(said.upbit("wait", "0", "0"), 201))
        room.upbit.says("order", said.answer(said.upbit("wait", "0", "0")), said.answer(said.upbit()))
        result = await room.port.send(bid)
        assert (result.state, result.filled) == ("FILLED", Decimal("0.001"))
        assert room.upbit.paths() == ["orders", "order", "order"]
        assert room.upbit.calls[1][2] == {"identifier": "ab1cd-s1-0-1-1-h0"}

    async def test_event_saves_the_question(self, open_room, said, bid):
        room = open_room(order_timeout_s=2.0)
        fills = read_order(bid, said.answer(said.upbit()).body).fills

        async def created():
            loop = asyncio.get_running_loop()
            loop.call_later(
                0.005, room.port.tracker.apply, bid.client_id, "FILLED", Decimal("0.001"), fills, "u-1", ""
            )
            return said.answer(said.upbit("wait", "0", "0"), 201)

        room.upbit.says("orders", created)
        assert (await room.port.send(bid)).state == "FILLED"
        assert room.upbit.paths() == ["orders"]

    @pytest.mark.parametrize(
        ("name", "status", "state", "fault"),
        [
            ("insufficient_funds_ask", 400, "REJECTED", "funds"),
            ("invalid_price_bid", 400, "REJECTED", "order"),
            ("market_offline", 403, "REJECTED", "market"),
            ("expired_access_key", 401, "NOT_ACCEPTED", "venue"),
            ("too_many_requests", 429, "NOT_ACCEPTED", "busy"),
        ],
    )
    async def test_refused(self, open_room, said, bid, name, status, state, fault):
        room = open_room()
        room.upbit.says("orders", said.answer({"error": {"name": name, "message": "?"}}, status))
        result = await room.port.send(bid)
        assert (result.state, result.fault) == (state, fault)

    async def test_burned_identifier_is_asked_about(self, open_room, said, bid):
        room = open_room()
        room.upbit.says(
            "orders", said.answer({"error": {"name": "duplicated_identifier", "message": "?"}}, 400)
        )
        assert (await room.port.send(bid)).state == "UNKNOWN"


class TestUnknown:
    async def test_time_out(self, open_room, ask):
        room = open_room()
        room.binance.says("order", later)
        result = await room.port.send(ask)
        assert (result.state, result.fills) == ("UNKNOWN", ())
        assert room.counts["unknown"] == 1

    @pytest.mark.parametrize("status", [500, 502, 504])
    async def test_server_error_is_known_at_once_to_be_unknown(self, open_room, said, ask, status):
        room = open_room(order_timeout_s=30.0)
        room.binance.says("order", said.answer({"code": -1007, "msg": "timeout"}, status))
        assert (await room.port.send(ask)).state == "UNKNOWN"

    async def test_reset(self, open_room, said, ask):
        room = open_room(order_timeout_s=30.0)
        room.binance.says("order", said.lost)
        assert (await room.port.send(ask)).state == "UNKNOWN"

    async def test_late_reply_ends_it(self, open_room, said, ask):
        room = open_room(order_timeout_s=0.005)

        async def late():
            await asyncio.sleep(0.02)
            return said.answer(said.binance())

        room.binance.says("order", late)
        assert (await room.port.send(ask)).state == "UNKNOWN"
        await room.port.wait_for_news([ask], 5.0)
        assert (await room.port.ask(ask)).state == "FILLED"
        assert room.binance.paths() == ["order"]

    async def test_never_sent_again(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.lost, *(said.not_found for _ in range(5)))
        await room.port.send(ask)
        for _ in range(5):
            assert (await room.port.ask(ask)).state == "UNKNOWN"
        assert len(sent(room.binance, "order")) == 1

    async def test_a_question_without_an_answer_says_nothing(self, open_room, said, ask):
        room = open_room(not_found_after_s=0.0)
        room.binance.says("order", said.lost, said.answer({}, 503), said.answer(said.binance()))
        for _ in range(2):
            assert (await room.port.ask(ask)).state == "UNKNOWN"
        assert (await room.port.ask(ask)).state == "FILLED"

    async def test_a_redirect_of_an_order_says_nothing(self, open_room, said, ask):
        """Its body need not come from the venue, so the order may have been accepted."""
        room = open_room()
        room.binance.says("order", said.answer({"code": -2010, "msg": "refused"}, 302))
        result = await room.port.send(ask)
        assert (result.state, result.detail) == ("UNKNOWN", "HTTP 302: a redirect, which is not followed")

    async def test_unreadable_reply_is_asked_about(self, open_room, said, ask):
        room = open_room(order_timeout_s=0.005)
        room.binance.says("order", said.answer(b"{}"), said.answer(said.binance()))
        assert (await room.port.send(ask)).state == "UNKNOWN"
        assert room.counts["unreadable"] == 1
        assert (await room.port.ask(ask)).state == "FILLED"

    async def test_unknown_state_is_counted_and_asked_about(self, open_room, said, ask, bid):
        """A venue may come up with a word at any time."""
        room = open_room(order_timeout_s=0.005)
        room.binance.says("order", said.answer(said.binance("A_NEW_WORD")), said.answer(said.binance()))
        assert (await room.port.send(ask)).state == "UNKNOWN"
        assert room.counts == {"unknown": 1, "unknown_words": 1}
        assert (await room.port.ask(ask)).state == "FILLED"
        room.upbit.says("order", said.answer(said.upbit("a new word")), said.answer(said.upbit()))
        assert (await room.port.ask(bid)).detail == "unknown order state 'a new word'"
        assert room.counts["unknown_words"] == 2
        assert (await room.port.ask(bid)).state == "FILLED"

    async def test_unknown_state_on_the_stream_is_asked_about_at_once(self, open_room, said, ask):
        room = open_room(order_timeout_s=30.0)
        room.binance.says("order", later, said.answer(said.binance()))
        sending = asyncio.ensure_future(room.port.send(ask))
        await asyncio.sleep(0.01)
        room.port.tracker.apply(ask.client_id, "UNKNOWN", Decimal(0), (), "7", "unknown order state 'X'")
        result = await asyncio.wait_for(sending, 5)
        assert (result.state, result.detail) == ("UNKNOWN", "unknown order state 'X'")
        assert (await room.port.ask(ask)).state == "FILLED"


class TestNotFound:
    async def test_final_only_when_nothing_can_be_on_its_way(self, open_room, said, ask, clock):
        room = open_room(clock)
        room.binance.says("order", said.not_found, said.not_found, said.not_found)
        assert (await room.port.ask(ask)).state == "UNKNOWN"  # the process that sent it is gone
        clock.advance_ms(9_999)
        assert (await room.port.ask(ask)).state == "UNKNOWN"
        clock.advance_ms(1)
        result = await room.port.ask(ask)
        assert (result.state, result.fault) == ("NOT_ACCEPTED", "busy")
        assert "never accepted" in result.detail
        assert len(room.port.tracker) == 0

    async def test_order_the_venue_has_shown_is_never_given_up(self, open_room, said, bid, clock):
        room = open_room(clock)
        room.upbit.says("order", said.answer(said.upbit("wait", "0", "0")), said.upbit_not_found)
        await room.port.ask(bid)
        clock.advance_ms(60_000)
        assert (await room.port.ask(bid)).state == "UNKNOWN"

    async def test_not_while_the_sending_call_is_out(self, open_room, said, ask, clock):
        room = open_room(clock, order_timeout_s=0.005)
        room.binance.says("order", later, said.not_found)
        await room.port.send(ask)
        clock.advance_ms(60_000)
        assert (await room.port.ask(ask)).state == "UNKNOWN"


class TestRules:
    @pytest.mark.parametrize(
        ("quantity", "limit", "why"),
        [
            ("0.001", "60000.001", "tick"),
            ("0.000001", "60000", "lot"),
            ("0.00001", "60000", "minimum"),
            ("1000", "60000", "maximum"),
        ],
    )
    async def test_broken_rule_is_not_sent(self, open_room, make, quantity, limit, why):
        room = open_room()
        result = await room.port.send(make.order(make.away, "sell", quantity, limit))
        assert (result.state, result.fault) == ("REJECTED", "order")
        assert result.detail.startswith("not sent: ")
        assert why in result.detail
        assert room.binance.calls == []


class TestLaunch:
    """A leg whose bytes leave before anything waits for its end."""

    async def test_it_is_sent_once_with_what_was_signed(self, open_room, said, ask):
        room = open_room(order_timeout_s=2.0)
        room.binance.says("order", said.answer(said.binance()))
        room.port.prepare([ask], is_entry=True)
        room.port.launch(ask, None)
        assert not room.port.prepared
        result = await room.port.send(ask, admitted=True)
        assert result.state == "FILLED"
        assert len(sent(room.binance, "order")) == len(room.binance.used) == 1
        assert len(room.port.tracker) == 0

    async def test_without_a_signature_it_is_built_and_sent_all_the_same(self, open_room, said, ask):
        room = open_room(order_timeout_s=2.0)
        room.binance.says("order", said.answer(said.binance()))
        room.port.launch(ask, None)
        assert (await room.port.send(ask, admitted=True)).state == "FILLED"
        assert len(sent(room.binance, "order")) == 1
        assert room.binance.used == []

    async def test_worker_that_was_replaced_sends_neither_leg(self, open_room, bid, ask):
        """Both were signed while risk decided; then the worker stood still, and a successor took them over."""
        room = open_room()
        room.port.prepare([bid, ask], is_entry=True)
        room.port._is_fenced = lambda: True
        for order in (bid, ask):
            room.port.launch(order, None)
        for order in (bid, ask):
            result = await room.port.send(order, admitted=True)
            assert (result.state, result.detail) == (
                "NOT_ACCEPTED",
                "not sent: this worker has been replaced",
            )
        assert room.upbit.calls == room.binance.calls == []
        assert not room.port.prepared

    async def test_what_breaks_a_rule_is_not_launched_and_send_says_why(self, open_room, make):
        room = open_room()
        tiny = make.order(make.away, "sell", "0.000001", "60000")
        room.port.prepare([tiny], is_entry=True)
        assert room.binance.prepared == []
        room.port.launch(tiny, None)
        result = await room.port.send(tiny, admitted=True)
        assert (result.state, result.fault) == ("REJECTED", "order")
        assert room.binance.calls == []

    async def test_nothing_is_launched_in_a_dry_run(self, open_room, said, ask):
        room = open_room(dry_run=True)
        room.port.launch(ask, None)
        assert room.binance.calls == []
        room.binance.says("order/test", said.answer({}))
        assert (await room.port.send(ask, admitted=True)).state == "NOT_ACCEPTED"
        assert room.binance.paths() == ["order/test"]

    async def test_one_without_an_answer_is_unknown_and_not_sent_again(self, open_room, said, ask):
        room = open_room()
        room.binance.says("order", said.lost)
        room.port.launch(ask, None)
        assert (await room.port.send(ask, admitted=True)).state == "UNKNOWN"
        assert room.counts["unknown"] == 1
        room.binance.says("order", said.answer(said.binance()))
        assert (await room.port.ask(ask)).state == "FILLED"
        assert len(sent(room.binance, "order")) == 1


class TestBudget:
    async def test_order_without_budget_is_not_sent(self, open_room, bid):
        room = open_room()
        assert room.gate.spare({"upbit_order": 8})
        assert await room.gate.admit({"upbit_order": 4})
        result = await room.port.send(bid)
        assert (result.state, result.fault) == ("NOT_ACCEPTED", "busy")
        assert result.detail == "not sent: no rate budget left"
        assert room.upbit.calls == []

    async def test_both_legs_or_none(self, open_room, bid, ask):
        room = open_room()
        assert room.gate.spare({"upbit_order": 8})
        assert not await room.port.admit_legs([bid, ask], is_entry=True)
        assert room.budget.usage("binance_orders_10s", room.clock.monotonic_ns()).used == 0

    async def test_an_entry_has_room_while_its_orders_would_not_wait(self, open_room, make, clock, bid, ask):
        room = open_room(clock=clock)
        for taken in range(8):
            assert room.port.has_room_for_entry(make.pair)
            assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (taken, taken)
            assert await room.port.admit_legs([bid, ask], is_entry=True)
        assert not room.port.has_room_for_entry(make.pair)
        assert used(room, "upbit_order") == 8
        assert not room.counts
        clock.advance_ms(2000)
        assert room.port.has_room_for_entry(make.pair)
        room.budget.block("binance", clock.monotonic_ns() + 10**9)
        assert not room.port.has_room_for_entry(make.pair)

    async def test_with_room_for_several_entries_the_next_one_is_not_looked_at(
        self, open_room, make, clock, bid, ask, monkeypatch
    ):
        """Of eight entries the first four leave room for four more."""
        room = open_room(clock=clock)
        looks = []
        has_room = room.budget.has_room
        monkeypatch.setattr(room.budget, "has_room", lambda *given: looks.append(given) or has_room(*given))

        def looked():
            looks.clear()
            assert room.port.has_room_for_entry(make.pair)
            return len(looks)

        assert looked() == 1  # the timer has not looked yet
        looked_at = []
        for _ in range(7):
            room.port.look_at_limits()
            looked_at.append(looked())
            assert await room.port.admit_legs([bid, ask], is_entry=True)
        assert looked_at == [0] * 5 + [1] * 2

    async def test_it_is_taken_once_when_both_legs_are_prepared(self, open_room, bid, ask):
        room = open_room()
        room.port.prepare([bid, ask], is_entry=True)
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (1, 1)
        assert await room.port.admit_legs([bid, ask], is_entry=True)
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (1, 1)

    async def test_what_was_taken_is_given_back_with_legs_that_are_not_sent(self, open_room, make, bid, ask):
        room = open_room()
        for forget in (lambda: room.port.discard([bid, ask]), lambda: room.port.add_legs([make.home])):
            room.port.prepare([bid, ask], is_entry=True)
            assert used(room, "upbit_order") == 1
            forget()
            assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (0, 0)
            assert not room.port.prepared

    async def test_entries_leave_the_reserve_also_when_they_are_prepared(self, open_room, bid, ask):
        room = open_room()
        assert room.gate.spare({"upbit_order": 8})
        room.port.prepare([bid, ask], is_entry=True)
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (8, 0)
        assert not await room.port.admit_legs([bid, ask], is_entry=True)
        room.port.prepare([bid, ask], is_entry=False)
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (9, 1)

    @pytest.mark.parametrize("alone", [False, True])
    async def test_what_was_taken_long_ago_is_taken_anew(self, open_room, said, bid, ask, clock, alone):
        """A leg that follows the other one: the window in which it was counted may be over."""
        room = open_room(clock=clock)
        room.upbit.says("orders", said.answer(said.upbit(), 201))
        room.port.prepare([bid, ask], is_entry=False)
        clock.advance_ms(2000)
        if alone:
            assert (await room.port.send(bid)).state != "NOT_ACCEPTED"
        else:
            assert await room.port.admit_legs([bid, ask], is_entry=False)
        assert used(room, "upbit_order") == 1

    async def test_a_venue_that_has_refused_since_gets_no_leg(self, open_room, bid, ask, clock):
        room = open_room(clock=clock, entry_wait_ms=0.0)
        room.port.prepare([bid, ask], is_entry=True)
        room.budget.block("binance", clock.monotonic_ns() + 10**12)
        assert not await room.port.admit_legs([bid, ask], is_entry=True)
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (0, 0)
        room.port.discard([bid, ask])
        assert (used(room, "upbit_order"), used(room, "binance_orders_10s")) == (0, 0)

    async def test_question_without_budget_stays_open(self, open_room, bid):
        room = open_room()
        assert await room.gate.admit({"upbit_default": 30})
        assert (await room.port.ask(bid)).state == "UNKNOWN"
        assert room.upbit.calls == []

    async def test_event_while_the_budget_is_waited_for_saves_the_question(
        self, open_room, said, ask, monkeypatch
    ):
        room = open_room()
        fills = read_order(ask, said.answer(said.binance()).body).fills

        async def admit(_):
            room.port.tracker.apply(ask.client_id, "FILLED", Decimal("0.001"), fills, "7", "")
            return True

        monkeypatch.setattr(room.gate, "admit", admit)
        result = await room.port.ask(ask)
        assert (result.state, result.fills) == ("FILLED", fills)
        assert room.binance.calls == []

    async def test_fill_is_not_booked_without_its_commission(self, open_room, said, ask, monkeypatch):
        """The budget has room for the question about the order, and then none for that about its commission."""
        room = open_room()
        found = said.binance()
        del found["fills"]
        row = {"id": 5, "price": "60001", "qty": "0.001", "commission": "0.06", "commissionAsset": "USDT"}
        room.binance.says("order", said.answer(found), said.answer(found))
        room.binance.says("myTrades", said.answer([row]))
        admitted = iter([True, False, True, True])

        async def admit(_):
            return next(admitted)

        monkeypatch.setattr(room.gate, "admit", admit)
        unknown = await room.port.ask(ask)
        assert (unknown.state, unknown.fills) == ("UNKNOWN", ())
        assert room.binance.paths() == ["order"]
        result = await room.port.ask(ask)
        assert (result.state, [fill.fee for fill in result.fills]) == ("FILLED", [Decimal("0.06")])


class TestDryRun:
    async def test_everything_but_the_sending(self, open_room, said, bid, ask):
        room = open_room(dry_run=True)
        room.upbit.says("orders/test", said.answer(said.upbit("wait"), 201))
        room.binance.says("order/test", said.answer({"code": -1013, "msg": "LOT_SIZE"}, 400))
        home, away = await asyncio.gather(room.port.send(bid), room.port.send(ask))
        assert (home.state, home.detail) == ("NOT_ACCEPTED", "DRY RUN: not sent (would be accepted)")
        assert (away.state, away.detail) == ("NOT_ACCEPTED", "DRY RUN: not sent (rejected: -1013: LOT_SIZE)")
        assert (home.fault, away.fault) == ("", "order")
        assert sent(room.upbit, "orders") == []
        assert sent(room.binance, "order") == []
        assert room.counts["dry_run"] == 2

    async def test_without_budget_to_spare_the_venue_is_not_asked(self, open_room, bid, clock):
        room = open_room(clock, dry_run=True)
        while room.gate.spare({"upbit_order_test": 1}):
            pass
        result = await room.port.send(bid)
        assert result.detail == "DRY RUN: not sent (not checked by the venue)"
        assert room.upbit.calls == []

    async def test_venue_out_of_reach(self, open_room, said, ask):
        room = open_room(dry_run=True)
        room.binance.says("order/test", said.unsent)
        assert (await room.port.send(ask)).detail.startswith("DRY RUN: not sent (not_accepted")

    async def test_orders_of_a_real_run_are_still_asked_about(self, open_room, said, ask):
        room = open_room(dry_run=True)
        room.binance.says("order", said.answer(said.binance()))
        assert (await room.port.ask(ask)).state == "FILLED"


async def test_defect_in_the_background_is_heard_of(open_room, ask):
    room = open_room()
    room.binance.says("order", ZeroDivisionError("a defect"))
    await room.port.send(ask)
    assert [type(error) for error in room.failures] == [ZeroDivisionError]


async def test_start_connects_to_both(open_room, said):
    room = open_room(connections=2)
    room.upbit.says("orderbook", said.answer([]), said.answer([]))
    room.binance.says("time", said.answer({"serverTime": 1}), said.answer({"serverTime": 1}))
    await room.port.start()
    assert room.upbit.paths() == ["orderbook", "orderbook"]
    assert room.binance.paths() == ["time", "time"]


async def test_pairs_come_and_go_while_a_worker_runs(make, open_room, said, ask):
    room = open_room()
    for _ in range(2):
        room.port.remove_legs((make.home, make.away))
    with pytest.raises(KeyError):
        await room.port.send(ask)
    room.port.add_legs((make.home, make.away))
    room.binance.says("order", said.answer(said.binance()))
    again = msgspec.structs.replace(ask, client_id="s1-0-1-2-a0")
    assert (await room.port.send(again)).order == again

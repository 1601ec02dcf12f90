"""Defects put into the handling of live orders on purpose: the simulation must find each within a few seeds."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext

import pytest

import arbshard.accounts.orders as accounts_orders
import arbshard.data.order_socket as socket_module
import arbshard.risk.validation
from arbshard.data.order_socket import SocketVenueClient
from arbshard.execution.executor import BaseExecutor, IntentOutcome
from arbshard.execution.live import venue_session as line_module
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.tracker import Tracked
from arbshard.execution.live.venue_session import CallResult
from arbshard.model.intent import OpenIntent
from arbshard.model.money import ZERO
from arbshard.model.order import FINAL_STATES, Order, OrderResult
from arbshard.risk.reconcile.activity import Activity
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer, NoAnswer, PreparedCall, Veto
from arbshard.venues.base.orders import OrderStatus
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.states import ACCEPTED, CallOutcome
from arbshard.venues.binance.orders import BinanceOrders
from arbshard.venues.ids import venue_id
from arbshard.venues.registry import get_adapter
from arbshard.venues.upbit import states as upbit_states
from supervisor.preflight import HeedingQuestions
from support.mutations import Mutation, each


def unknown_is_failed(patch: pytest.MonkeyPatch) -> None:
    true_doubt = Tracked.mark_unknown

    def doubt(self: Tracked, detail: str) -> None:
        if self.accepted:
            true_doubt(self, detail)
        else:
            self._finish("NOT_ACCEPTED", ZERO, (), detail, "busy")

    patch.setattr(Tracked, "mark_unknown", doubt)


def a_call_without_an_answer_was_never_sent(patch: pytest.MonkeyPatch) -> None:
    true_init = NoAnswer.__init__
    patch.setattr(NoAnswer, "__init__", lambda self, why, *, sent: true_init(self, why, sent=False))


def _understand(patch: pytest.MonkeyPatch, statuses: tuple[int, ...], said: CallOutcome) -> None:
    true_understand = line_module.understand

    def understand(venue: str, status: int, body: bytes) -> CallOutcome:
        return said if status in statuses else true_understand(venue, status, body)

    patch.setattr(line_module, "understand", understand)


def server_errors_are_refusals(patch: pytest.MonkeyPatch) -> None:
    _understand(patch, (408, 500, 503), CallOutcome("rejected", "the server failed"))


def rate_limits_are_acceptance(patch: pytest.MonkeyPatch) -> None:
    _understand(patch, (418, 429), ACCEPTED)


def tried_again_under_another_name(patch: pytest.MonkeyPatch) -> None:
    true_place = LivePort._place

    async def place(self: LivePort, tracked: Tracked, coming: Coroutine[None, None, CallResult]) -> None:
        await true_place(self, tracked, coming)
        if tracked.result is None:
            order = tracked.order
            again = get_adapter(order.market.venue).orders.place(
                order, f"{venue_id(self.tag, order.client_id)}r"
            )
            await true_place(self, tracked, self._lines[order.market.venue].call(again))

    patch.setattr(LivePort, "_place", place)


def repeated_fills_are_booked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arbshard.risk.validation, "new_fills", lambda result, trade: result.fills)


def fills_have_another_name_by_stream_than_by_rest(patch: pytest.MonkeyPatch) -> None:
    true_id = accounts_orders.fill_id
    patch.setattr(accounts_orders, "fill_id", lambda market, trade_id: f"{true_id(market, trade_id)}:stream")


def cancel_means_never_accepted(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(upbit_states.STATES, "cancel", "NOT_ACCEPTED")  # type: ignore[arg-type]


def orders_of_a_predecessor_are_given_up(patch: pytest.MonkeyPatch) -> None:
    true_ask = LivePort.ask

    async def ask(self: LivePort, order: Order) -> OrderResult:
        if self.tracker.get(order.client_id) is None:
            return OrderResult(order, "NOT_ACCEPTED", detail="not ours")
        return await true_ask(self, order)

    patch.setattr(LivePort, "ask", ask)


def legs_of_a_predecessor_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    async def resume(self: BaseExecutor, taken_over: OpenIntent) -> IntentOutcome:
        known = tuple(one for one in taken_over.orders if one.state in FINAL_STATES)
        return await self._run(self._machine_of(taken_over.intent, known))

    patch.setattr(BaseExecutor, "resume", resume)


def not_found_is_final_at_once(patch: pytest.MonkeyPatch) -> None:
    def miss(self: LivePort, tracked: Tracked, detail: str) -> None:
        tracked.end("NOT_ACCEPTED", f"never accepted: {detail}")

    patch.setattr(LivePort, "_miss", miss)


def the_rest_of_a_partial_fill_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    true_read = BinanceOrders.read

    def read(self: BinanceOrders, order: Order, body: bytes) -> OrderStatus:
        standing = true_read(self, order, body)
        if len(standing.fills) < 2:
            return standing
        return standing._replace(fills=standing.fills[:1], filled=standing.fills[0].quantity)

    patch.setattr(BinanceOrders, "read", read)


def strays_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "_look_for_strays", lambda self, said, now_ms: iter(()))


def differences_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def compare(*_: object) -> Iterator[object]:
        return iter(())

    patch.setattr(Reconciler, "_compare", compare)


def orders_under_way_explain_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Activity, "spans", lambda self, venue, at_ns, trades, balances: {})


def differences_block_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "objection", lambda self, pair, direction, moment: None)


def a_call_lost_with_its_connection_is_made_again(patch: pytest.MonkeyPatch) -> None:
    true_call = SocketVenueClient.call

    async def answered(
        self: SocketVenueClient, request: VenueRequest, coming: Coroutine[None, None, Answer]
    ) -> Answer:
        try:
            return await coming
        except NoAnswer:
            return await self._http.call(request)

    def call(
        self: SocketVenueClient,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, Answer]:
        return answered(self, request, true_call(self, request, on_sent, prepared, objection))

    patch.setattr(SocketVenueClient, "call", call)


def a_call_lost_with_its_connection_was_never_made(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(socket_module, "NoAnswer", lambda why, sent: NoAnswer(why, sent=False))


def answers_belong_to_calls_by_their_order(patch: pytest.MonkeyPatch) -> None:
    true_take = socket_module._OrderLine._take

    def take(self: socket_module._OrderLine, message_id: str, answer: Answer) -> None:
        waiting = [number for number, one in self._waiting.items() if not one.done()]
        true_take(self, waiting[0] if waiting else message_id, answer)

    patch.setattr(socket_module._OrderLine, "_take", take)


def a_lost_logon_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(socket_module._OrderLine, "_lose_logon", lambda self, why: None)


def calls_go_on_while_a_venue_refuses_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "block", lambda self, venue, until_ns: None)


def listings_are_read_while_a_venue_refuses_calls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeedingQuestions, "_heeded", lambda self: nullcontext())


MUTATIONS = (
    Mutation(unknown_is_failed, "lost_answers,slow_frames", "orders"),
    Mutation(a_call_without_an_answer_was_never_sent, "lost_answers,silent_calls", "orders", is_nightly=True),
    Mutation(server_errors_are_refusals, "server_errors,slow_frames", "orders", is_nightly=True),
    Mutation(rate_limits_are_acceptance, "rate_limits", "liveness|naked|left over"),
    Mutation(tried_again_under_another_name, "lost_answers,slow_frames", "orders", is_nightly=True),
    Mutation(repeated_fills_are_booked_again, "slow_requests,lossy", "fills|replay", is_nightly=True),
    Mutation(fills_have_another_name_by_stream_than_by_rest, "", "fills"),
    Mutation(cancel_means_never_accepted, "", "orders"),
    Mutation(orders_of_a_predecessor_are_given_up, "kill_live_worker_at", "orders"),
    Mutation(legs_of_a_predecessor_are_sent_again, "kill_live_worker_at", "orders"),
    Mutation(not_found_is_final_at_once, "slow_calls,slow_frames", "orders"),
    Mutation(the_rest_of_a_partial_fill_is_forgotten, "slow_frames", "orders|fills"),
    Mutation(strays_are_ignored, "stray", "reconciliation"),
    Mutation(differences_are_ignored, "by_hand", "reconciliation"),
    Mutation(
        orders_under_way_explain_nothing,
        "slow_requests,slow_frames,slow_calls",
        "reconciliation",
        is_nightly=True,
    ),
    Mutation(differences_block_nothing, "by_hand,stray", "reconciliation"),
    Mutation(a_call_lost_with_its_connection_is_made_again, "cut_orders,lost_answers", "orders", 3),
    Mutation(a_call_lost_with_its_connection_was_never_made, "cut_orders,lost_answers", "orders", 3),
    Mutation(
        answers_belong_to_calls_by_their_order,
        "doubled_replies,late_replies",
        "orders|fills|venues",
        2,
        is_nightly=True,
    ),
    Mutation(calls_go_on_while_a_venue_refuses_them, "rate_limits", "ban"),
    Mutation(listings_are_read_while_a_venue_refuses_calls, "venue_refuses", "ban", 5),
    Mutation(a_lost_logon_is_not_noticed, "lost_logons", "liveness|naked|left over", 3),
)


@each(MUTATIONS)
def test_broken_handling_of_live_orders_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.find(monkeypatch, "live")

"""Simulates the accounts of the exchanges: REST calls and private streams over the virtual network.

The venues' own side of ``arbshard.exchanges`` answers (authentication, orders, matching, wallets, rate limits,
private streams, control of faults), so a client receives the venue's native text. A call that is under way belongs
to the network: it arrives even if its sender has died meanwhile. What the venue does with orders is reported to the
oracle at that instant, from the venue's own record.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from email.utils import formatdate
from typing import Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from yarl import URL

from arbshard.data.address_block import blocked_s
from arbshard.data.http import HttpFetch
from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Shortage
from arbshard.exchanges.accounts.order import OrderChanged, SimOrder, Ticket
from arbshard.exchanges.session import ClientSession, PrivateSession, Query, SessionAction
from arbshard.exchanges.session import RestReply as VenueAnswer
from arbshard.exchanges.venues import VenueCore
from arbshard.secret import Secret, reveal_values
from arbshard.venues.base.client import Answer, NoAnswer, Veto, check
from arbshard.virtual.executions import Execution
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.venue_books import Placed

_REFUSED_S = 0.002
_Sent = Literal["call", "handshake"]
_BOTH: tuple[_Sent, ...] = ("call", "handshake")
_KNOWN_NS = 1_500_000_000
"""Time in ns after which no process sends anything once one of them has learned that the venue refuses it: others may
have begun to send, and find the files of new processes only once a second."""
_NO_HEADERS: Mapping[str, Secret] = {}
_PEER = "203.0.113.7"
"""Address of all processes of a machine."""


class VenueObserver(Protocol):
    """Is notified of what a venue does with the orders of our account: ``oracle.Oracle``."""

    def placed(self, order: Placed) -> None:
        """Note that the venue has accepted an order."""
        ...

    def executed_at_venue(self, execution: Execution) -> None:
        """Note that the venue has executed an order, in part or whole."""
        ...

    def ended_at_venue(self, venue: str, name: str, executed: Decimal) -> None:
        """Note that an order is over."""
        ...

    def moved_by_hand(self, venue: str, currency: str, amount: Decimal) -> None:
        """Note that a party other than the system has changed what we own."""
        ...

    def sent_while_refused(self, venue: str, what: str) -> None:
        """Note that ``what`` was sent to a venue although it refuses this address, and all must know."""
        ...


class PrivateClient(Protocol):
    """Is a connection that a private session speaks to: ``exchange.VirtualStream``."""

    def perform(self, action: SessionAction, delay_ms: float) -> None:
        """Carry out what the session wants, after a delay."""
        ...

    def cut(self, why: str) -> None:
        """Break the connection."""
        ...


class TradingVenue:
    """Is our account at one venue, with the calls and streams that reach it."""

    def __init__(
        self,
        core: VenueCore,
        account: TradingAccount,
        loop: VirtualLoop,
        network: NetworkConditions,
        watch: VenueObserver,
    ) -> None:
        self.core = core
        self.name = core.name
        self.account = account
        self.loop = loop
        self.network = network
        self._watch = watch
        self._private: dict[PrivateClient, PrivateSession] = {}
        self.is_reachable: Callable[[], bool] = lambda: True
        self.calls = 0
        self._refused: dict[_Sent, tuple[int, int]] = {}
        """Between which times (ns) all processes must know that the venue refuses calls, or handshakes."""
        self._usual_reject_share = core.faults.board.reject.fault.share

    def session(self, address: str, headers: Mapping[str, str]) -> ClientSession | VenueAnswer | None:
        """Return the venue's response to a WebSocket handshake at ``address``."""
        query = self._get(address, headers)
        return self.core.faults.refusal(query) or self.core.open_session(query)

    def refusal(self, address: str, headers: Mapping[str, str]) -> VenueAnswer | None:
        """Return the answer to a handshake of market data that is refused; None when it is not."""
        return self.core.faults.refusal(self._get(address, headers))

    def public_refusal(self, address: str) -> Answer | None:
        """Return the answer to a call without a key that does not reach the venue; None for one that does.

        Raises ``NoAnswer`` for one that is lost.
        """
        fate = self.core.faults.requests.before(self._get(address, {}))
        if fate is None:
            return None
        refusal = fate.answer
        if refusal is None:
            raise NoAnswer("the connection was cut", sent=True)
        headers = {name.lower(): value for name, value in refusal.headers.items()}
        answer = Answer(refusal.status, refusal.body, headers)
        self.learned(answer, "call")
        return answer

    def _get(self, address: str, headers: Mapping[str, str]) -> Query:
        """Return a GET of ``address``, also that of a handshake, as it arrives now."""
        parts = urlsplit(address)
        return self.query("GET", parts.path, parts.query, b"", headers)

    def learned(self, answer: Answer, to: _Sent) -> None:
        """Note that a process has received ``answer``, which may refuse further ones; a ban (418) refuses both."""
        wait_s, now_ns = blocked_s(self.name, answer), self.loop.now_ns
        if not wait_s:
            return
        for kind in _BOTH if answer.status == 418 else (to,):
            from_ns, until_ns = self._refused.get(kind, (0, 0))
            if now_ns >= until_ns:
                from_ns = now_ns + _KNOWN_NS
            self._refused[kind] = from_ns, max(until_ns, now_ns + int(wait_s * 1e9))

    @property
    def refuses_for_s(self) -> float:
        """Return for how many seconds more a process knows that the venue refuses calls or handshakes."""
        until_ns = max((until_ns for _, until_ns in self._refused.values()), default=0)
        return max(until_ns - self.loop.now_ns, 0) / 1e9

    def new_run(self) -> None:
        """Note that a new run begins, which learns anew what the venue refuses: its first call tells it."""
        self._refused.clear()

    def leaves(self, kind: _Sent, what: str) -> None:
        """Note that a process sends something."""
        from_ns, until_ns = self._refused.get(kind, (0, 0))
        if from_ns <= self.loop.now_ns < until_ns:
            self._watch.sent_while_refused(self.name, what)

    def join(self, client: PrivateClient, session: PrivateSession) -> None:
        """Send ``client`` the events of the account from now on, as far as it subscribes to them."""
        self._private[client] = session

    def leave(self, client: PrivateClient) -> None:
        """Send the client no more events."""
        self._private.pop(client, None)

    def query(self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> Query:
        """Return a request as it arrives now."""
        clock = self.core.clock
        return Query(
            method, path, tuple(parse_qsl(query, keep_blank_values=True)), _PEER, clock.monotonic_ns(),
            clock.wall_ms(), query, body, headers,
        )  # fmt: skip

    def arrived(self, make: Callable[[], Query], reply: Callable[[VenueAnswer | None, float], None]) -> None:
        """Handle a call. ``reply`` is called with the response (None: the connection is cut) and a delay in ms."""
        self.calls += 1
        if not self.is_reachable():
            reply(None, 0.0)
            return
        query, faults = make(), self.core.faults
        fate = faults.requests.before(query)
        if fate is None:
            answer = self.core.rest.answer(query)
            self.deliver()
            fate = faults.requests.after(query, answer)
        reply(fate.answer, fate.wait_ms)

    def deliver(self) -> None:
        """Report what has happened in the account to the oracle and to the connected clients."""
        events = self.account.take_events()
        if not events:
            return
        for event in events:
            if isinstance(event, OrderChanged):
                self._tell_watch(event)
        now_ms = self.core.clock.wall_ms()
        faults = self.core.faults.events
        for client, session in tuple(self._private.items()):
            dealt = faults.deal(session.on_events(self.account, events, now_ms))
            for action in dealt.now:
                client.perform(action, 0.0)
            for wait_ms, action in dealt.later:
                client.perform(action, wait_ms)

    def on_step(self, symbol: str, now_ms: int) -> None:
        """Match the orders that wait: the book of ``symbol`` has changed."""
        del now_ms
        if self.core.matcher.on_step(symbol, self.core.clock.wall_ms()):
            self.deliver()

    def set_faults(self, order: Mapping[str, object]) -> None:
        """Turn the venue's own faults on or off at once, by a request to ``exchanges.faults.control``."""
        self.core.faults.change(json.dumps(order).encode(), self.core.clock.monotonic_ns())

    def restore_usual_refusals(self) -> None:
        """Refuse orders by chance again, at the rate that the seed determines."""
        self.set_faults({"set": {"reject": {"share": self._usual_reject_share}}})

    def cut_private(self, why: str) -> None:
        """End every private connection."""
        for client in tuple(self._private):
            client.cut(why)

    # what a person does by hand, or another program with the same key

    def deposit(self, currency: str, amount: Decimal) -> None:
        """Credit ``amount`` of a currency; a negative amount is withdrawn."""
        self._watch.moved_by_hand(self.name, currency, amount)
        self.core.matcher.transfer(self.account, currency, amount, self.core.clock.wall_ms())
        self.deliver()

    def place_by_hand(self, ticket: Ticket) -> SimOrder | None:
        """Place an order that the system does not know. Returns None when the account has too little for it."""
        placed = self.core.matcher.place(self.account, ticket, self.core.clock.wall_ms())
        self.deliver()
        return None if isinstance(placed, Shortage) else placed

    def wallet(self) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        """Return what we own, free and locked, by venue and currency."""
        return {(self.name, one.currency): (one.free, one.locked) for one in self.account.wallet.balances()}

    def cancel_by_hand(self, order: SimOrder) -> None:
        """End an order that was placed by hand, if it is open."""
        if order.is_open:
            self.core.matcher.cancel(self.account, order, self.core.clock.wall_ms())
            self.deliver()

    def _tell_watch(self, event: OrderChanged) -> None:
        order = event.order
        if event.kind == "new":
            self._watch.placed(
                Placed(self.name, order.client_id, order.symbol, order.side, order.quantity, order.price)
            )
        elif event.kind == "trade":
            fill = event.fill
            assert fill is not None, order.id
            self._watch.executed_at_venue(
                Execution(
                    order.client_id, "", self.name, order.symbol, order.base, order.quote, order.side,
                    fill.quantity, fill.price, fee=fill.fee, fee_currency=fill.fee_currency,
                    trade_id=fill.trade_id,
                )
            )  # fmt: skip
        if not order.is_open and event.kind in ("done", "canceled"):
            self._watch.ended_at_venue(self.name, order.client_id, order.executed)


class VirtualHttp(HttpFetch):
    """Is one process's connections to a venue. The real ``HttpVenueClient`` signs its calls and sends them through
    this.
    """

    def __init__(self, venue: TradingVenue, process: VirtualProcess, timeout_s: float) -> None:
        super().__init__(timeout_s=timeout_s)
        self._venue = venue
        self._process = process
        self._timeout_s = timeout_s

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, Secret] = _NO_HEADERS,
        body: bytes | None = None,
        proxy: str | None,
        is_secret: bool,
        on_sent: Callable[[], None] | None = None,
        objection: Veto | None = None,
    ) -> Answer:
        """Send a call over the virtual network, and wait for its answer. Raises ``NoAnswer``."""
        del proxy, is_secret
        venue, loop, network = self._venue, self._venue.loop, self._venue.network
        if not venue.is_reachable():
            await asyncio.sleep(_REFUSED_S)
            raise NoAnswer("connection refused", sent=False)
        check(objection)
        venue.leaves("call", f"{method} {url.raw_path}")
        revealed = {name.lower(): value for name, value in reveal_values(headers).items()}
        path, query = url.raw_path, url.raw_query_string
        coming: asyncio.Future[Answer | None] = loop.create_future()

        def make() -> Query:
            return venue.query(method, path, query, body or b"", revealed)

        def reply(answer: VenueAnswer | None, wait_ms: float) -> None:
            if network.loses_call():
                return
            due_ns = loop.now_ns + network.call_ns() + int(wait_ms * 1e6)
            loop.deliver(self._process, due_ns, self._come, coming, answer)

        if not network.loses_call():
            loop.deliver(None, loop.now_ns + network.call_ns(), venue.arrived, make, reply)
        if on_sent is not None:
            on_sent()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await coming
        except TimeoutError:
            raise NoAnswer("no answer in time", sent=True) from None
        if answer is None:
            raise NoAnswer("the connection was cut", sent=True)
        return answer

    def _come(self, coming: "asyncio.Future[Answer | None]", answer: VenueAnswer | None) -> None:
        if coming.done():
            return  # the caller no longer waits for it
        if answer is None:
            coming.set_result(None)
            return
        headers = {name.lower(): value for name, value in answer.headers.items()}
        headers["date"] = formatdate(self._venue.core.clock.wall_ms() / 1000, usegmt=True)
        received = Answer(answer.status, answer.body, headers)
        self._venue.learned(received, "call")
        coming.set_result(received)

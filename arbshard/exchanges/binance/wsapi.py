"""Implements Binance's WebSocket API, one session per client: requests in, replies and the account's events out.

It is pure. The calls are in ``operations``; here are logon, subscriptions and the outer form.
"""

from collections.abc import Callable, Sequence

import msgspec

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import AccountEvent, OrderChanged
from arbshard.exchanges.binance import reports
from arbshard.exchanges.binance.access import KeyType, not_ed25519
from arbshard.exchanges.binance.keepalive import KeepAlive
from arbshard.exchanges.binance.microseconds import event_times, reply_in_microseconds
from arbshard.exchanges.binance.operations import Operations, PublicCall
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json, bad_key
from arbshard.exchanges.binance.signing import payload_sorted
from arbshard.exchanges.binance.trading import VerifiedCall
from arbshard.exchanges.binance.weights import WEIGHT_MAX
from arbshard.exchanges.binance.wsrequest import WsRequest, id_of, parse, request_of
from arbshard.exchanges.faults.requests import Fate, RequestFaults
from arbshard.exchanges.session import (
    CloseClient,
    Cut,
    Query,
    RestReply,
    SendData,
    SendLater,
    SessionAction,
    SharedStream,
)

CONNECT_WEIGHT = 2
BANNED = 418
_SESSION_WEIGHT = 2


_REST_CALLS = {
    "order.place": ("POST", "/api/v3/order"),
    "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
}
"""The same calls over REST, by which faults know whether a call places or cancels."""


class _LogonRevoked(Exception):
    """Is raised for a call in place of which the logon of the connection has ended."""


class WsApiSession:
    """Implements ``session.PrivateSession`` and ``session.ForewarningSession``."""

    def __init__(
        self,
        operations: Operations,
        address: str,
        now_ns: int,
        now_ms: int,
        *,
        with_limits: bool = True,
        in_microseconds: bool = False,
        faults: RequestFaults | None = None,
    ) -> None:
        """Begin without a logon; ``with_limits`` is whether replies have rate limits when a request does not say.

        ``faults`` decides the fate of calls as over REST; without it nothing goes wrong.
        """
        self._faults = faults
        self._in_microseconds = in_microseconds
        self.streams: frozenset[SharedStream] = frozenset()
        self._operations = operations
        self._address = address
        self._with_limits = with_limits
        self._keep_alive = KeepAlive(now_ns)
        self._connected_ms = now_ms
        self._account: TradingAccount | None = None
        """The account of the logon."""
        self._authorized_ms: int | None = None
        self._subscriptions: dict[int, tuple[TradingAccount, bool]] = {}
        """Account by subscription id, and whether the subscription ends with the logon."""
        self._next_subscription = 0
        self._session_calls: dict[str, Callable[[WsRequest], Json]] = {
            "session.logon": self._logon,
            "session.status": self._status,
            "session.logout": self._logout,
            "session.subscriptions": self._list,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }
        self._ended: list[int] = []
        """Subscriptions that the present request has ended."""
        self._placing: TradingAccount | None = None
        """The account whose order counts the present request may change."""

    def on_open(self, now_ms: int) -> Sequence[SessionAction]:
        """Count the weight of the connection."""
        try:
            self._operations.weights.spend(self._address, CONNECT_WEIGHT, now_ms)
        except BinanceRefusal as refused:
            return (CloseClient(1008, refused.message),)
        return ()

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[SessionAction]:
        """Answer a request."""
        reply: dict[str, Json | msgspec.Raw] = {"id": None}
        with_limits = self._with_limits
        self._ended.clear()
        self._placing = None
        wait_ms = 0.0
        try:
            message = parse(text)
            reply["id"] = id_of(message)
            request = request_of(message, now_ms)
            if request.params.peek("returnRateLimits") is not None:
                with_limits = request.params.flag("returnRateLimits")
            fate = self._carry_out(request, now_ns)
            if fate.answer is None:
                return (Cut("a fault"),)
            wait_ms = fate.wait_ms
            reply |= {"status": fate.answer.status, **_content(fate.answer, now_ms)}
        except BinanceRefusal as refused:
            error = refused.body()
            if refused.retry_at_ms:
                error["data"] = {"serverTime": now_ms, "retryAfter": refused.retry_at_ms}
            reply |= {"status": refused.status, "error": error}
        except _LogonRevoked:  # the venue's answer names no call
            reply |= {"id": None, "status": bad_key().status, "error": bad_key().body()}
            with_limits = False
        if with_limits:
            reply["rateLimits"] = self._limits(now_ms)
        payload = msgspec.json.encode(reply)
        if self._in_microseconds:
            payload = reply_in_microseconds(payload)
        actions: list[SessionAction] = [SendLater(wait_ms, payload) if wait_ms else SendData(payload)]
        if self._faults is not None and self._faults.repeats_reply():
            actions *= 2
        actions += (self._event(number, reports.terminated(now_ms)) for number in self._ended)
        if reply.get("status") == BANNED:
            actions.append(CloseClient(1008, "IP banned"))
        return actions

    def on_events(
        self, account: TradingAccount, events: Sequence[AccountEvent], now_ms: int
    ) -> Sequence[SessionAction]:
        """Return the events of ``account``, once for every subscription to it."""
        numbers = [number for number, (whose, _) in self._subscriptions.items() if whose is account]
        if not numbers:
            return ()
        messages = [
            reports.execution(event, now_ms)
            if isinstance(event, OrderChanged)
            else reports.position(event, now_ms)
            for event in events
        ]
        return [self._event(number, one) for one in messages if one is not None for number in numbers]

    def on_ping(self, now_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002 - the protocol's shape
        """Return no actions: the shell has answered the ping."""
        return ()

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002 - the protocol's shape
        """Accept a pong."""
        self._keep_alive.on_pong(payload)
        return ()

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002 - the protocol's shape
        """Ping when it is due, or close an unresponsive connection (``KeepAlive``)."""
        return self._keep_alive.on_time(now_ns)

    def on_shutdown(self, now_ms: int) -> Sequence[SessionAction]:
        """Announce the shutdown with ``serverShutdown``."""
        at = now_ms * 1000 if self._in_microseconds else now_ms
        return (SendData(b'{"event":{"e":"serverShutdown","E":%d}}' % at),)

    def _carry_out(self, request: WsRequest, now_ns: int) -> Fate:
        """Run a request unless a fault prevents that. A redirect concerns REST alone."""
        query: Query | None = None
        if self._faults is not None and request.method in self._operations.methods:
            method, path = _REST_CALLS.get(request.method, ("GET", ""))
            query = Query(method, path, (), self._address, now_ns, request.now_ms, "", b"", {})
            fate = self._faults.before(query)
            if fate is not None and not _is_redirect(fate):
                return fate
        answer = RestReply(200, {}, msgspec.json.encode(self._run(request)))
        if self._faults is None or query is None:
            return Fate(answer)
        fate = self._faults.after(query, answer)
        return Fate(answer, fate.wait_ms) if _is_redirect(fate) else fate

    def _run(self, request: WsRequest) -> Json | msgspec.Raw:
        operations, weights = self._operations, self._operations.weights
        of_session = self._session_calls.get(request.method)
        if of_session is not None:
            weights.spend(self._address, _SESSION_WEIGHT, request.now_ms)
            return of_session(request)
        call = operations.methods.get(request.method)
        if call is None:
            weights.spend(self._address, 1, request.now_ms)
            raise BinanceRefusal(-5000, f"Method {request.method} is invalid")
        weight = call.weigh(request.params)
        weights.spend(self._address, weight, request.now_ms)
        if isinstance(call, PublicCall):
            return msgspec.Raw(call.run(request.params, request.now_ms))
        account = self._signer(request)
        self._placing = account if call.places else None
        result = call.run(VerifiedCall(account, request.params, request.now_ms))
        if call.free:
            weights.refund(self._address, weight, request.now_ms)
        return result

    def _signer(self, request: WsRequest) -> TradingAccount:
        """Return the account that signed the request, or that of the logon."""
        params = request.params
        if self._account is not None and params.peek("apiKey") is None and params.peek("signature") is None:
            if self._operations.access.is_revoked or (
                self._faults is not None and self._faults.revokes_session()
            ):
                self._log_out()
                raise _LogonRevoked
            self._operations.access.check_time(params, request.now_ms)
            return self._account
        return self._signed(request)[0]

    def _signed(self, request: WsRequest) -> tuple[TradingAccount, KeyType]:
        access = self._operations.access
        account = access.account(request.params.need("apiKey"))
        payload = payload_sorted(request.values)
        return account, access.check(account, request.params, payload, request.now_ms)

    def _logon(self, request: WsRequest) -> Json:
        account, key_type = self._signed(request)
        request.params.finish()
        if key_type is not KeyType.ED25519:
            raise not_ed25519()
        self._account, self._authorized_ms = account, request.now_ms
        return self._session(request.now_ms)

    def _status(self, request: WsRequest) -> Json:
        request.params.finish()
        return self._session(request.now_ms)

    def _logout(self, request: WsRequest) -> Json:
        request.params.finish()
        self._log_out()
        return self._session(request.now_ms)

    def _log_out(self) -> None:
        self._account = self._authorized_ms = None
        self._end([number for number, (_, with_logon) in self._subscriptions.items() if with_logon])

    def _session(self, now_ms: int) -> Json:
        return {
            "apiKey": None if self._account is None else self._account.key,
            "authorizedSince": self._authorized_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._with_limits,
            "serverTime": now_ms,
            "userDataStream": bool(self._subscriptions),
        }

    def _list(self, request: WsRequest) -> Json:
        request.params.finish()
        return [{"subscriptionId": number} for number in self._subscriptions]

    def _subscribe(self, request: WsRequest) -> Json:
        request.params.finish()
        if self._account is None:
            raise bad_key()
        return self._begin(self._account, with_logon=True)

    def _subscribe_signed(self, request: WsRequest) -> Json:
        account, _ = self._signed(request)
        request.params.finish()
        return self._begin(account, with_logon=False)

    def _begin(self, account: TradingAccount, *, with_logon: bool) -> Json:
        if any(whose is account for whose, _ in self._subscriptions.values()):
            raise BinanceRefusal(-2035, "User Data Stream subscription already active.")
        number = self._next_subscription
        self._next_subscription += 1
        self._subscriptions[number] = (account, with_logon)
        return {"subscriptionId": number}

    def _unsubscribe(self, request: WsRequest) -> Json:
        number = request.params.integer("subscriptionId")
        request.params.finish()
        wanted = list(self._subscriptions) if number is None else [number]
        if not wanted or any(one not in self._subscriptions for one in wanted):
            raise BinanceRefusal(-2036, "User Data Stream subscription not active.")
        self._end(wanted)
        return {}

    def _end(self, numbers: list[int]) -> None:
        for number in numbers:
            del self._subscriptions[number]
        self._ended += numbers

    def _limits(self, now_ms: int) -> list[Json]:
        weight: Json = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": WEIGHT_MAX,
            "count": self._operations.weights.spent(self._address, now_ms),
        }
        if self._placing is None:
            return [weight]
        return [*self._operations.trading.counts(self._placing).listed(now_ms), weight]

    def _event(self, number: int, event: dict[str, Json]) -> SendData:
        converted = event_times(event) if self._in_microseconds else event
        return SendData(msgspec.json.encode({"subscriptionId": number, "event": converted}))


def _is_redirect(fate: Fate) -> bool:
    return fate.answer is not None and 300 <= fate.answer.status < 400


def _content(answer: RestReply, now_ms: int) -> dict[str, Json | msgspec.Raw]:
    """Return what a reply of REST is over the WebSocket API."""
    if 200 <= answer.status < 300:
        return {"result": msgspec.Raw(answer.body)}
    try:
        error: Json = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        error = {"code": 0, "msg": answer.body.decode(errors="replace")}
    retry_after = answer.headers.get("Retry-After", "")
    if isinstance(error, dict) and retry_after.isdecimal():
        error["data"] = {"serverTime": now_ms, "retryAfter": now_ms + 1000 * int(retry_after)}
    return {"error": error}

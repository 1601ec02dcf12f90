"""Answers the requests of the simulated Binance's REST interface. It is pure; the calls are in ``operations``.

Every answer carries ``X-MBX-USED-WEIGHT-1M``. Parameters may be in the query, in a form body, or in both.
"""

import msgspec

from arbshard.exchanges.binance.microseconds import reply_in_microseconds
from arbshard.exchanges.binance.operations import Operations, PublicCall, SignedCall
from arbshard.exchanges.binance.params import BinanceParams, from_request
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json, bad_signature
from arbshard.exchanges.binance.signing import payload_of
from arbshard.exchanges.binance.trading import VerifiedCall
from arbshard.exchanges.session import Query, RestReply

_USER_DATA_STREAM = "/api/v3/userDataStream"
_OTHER_HOSTS: dict[str, Json] = {
    "/sapi/v1/system/status": {"status": 0, "msg": "normal"},
    "/sapi/v1/margin/allPairs": [],
    "/sapi/v1/margin/isolated/allPairs": [],
    "/fapi/v1/exchangeInfo": {"symbols": []},
    "/dapi/v1/exchangeInfo": {"symbols": []},
}
"""What clients request of Binance's other interfaces while they load their markets; these have no markets here."""


class BinanceRest:
    """Serves ``/api/v3``, and the paths beside it that clients need."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def answer(self, query: Query) -> RestReply:
        """Return the reply to ``query``; 429 and 418 with ``Retry-After`` (seconds) when too much was requested."""
        headers: dict[str, str] = {}
        kind = "application/json"
        try:
            if query.path in _OTHER_HOSTS:
                status, body = 200, msgspec.json.encode(_OTHER_HOSTS[query.path])
            elif query.path in self._operations.rest or query.path == _USER_DATA_STREAM:
                status, body = 200, self._run(query, headers)
            else:
                status, kind, body = 404, "text/html", b"<html><body><h2>404 Not found</h2></body></html>"
        except BinanceRefusal as refused:
            status, body = refused.status, msgspec.json.encode(refused.body())
            if refused.retry_after_s:
                headers["Retry-After"] = str(refused.retry_after_s)
        if status == 200 and query.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND":
            body = reply_in_microseconds(body)
        spent = str(self._operations.weights.spent(query.peer, query.now_ms))
        headers |= {"X-MBX-USED-WEIGHT": spent, "X-MBX-USED-WEIGHT-1M": spent}
        return RestReply(status, headers, body, kind)

    def _run(self, query: Query, headers: dict[str, str]) -> bytes:
        weights = self._operations.weights
        method = "GET" if query.method == "HEAD" else query.method
        raw_body = "" if method == "GET" else query.body.decode(errors="surrogateescape")
        call = self._operations.rest.get(query.path, {}).get(method)
        try:
            params = from_request(query.raw_query, raw_body)
        except BinanceRefusal:
            weights.spend(query.peer, 1, query.now_ms)
            raise
        weight = 1 if call is None else call.weigh(params)
        weights.spend(query.peer, weight, query.now_ms)
        if query.path == _USER_DATA_STREAM:
            raise BinanceRefusal(-1016, "This service is no longer available.", 410)
        if call is None:
            raise BinanceRefusal(-1020, "This operation is not supported.", 405)
        if isinstance(call, PublicCall):
            return call.run(params, query.now_ms)
        body = self._signed(query, call, params, payload_of(query.raw_query, raw_body), headers)
        if call.free:
            weights.refund(query.peer, weight, query.now_ms)
        return body

    def _signed(
        self, query: Query, call: SignedCall, params: BinanceParams, payload: str, headers: dict[str, str]
    ) -> bytes:
        account = self._operations.access.account(query.headers.get("x-mbx-apikey", ""))
        if not payload.isascii():
            raise bad_signature()  # what is signed must have been percent-encoded before
        self._operations.access.check(account, params, payload, query.now_ms)
        reply = call.run(VerifiedCall(account, params, query.now_ms))
        if call.places:
            headers |= self._operations.trading.counts(account).headers(query.now_ms)
        return msgspec.json.encode(reply)

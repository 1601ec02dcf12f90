"""Uses ccxt as a ``VenueClient`` and a ``Fetch`` for venues without a folder of their own. Only this file imports
it.

What is asked and what the answers mean is in ``venues.unified``; here ccxt's unified calls are made, and what they
return is written as JSON. ccxt's HTTP calls go through ``HttpFetch``, so the project's rules for TLS, proxies,
redirects and limits hold for them too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from logging import WARNING
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from arbshard.config.venues import VenueConfig
from arbshard.data.http import HttpFetch
from arbshard.data.proxy import proxy_for
from arbshard.data.redirects import is_redirect
from arbshard.data.trust import trust_of
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.secret import Secret
from arbshard.venues.base.client import Answer, NoAnswer, PreparedCall, Veto
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys
from arbshard.venues.unified import calls, is_known
from arbshard.venues.unified.calls import ErrorText
from arbshard.venues.unified.states import ERRORS

if TYPE_CHECKING:
    from yarl import URL

_LISTING_S = 15.0
"""Time-out of loading the markets in seconds, which may take several long calls."""
_DETAIL_MAX = 200
_BODY_BYTES_MAX = 1 << 26
_TRADES_MAX = 500
_DEFECTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What ccxt's parsers raise for an answer that the venue did not document."""
_NEEDED = ("createOrder", "fetchOrder", "fetchOpenOrders", "fetchBalance")
_BY_STATE = ("fetchOpenOrders", "fetchClosedOrders", "fetchCanceledOrders")


class _Call:
    """Holds what was observed of one unified call while it went on."""

    def __init__(self, on_sent: Callable[[], None] | None = None, objection: Veto | None = None) -> None:
        self.answer: Answer | None = None
        """The last HTTP answer."""
        self.sent = False
        """Whether any part of an HTTP request has been sent."""
        self.on_sent = on_sent
        self.objection = objection


_current: ContextVar[_Call] = ContextVar("_current")
"""Tasks copy their context: the session below finds the call it belongs to, however many run at once."""


class _Redirected(Exception):
    """Is raised when a venue answered with a redirect."""


class _Session:
    """Is the part of ``aiohttp.ClientSession`` that ccxt uses, over ``HttpFetch``."""

    def __init__(self, http: HttpFetch) -> None:
        self._http = http
        self.headers: Mapping[str, str] = {}

    def __getattr__(self, name: str) -> Callable[..., "_Reply"]:
        if name not in ("get", "post", "put", "patch", "delete"):
            raise AttributeError(name)

        def call(url: "URL", *, data: bytes | None, headers: Mapping[str, str], **_: object) -> _Reply:
            secrets = {key: Secret(value) for key, value in headers.items()}
            return _Reply(self._http, name.upper(), url, data, secrets)

        return call

    async def close(self) -> None:
        await self._http.close()


class _Reply:
    """Is the part of ``aiohttp.ClientResponse`` that ccxt uses."""

    reason = ""

    def __init__(
        self, http: HttpFetch, method: str, url: "URL", data: bytes | None, headers: Mapping[str, Secret]
    ) -> None:
        self._http = http
        self._request = method, url, data, headers
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._body = b""

    async def __aenter__(self) -> Self:
        method, url, data, headers = self._request
        call = _current.get()
        # While the call is under way it counts as sent, because a time-out of the whole call may end it at any
        # point.
        sent_before, call.sent = call.sent, True
        try:
            answer = await self._http.send(
                method,
                url,
                headers=headers,
                body=data,
                proxy=proxy_for(str(url.origin())),
                is_secret=True,
                on_sent=call.on_sent,
                objection=call.objection,
            )
        except NoAnswer as error:
            call.sent = sent_before or error.sent
            raise
        call.answer = answer
        if is_redirect(answer.status):
            raise _Redirected
        self.status, self._body, self.headers = answer.status, answer.body, answer.headers
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def text(self, errors: str = "strict") -> str:
        return self._body.decode(errors=errors)


class CcxtClient:
    """Is ``VenueClient`` and ``Fetch`` for one venue. Use and close it in one loop."""

    def __init__(
        self, name: str, settings: VenueConfig, keys: Keys | None, *, timeout_s: float, window_ms: int = 5000
    ) -> None:
        """Prepare ccxt for the venue. Without ``keys`` only public calls can be made.

        Raises ``UsageError`` without ccxt, for a venue that ccxt does not know, and for one whose orders could not
        be followed safely.
        """
        if find_spec("ccxt") is None:
            raise UsageError(f'venues.{name}.adapter = "ccxt" needs ccxt: pip install "ccxt>=4.5"')
        if not is_known(name):
            raise UsageError(f'venues.{name}.adapter = "ccxt": ccxt knows no venue of this name')
        self.venue: Final = name
        self._base: Final = import_module("ccxt")
        self._find_by: Final = settings.client_id_param
        self._http = HttpFetch(
            trust_of(name, settings), timeout_s=max(timeout_s, _LISTING_S), body_bytes_max=_BODY_BYTES_MAX
        )
        self._timeout_s = timeout_s
        self._exchange = self._made(name, settings, window_ms)
        self._loading: asyncio.Lock = asyncio.Lock()
        if keys is not None:
            self._require_orders()
            keys.put_into(self._exchange)
        self._calls: dict[str, Callable[[Mapping[str, str]], Awaitable[object]]] = {
            calls.MARKETS: self._markets,
            calls.ORDER_BOOK: self._order_book,
            calls.TIME: self._time,
            calls.CREATE_ORDER: self._create_order,
            calls.FIND_ORDER: self._find_order,
            calls.ORDER_TRADES: self._order_trades,
            calls.OPEN_ORDERS: self._open_orders,
            calls.RECENT_ORDERS: self._recent_orders,
            calls.BALANCES: self._balances,
            calls.FEES: self._fees,
        }

    async def __call__(self, address: str) -> Answer:
        """Make a call as a ``Fetch``: the path of ``address`` names a unified call, its query has the arguments."""
        parts = urlsplit(address)
        answer = await self.call(
            VenueRequest(
                "GET", f"/{parts.path.rpartition('/')[2]}", dict(parse_qsl(parts.query)), {}, private=False
            )
        )
        if is_redirect(answer.status):
            raise VenueUnavailable(f"HTTP {answer.status}: a redirect, which is not followed")
        return answer

    async def call(
        self,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Answer:
        """Make a call, as ``VenueClient`` does."""
        del prepared  # there is none
        make = self._calls[request.path]
        await self._load()
        return await self._carry_out(lambda: make(request.params), self._timeout_s, on_sent, objection)

    def prepare(self, request: VenueRequest) -> PreparedCall | None:
        """Return None: ccxt signs in the call itself."""
        del request
        return None

    async def keep_open(self) -> None:
        """Return at once: calls open the connections."""

    def set_clock(self, ahead_ms: int) -> None:
        """Sign with the venue's time, as ``VenueClient`` does. ccxt calls this the time difference, with the other
        sign.
        """
        self._exchange.options["timeDifference"] = -ahead_ms

    async def close(self) -> None:
        """Close all connections, as ``VenueClient`` does."""
        await self._exchange.close()
        await self._http.close()

    async def _load(self) -> None:
        """Make ccxt read the markets once, which its other calls need. Raises ``NoAnswer``."""
        async with self._loading:
            if self._exchange.markets:
                return
            answer = await self._carry_out(self._load_markets, _LISTING_S)
        if answer.status != 200:
            text = answer.body[:_DETAIL_MAX].decode(errors="replace")
            raise NoAnswer(f"{self.venue}: the markets cannot be loaded: {text}", sent=False)

    async def _carry_out(
        self,
        make: Callable[[], Awaitable[object]],
        timeout_s: float,
        on_sent: Callable[[], None] | None = None,
        objection: Veto | None = None,
    ) -> Answer:
        call = _Call(on_sent, objection)
        token = _current.set(call)
        try:
            async with asyncio.timeout(timeout_s):
                found = await make()
        except _Redirected:
            assert call.answer is not None
            return call.answer
        except NoAnswer as error:
            raise type(error)(f"{self.venue}: {error}", sent=call.sent) from None
        except TimeoutError:
            raise NoAnswer(f"{self.venue}: TimeoutError", sent=call.sent) from None
        except self._base.BaseError as error:
            return self._failed(error, call)
        except _DEFECTS as error:
            # The text may hold parts of the answer, and the kind of the error is enough.
            get_logger().error("ccxt cannot read an answer", venue=self.venue, error=type(error).__name__)
            raise NoAnswer(f"{self.venue}: an answer that ccxt cannot read", sent=call.sent) from None
        finally:
            _current.reset(token)
        return Answer(200, msgspec.json.encode(found), call.answer.headers if call.answer else {})

    def _failed(self, error: Exception, call: _Call) -> Answer:
        """Return one of ccxt's exceptions as an answer. Raises ``NoAnswer`` where no HTTP answer was its cause."""
        lines = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, self._base.BaseError)]
        answer = call.answer
        if answer is None:
            if not any(name in ERRORS for name in lines):
                raise NoAnswer(f"{self.venue}: {lines[0]}", sent=call.sent) from None
            text = str(error)[:_DETAIL_MAX]  # ccxt itself refused: no address is in its text
            return Answer(400, msgspec.json.encode(ErrorText(lines, text)))
        # The exception's text holds the signed address, so the venue's own answer is shown in its place.
        text = answer.body[:_DETAIL_MAX].decode(errors="replace")
        status = max(answer.status, 400)
        return Answer(status, msgspec.json.encode(ErrorText(lines, text)), answer.headers)

    def _made(self, name: str, settings: VenueConfig, window_ms: int) -> Any:
        exchange = getattr(import_module("ccxt.async_support"), name)(
            {
                "enableRateLimit": True,
                "timeout": round(1000 * max(self._timeout_s, _LISTING_S)),
                "options": {
                    "recvWindow": window_ms,
                    "defaultType": "spot",
                    "fetchCurrencies": False,
                    "fetchMargins": False,
                    "fetchMarkets": {"types": ["spot"]},
                    "warnOnFetchOpenOrdersWithoutSymbol": False,
                },
            }
        )
        # With Decimal, ccxt leaves out the amounts and fees of trades (4.5.90); texts are exact and whole.
        exchange.number = str
        if exchange.precisionMode != self._base.TICK_SIZE:
            raise UsageError(f"venues.{name}: ccxt does not state this venue's price and lot steps")
        if settings.rest_url:
            exchange.urls["api"] = _moved(exchange.urls["api"], settings.rest_url.rstrip("/"))
        exchange.session = _Session(self._http)
        exchange.timeout_on_exit = 0
        exchange.logger.setLevel(WARNING)  # below it ccxt writes headers, and with them the key
        return exchange

    def _require_orders(self) -> None:
        """Raise ``UsageError`` for a venue whose orders could not be found again by our name."""
        name, has = self.venue, self._exchange.has
        missing = [call for call in _NEEDED if not has.get(call)]
        if missing:
            raise UsageError(
                f"venues.{name}: ccxt offers no {', '.join(missing)} for this venue: live orders are refused"
            )
        created = ((self._exchange.features or {}).get("spot") or {}).get("createOrder") or {}
        if not (created.get("timeInForce") or {}).get("IOC"):
            raise UsageError(
                f"venues.{name}: ccxt offers no IOC orders for this venue: live orders are refused"
            )
        if not self._find_by:
            raise UsageError(
                f"venues.{name}.client_id_param is empty: without the parameter by which ccxt's fetch_order finds "
                "an order by our own name, an order whose answer is lost could not be found: live orders are refused"
            )

    async def _load_markets(self) -> object:
        await self._exchange.load_markets()
        return None

    async def _markets(self, _: Mapping[str, str]) -> object:
        names = ("symbol", "base", "quote", "precision", "limits", "active")
        spot = [market for market in self._exchange.markets.values() if market["spot"]]
        return [{name: market[name] for name in names} for market in spot]

    async def _order_book(self, given: Mapping[str, str]) -> object:
        book = await self._exchange.fetch_order_book(given["symbol"], int(given["limit"]))
        sides = {side: [level[:2] for level in book[side]] for side in ("bids", "asks")}
        return {"book": given["symbol"], "at_ms": book["timestamp"], **sides}

    async def _time(self, _: Mapping[str, str]) -> object:
        has_time = self._exchange.has.get("fetchTime")
        return {"time": await self._exchange.fetch_time() if has_time else None}

    async def _create_order(self, given: Mapping[str, str]) -> object:
        terms = {"timeInForce": "IOC", "clientOrderId": given["name"]}
        order = await self._exchange.create_order(
            given["symbol"], "limit", given["side"], given["amount"], given["price"], terms
        )
        return _without_info(order)

    async def _find_order(self, given: Mapping[str, str]) -> object:
        """Find an order by our own name, or by the venue's id."""
        terms = {self._find_by: given["name"]} if "name" in given else {}
        return _without_info(await self._exchange.fetch_order(given.get("id"), given["symbol"], terms))

    async def _order_trades(self, given: Mapping[str, str]) -> object:
        if self._exchange.has.get("fetchOrderTrades"):
            trades = await self._exchange.fetch_order_trades(given["id"], given["symbol"])
        else:
            trades = await self._exchange.fetch_my_trades(given["symbol"], None, _TRADES_MAX)
        return [_without_info(trade) for trade in trades if trade["order"] in (None, given["id"])]

    async def _open_orders(self, _: Mapping[str, str]) -> object:
        return [_without_info(order) for order in await self._exchange.fetch_open_orders()]

    async def _recent_orders(self, given: Mapping[str, str]) -> object:
        """Return all orders since then, in as many calls as the venue needs."""
        since_ms, has = int(given["since"]), self._exchange.has
        names = ("fetchOrders",) if has.get("fetchOrders") else _BY_STATE
        orders: dict[str, object] = {}
        for name in names:
            if has.get(name):
                for order in await getattr(self._exchange, name)(given["symbol"], since_ms):
                    orders[order["id"]] = _without_info(order)
        return list(orders.values())

    async def _balances(self, _: Mapping[str, str]) -> object:
        found = await self._exchange.fetch_balance()
        return {coin: found[coin] for coin in found["total"]}

    async def _fees(self, given: Mapping[str, str]) -> object:
        if self._exchange.has.get("fetchTradingFee"):
            return {"taker": (await self._exchange.fetch_trading_fee(given["symbol"]))["taker"]}
        return {"taker": self._exchange.market(given["symbol"])["taker"]}


def _without_info(found: Mapping[str, Any]) -> dict[str, object]:
    """Return a unified structure without the venue's own answer, which ccxt keeps in it."""
    kept: dict[str, object] = {name: value for name, value in found.items() if name != "info"}
    if found.get("trades"):
        kept["trades"] = [_without_info(trade) for trade in found["trades"]]
    return kept


def _moved(addresses: Any, rest_url: str) -> Any:
    """Replace scheme and host of ccxt's addresses by ``rest_url``."""
    if isinstance(addresses, dict):
        return {name: _moved(address, rest_url) for name, address in addresses.items()}
    return rest_url + urlsplit(addresses).path if isinstance(addresses, str) else addresses

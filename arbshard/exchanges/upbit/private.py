"""Routes Upbit's REST calls that need a key: it authenticates, checks permissions, and finds the call.

It is pure; ``rest`` calls it. The calls themselves are in ``desk``.
"""

from collections.abc import Callable
from decimal import localcontext
from typing import NamedTuple

import msgspec

from arbshard.config import SimPermissions
from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit.auth import Authenticator
from arbshard.exchanges.upbit.desk import AccountCall, UpbitDesk
from arbshard.exchanges.upbit.params import params_of
from arbshard.exchanges.upbit.refusals import UpbitRefusal
from arbshard.exchanges.upbit.replies import Json
from arbshard.model.money import MONEY_CONTEXT


class Route(NamedTuple):
    """Describes one call."""

    group: str
    """Group of the request limits."""
    allowed: Callable[[SimPermissions], bool]
    handler: Callable[[AccountCall], Json]
    status: int = 200


def _may_read(permissions: SimPermissions) -> bool:
    return permissions.can_read


def _may_trade(permissions: SimPermissions) -> bool:
    return permissions.can_trade


class UpbitPrivate:
    """Serves the private calls of ``/v1``."""

    def __init__(self, desk: UpbitDesk, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._routes = {
            ("GET", "/v1/accounts"): Route("default", _may_read, desk.accounts),
            ("GET", "/v1/api_keys"): Route("default", _may_read, desk.api_keys),
            ("GET", "/v1/status/wallet"): Route("default", _may_read, desk.wallets),
            ("GET", "/v1/orders/chance"): Route("default", _may_read, desk.chance),
            ("POST", "/v1/orders"): Route("order", _may_trade, desk.create, 201),
            ("POST", "/v1/orders/test"): Route("order-test", _may_trade, desk.test, 201),
            ("POST", "/v1/orders/cancel_and_new"): Route("order", _may_trade, desk.cancel_and_new, 201),
            ("GET", "/v1/order"): Route("default", _may_read, desk.order),
            ("DELETE", "/v1/order"): Route("default", _may_trade, desk.cancel),
            ("GET", "/v1/orders"): Route("default", _may_read, desk.legacy_orders),
            ("GET", "/v1/orders/open"): Route("default", _may_read, desk.open_orders),
            ("DELETE", "/v1/orders/open"): Route("order-cancel-all", _may_trade, desk.cancel_open),
            ("GET", "/v1/orders/closed"): Route("default", _may_read, desk.closed_orders),
            ("GET", "/v1/orders/uuids"): Route("default", _may_read, desk.orders_by_id),
            ("DELETE", "/v1/orders/uuids"): Route("default", _may_trade, desk.cancel_by_id),
        }
        self.paths = frozenset(path for _, path in self._routes)

    def route(self, method: str, path: str) -> Route | None:
        """Return the call; None when there is none."""
        return self._routes.get((method, path))

    def account(self, query: Query) -> TradingAccount:
        """Return the account that sent the request. Raises ``UpbitRefusal`` (401)."""
        return self._authenticator.account_of_request(query)

    def reply(self, route: Route, account: TradingAccount, query: Query) -> tuple[int, bytes]:
        """Return status and body for a request that has passed the limits. Raises ``UpbitRefusal``."""
        if not route.allowed(account.permissions):
            raise UpbitRefusal(403, "out_of_scope", "The key does not have this permission.")
        with localcontext(MONEY_CONTEXT):
            reply = route.handler(AccountCall(account, params_of(query), query.now_ms))
        return route.status, msgspec.json.encode(reply)

"""Implements Upbit's private WebSocket: the protocol of the public one, with myOrder and myAsset of one account.

It is opened for a client whose token was checked. There are no snapshots: only changes are sent.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import localcontext
from typing import NamedTuple

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import AccountEvent, OrderChanged
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import RestReply, SendData, SessionAction
from arbshard.exchanges.upbit.auth import Authenticator
from arbshard.exchanges.upbit.gate import RequestCounter
from arbshard.exchanges.upbit.private_frames import my_asset, my_order
from arbshard.exchanges.upbit.refusals import UpbitRefusal as RequestRefused
from arbshard.exchanges.upbit.refusals import error_body
from arbshard.exchanges.upbit.session import (
    ClientJsonObject,
    UpbitErrorFrame,
    UpbitSession,
    Wanted,
    kind_of,
    texts_of,
)
from arbshard.model.money import MONEY_CONTEXT


class Printing(NamedTuple):
    """Says how the venue prints figures; its functions are called for each event."""

    rounds: Callable[[], bool]
    """Returns whether balances are cut to the digits that the venue shows."""
    doubles: Callable[[], bool]
    """Returns whether amounts are doubles."""


def _exact() -> bool:
    return False


EXACT = Printing(_exact, _exact)


class UpbitPrivateSession(UpbitSession):
    """Implements ``session.PrivateSession`` for one account."""

    def __init__(
        self, markets: Mapping[str, SimMarket], account: TradingAccount, printing: Printing = EXACT
    ) -> None:
        super().__init__(markets)
        self._account = account
        self._printing = printing

    def wanted_of(self, entry: ClientJsonObject) -> Wanted:
        """Return a checked subscription to myOrder, of some markets or of all, or to myAsset."""
        kind, given = kind_of(entry), entry.get("codes")
        if kind == "myAsset":
            if "codes" in entry:
                raise UpbitErrorFrame("WRONG_FORMAT", "myAsset takes no codes.")
            return Wanted(kind, ())
        if kind != "myOrder":
            raise UpbitErrorFrame("INVALID_PARAM", "Type is not valid here.")
        if given is None:
            return Wanted(kind, ())
        if not isinstance(given, list):
            raise UpbitErrorFrame("INVALID_PARAM", "Code is not valid.")
        codes = texts_of(given)
        if any(code not in self.markets for code in codes):
            raise UpbitErrorFrame("INVALID_PARAM", "Code is not valid.")
        return Wanted(kind, codes)

    def on_events(
        self, account: TradingAccount, events: Sequence[AccountEvent], now_ms: int
    ) -> Sequence[SessionAction]:
        """Return messages about the client's own account, as far as it is subscribed to them."""
        if account is not self._account or not self.wanted:
            return ()
        assets = any(entry.kind == "myAsset" for entry in self.wanted)
        with localcontext(MONEY_CONTEXT):
            actions: list[SessionAction] = []
            for event in events:
                if isinstance(event, OrderChanged):
                    if self._wants_order(event.order.symbol):
                        doubles = self._printing.doubles()
                        actions.append(SendData(my_order(event, self.form, now_ms, doubles=doubles)))
                elif assets:
                    rounds, doubles = self._printing.rounds(), self._printing.doubles()
                    said = my_asset(event, self.form, now_ms, account.key, is_rounded=rounds, doubles=doubles)
                    actions.append(SendData(said))
        return actions

    def _wants_order(self, symbol: str) -> bool:
        return any(
            entry.kind == "myOrder" and (not entry.codes or symbol in entry.codes) for entry in self.wanted
        )


class PrivateDoor:
    """Opens private sessions for clients with a valid token."""

    def __init__(
        self,
        markets: Mapping[str, SimMarket],
        authenticator: Authenticator,
        printing: Printing = EXACT,
        gate: RequestCounter | None = None,
    ) -> None:
        """Open sessions on ``markets``; ``gate`` counts the requests and sockets of the whole venue."""
        self._printing = printing
        self._markets = markets
        self._authenticator = authenticator
        self._gate = gate or RequestCounter()

    def open(self, authorization: str, now_ns: int) -> UpbitPrivateSession | RestReply:
        """Return a session for the account that the handshake's header names, or the answer that refuses it."""
        try:
            account = self._authenticator.account_of_token(authorization)
        except RequestRefused as refused:
            return RestReply(refused.status, {}, refused.body)
        refused_connection = admit_connection(self._gate, account.key, now_ns)
        return refused_connection or UpbitPrivateSession(self._markets, account, self._printing)


def admit_connection(
    gate: RequestCounter, caller: str, now_ns: int, *, has_origin: bool = False
) -> RestReply | None:
    """Return the answer that refuses a connection of ``caller`` (key or address); None when it may pass."""
    verdict = gate.admit("origin" if has_origin else "websocket-connect", caller, now_ns)
    if verdict.status == 200:
        return None
    body = error_body("too_many_requests", "Too many connections.")
    return RestReply(verdict.status, {"Remaining-Req": verdict.header}, body)

"""Defines ``AccountVenue``: how a venue reports on an account, by its private stream and by REST, and what. Pure.

The module ``account`` of a venue's folder implements it; the private stream, the poller and the doctor use it.
Nothing here opens a socket or reads a clock.
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from ipaddress import ip_address
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from arbshard.config import VenueConfig
from arbshard.errors import FrameError, UsageError
from arbshard.model.market import Side
from arbshard.model.money import ZERO
from arbshard.model.order import OrderFault, OrderState
from arbshard.model.warning import CoinName, WalletWarning
from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys

DETAIL_CHARS_MAX = 200


class Subscribed(NamedTuple):
    """States that the subscription is active: events are reported from now on."""


class Proceed(NamedTuple):
    """States that the venue accepted a first step, and holds the message that is to be sent next."""

    message: str


class SubscriptionEnded(NamedTuple):
    """Is the venue's refusal of the subscription, or its end."""

    why: str


class Leaving(NamedTuple):
    """States that the venue is about to close the connection."""


class Nothing(NamedTuple):
    """Is a frame that concerns neither orders nor balances."""


class ReportedFill(NamedTuple):
    """Is one execution of an order as the venue reports it."""

    trade_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str


class ReportedOrder(NamedTuple):
    """Is the state of an order as the venue reports it, with the execution that the report is about.

    An answer by REST has the same form, without a fill.
    """

    client_id: str
    """Client order id at the venue; empty for an order that was sent without one."""
    venue_order_id: str
    symbol: str
    side: Side
    state: OrderState
    """UNKNOWN if the venue's name of the state is in no table."""
    filled: Decimal
    """Quantity of the base executed so far."""
    remaining: Decimal
    at_ms: int
    fill: ReportedFill | None = None
    detail: str = ""
    state_name: str = ""
    """The venue's own name of the state."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


class VenueBalance(NamedTuple):
    """Holds how much of a currency is owned: what is free, and what open orders lock."""

    free: Decimal
    locked: Decimal


class ReportedBalances(NamedTuple):
    """Holds the balances that have changed, by currency."""

    balances: Mapping[str, VenueBalance]


AccountMessage = (
    Subscribed | Proceed | SubscriptionEnded | Leaving | Nothing | ReportedOrder | ReportedBalances
)


class AccountVenue(Protocol):
    """Makes the requests about an account at one venue, and reads what the venue answers and streams."""

    @property
    def name(self) -> str:
        """Return the venue's name in configuration, markets and the ledger."""
        ...

    @property
    def ping_interval_s(self) -> float:
        """Return after how many seconds a keep-alive is to be sent on the private stream."""
        ...

    def address(self, config: VenueConfig) -> str | None:
        """Return the address of the private stream; None for a venue whose account is polled only.

        Raises ``UsageError`` when the configuration does not determine the address.
        """
        ...

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Return the headers of the handshake. ``nonce`` must never be used again."""
        ...

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """Return the messages to send after connecting.

        ``now_ms`` is the time by the venue's clock. The venue refuses the messages ``window_ms`` milliseconds after
        it.
        """
        ...

    def read(self, frame: bytes) -> AccountMessage:
        """Decode a frame of the private stream. Raises ``FrameError`` for an invalid frame."""
        ...

    def balances_call(self) -> VenueRequest:
        """Make the request for all balances."""
        ...

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """Return all balances that are not zero, by currency. Raises ``FrameError`` for an invalid body."""
        ...

    @property
    def orders_per_page(self) -> int:
        """Return how many orders a full page has; a page with fewer is the last."""
        ...

    def orders_call(self, page: int) -> VenueRequest | None:
        """Make the request for a page of open orders, counted from 1; None after the last page that can exist."""
        ...

    def orders_of(self, body: bytes) -> list[ReportedOrder]:
        """Return the orders in the answer to ``orders_call``. Raises ``FrameError`` for an invalid body."""
        ...

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """Make the request for the state of one order."""
        ...

    def order_of(self, body: bytes) -> ReportedOrder:
        """Return the order in the answer to ``order_call``. Raises ``FrameError`` for an invalid body."""
        ...

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """Make the requests for orders that were made at ``since_ms`` or later, open or not.

        ``symbols`` are the markets to ask about where the venue requires that they are named. ``orders_of`` reads
        each answer.
        """
        ...

    def wallets_call(self) -> VenueRequest | None:
        """Make the request for the state of deposits and withdrawals; None where the venue has no such call."""
        ...

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """Return which deposits and withdrawals of all coins are closed, and the coins' names in the answer.

        Raises ``FrameError`` for an invalid body.
        """
        ...

    def clock_call(self) -> VenueRequest:
        """Make a cheap request whose answer contains the venue's time."""
        ...

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """Return the venue's time (wall milliseconds) and its largest error (milliseconds).

        Raises ``FrameError`` for an answer without a time.
        """
        ...


class WalletNetwork(NamedTuple):
    """Is one network on which a venue receives and sends a coin."""

    name: str
    deposits: bool
    withdrawals: bool
    is_delayed: bool = False
    """Whether the venue receives the network's blocks late."""


def wallet_warnings(
    venue: str, currency: str, networks: Collection[WalletNetwork]
) -> Iterator[WalletWarning]:
    """Yield the warnings that follow from the states of all networks of a coin."""
    deposits = [one.name for one in networks if not one.deposits]
    withdrawals = [one.name for one in networks if not one.withdrawals]
    is_for_all = len(networks)
    if len(deposits) == is_for_all:
        yield WalletWarning(venue, currency, "deposits_closed", ", ".join(deposits))
    if len(withdrawals) == is_for_all:
        yield WalletWarning(venue, currency, "withdrawals_closed", ", ".join(withdrawals))
    some = [one.name for one in networks if not (one.deposits and one.withdrawals)]
    if 0 < len(some) < is_for_all:
        yield WalletWarning(venue, currency, "network_closed", ", ".join(some))
    delayed = [one.name for one in networks if one.is_delayed]
    if delayed:
        yield WalletWarning(venue, currency, "network_delayed", ", ".join(delayed))


def amount(value: Decimal | None, what: str) -> Decimal:
    """Return ``value`` if it is a finite number that is not negative. Raises ``FrameError`` otherwise."""
    if value is None or not value.is_finite() or value < ZERO:
        raise FrameError("number", f"{what} {value}")
    return value


def secret_safe(venue: str, url: str) -> str:
    """Return ``url`` if a key may be sent there: encrypted, or on this machine. Raises ``UsageError`` otherwise."""
    parts = urlsplit(url)
    if parts.scheme == "wss" or (parts.scheme == "ws" and _is_here(parts.hostname or "")):
        return url
    raise UsageError(f"venues.{venue}: {url}: keys travel by wss only, except on this machine")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

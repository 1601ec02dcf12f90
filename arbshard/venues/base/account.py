"""``AccountVenue``: how a venue tells of an account, by its private stream and by REST, and what it tells. Pure.

The room ``account`` of a venue's folder implements it; the private stream, the poller and the doctor use it. Nothing
here opens a socket or looks at a clock.
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
    """The stream is on: what happens from now on is told."""


class Proceed(NamedTuple):
    """The venue agreed to a first step; this is to be sent next."""

    message: str


class Turned(NamedTuple):
    """The venue refused the subscription, or ended it."""

    why: str


class Leaving(NamedTuple):
    """The venue is about to close the connection."""


class Nothing(NamedTuple):
    """A frame that tells nothing of orders or balances."""


class HeardFill(NamedTuple):
    """One execution as the venue tells it."""

    trade_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str


class HeardOrder(NamedTuple):
    """How an order stands, and what has just been executed of it. Also what REST says of it, without the fill."""

    client_id: str
    """As the venue has it; empty for an order that was given none."""
    venue_order_id: str
    symbol: str
    side: Side
    state: OrderState
    """UNKNOWN for a word that is in no table."""
    filled: Decimal
    """Base executed so far."""
    remaining: Decimal
    at_ms: int
    fill: HeardFill | None = None
    detail: str = ""
    word: str = ""
    """The venue's own word for the state."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


class VenueBalance(NamedTuple):
    """What we own of a currency."""

    free: Decimal
    locked: Decimal


class HeardBalances(NamedTuple):
    """Balances that changed."""

    balances: Mapping[str, VenueBalance]


Heard = Subscribed | Proceed | Turned | Leaving | Nothing | HeardOrder | HeardBalances


class AccountVenue(Protocol):
    """A venue's side of an account."""

    @property
    def name(self) -> str:
        """Its name in configuration, markets and the ledger."""
        ...

    @property
    def ping_interval_s(self) -> float:
        """Send a keep-alive on the private stream after this long."""
        ...

    def address(self, config: VenueConfig) -> str | None:
        """Where the private stream is; None for a venue whose account is polled only.

        Raises ``UsageError`` when that is not to be known.
        """
        ...

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Of the handshake; ``nonce`` is never used again."""
        ...

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """What to send once connected. ``now_ms``: by the venue's clock, which refuses it after ``window_ms``."""
        ...

    def read(self, frame: bytes) -> Heard:
        """What a frame of the private stream says. Raises ``FrameError``."""
        ...

    def balances_call(self) -> VenueRequest:
        """Asks for all balances."""
        ...

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """All that are not zero, by currency. Raises ``FrameError``."""
        ...

    @property
    def orders_per_page(self) -> int:
        """A page with fewer was the last."""
        ...

    def orders_call(self, page: int) -> VenueRequest | None:
        """Asks for open orders, in pages from 1; None behind the last page there can be."""
        ...

    def orders_of(self, body: bytes) -> list[HeardOrder]:
        """The orders of such an answer. Raises ``FrameError``."""
        ...

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """Asks how an order stands."""
        ...

    def order_of(self, body: bytes) -> HeardOrder:
        """The order. Raises ``FrameError``."""
        ...

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """Ask for orders made since then, open or not, on ``symbols`` where the venue wants them named.

        Each answer reads as ``orders_of`` does.
        """
        ...

    def wallets_call(self) -> VenueRequest | None:
        """Asks which deposits and withdrawals are open; None where the venue has no call for it."""
        ...

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """What is not open, of all coins, and what the answer calls them. Raises ``FrameError``."""
        ...

    def clock_call(self) -> VenueRequest:
        """Something cheap whose answer tells the venue's time."""
        ...

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """(wall ms of the venue, how far it may be off). Raises ``FrameError``."""
        ...


class WalletNetwork(NamedTuple):
    """One network on which a venue takes and sends a coin."""

    name: str
    deposits: bool
    withdrawals: bool
    is_delayed: bool = False
    """Whether the venue receives its blocks late."""


def wallet_warnings(
    venue: str, currency: str, networks: Collection[WalletNetwork]
) -> Iterator[WalletWarning]:
    """What the states of a coin's networks add up to."""
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
    """``value``, if it is a finite number that is not negative. Raises ``FrameError``."""
    if value is None or not value.is_finite() or value < ZERO:
        raise FrameError("number", f"{what} {value}")
    return value


def secret_safe(venue: str, url: str) -> str:
    """``url``, if a key may travel there: encrypted, or on this machine. Raises ``UsageError``."""
    parts = urlsplit(url)
    if parts.scheme == "wss" or (parts.scheme == "ws" and _is_here(parts.hostname or "")):
        return url
    raise UsageError(f"venues.{venue}: {url}: keys travel by wss only, except on this machine")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

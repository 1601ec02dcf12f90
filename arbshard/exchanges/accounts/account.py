"""Holds a customer of a simulated venue: key, wallet, orders, and the events that were not sent yet.

``exchanges`` makes one trading account per venue from ``[sim.accounts]``; the venues find it by its key.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

from arbshard.config import SimAccountsConfig, SimPermissions
from arbshard.exchanges.accounts.order import AccountEvent, OrderChanged, SimOrder
from arbshard.exchanges.accounts.wallet import Wallet, WalletBalance
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.units import UNIT
from arbshard.model.money import MONEY_CONTEXT, floor_to

EVENTS_MAX = 100_000
ORDERS_MAX = 200_000
"""Finished orders that are kept; older ones are removed and counted."""
CLIENT_IDS_MAX = 1_000_000


class AccountChanges(NamedTuple):
    """Lists what has changed in an account since the last call."""

    orders: tuple[SimOrder, ...]
    """The changed orders in their present state."""
    dropped: tuple[int, ...]
    """Numbers of orders that were removed."""
    client_ids: tuple[str, ...]
    """Client ids that were used for the first time."""
    forgotten_ids: tuple[str, ...]
    balances: tuple[WalletBalance, ...]


class Restored(NamedTuple):
    """Describes an account as it was before the exchange was killed."""

    opening: tuple[WalletBalance, ...]
    balances: tuple[WalletBalance, ...]
    orders: tuple[SimOrder, ...]
    """Orders, oldest first."""
    client_ids: tuple[str, ...]
    """Client ids, oldest first."""
    orders_dropped: int


class _Unsaved:
    """Collects changes until they are fetched."""

    def __init__(self) -> None:
        self.orders: dict[str, SimOrder] = {}
        self.dropped: list[int] = []
        self.client_ids: list[str] = []
        self.forgotten_ids: list[str] = []
        self.balances: dict[str, WalletBalance] = {}


class TradingAccount:
    """Holds one customer's orders and money. ``matching`` changes wallet and orders; the venue reads them."""

    def __init__(
        self, key: str, secret: str, wallet: Wallet, permissions: SimPermissions, *, ed25519_public: str = ""
    ) -> None:
        self.key = key
        self.secret = secret
        self.ed25519_public = ed25519_public
        self.wallet = wallet
        self.permissions = permissions
        self.opening = tuple(wallet.balances())
        """What the wallet held at first."""
        self.orders: dict[str, SimOrder] = {}
        """Orders by the venue's id, oldest first."""
        self.open_orders: dict[str, SimOrder] = {}
        """Those of ``orders`` that are open."""
        self.by_client_id: dict[str, SimOrder] = {}
        """The newest order of each client id."""
        self.orders_dropped = 0
        """Number of finished orders that were removed."""
        self.events_lost = 0
        """Number of events that were not fetched in time."""
        self._client_ids: dict[str, None] = {}
        self._events: deque[AccountEvent] = deque()
        self._unsaved: _Unsaved | None = None
        """Changes to be saved; None when they are not followed."""

    def add_order(self, order: SimOrder) -> None:
        """Add a new order."""
        self.orders[order.id] = self.open_orders[order.id] = order
        if order.client_id:
            self.by_client_id[order.client_id] = order
            self.burn_client_id(order.client_id)
        if len(self.orders) - len(self.open_orders) > ORDERS_MAX:
            self._drop_oldest()

    def close_order(self, order: SimOrder) -> None:
        """Remove an order, which is over, from the open ones."""
        del self.open_orders[order.id]

    def burn_client_id(self, client_id: str) -> None:
        """Remember that ``client_id`` was used, whatever became of the order."""
        self._client_ids[client_id] = None
        if self._unsaved is not None:
            self._unsaved.client_ids.append(client_id)
        if len(self._client_ids) > CLIENT_IDS_MAX:
            oldest = next(iter(self._client_ids))
            del self._client_ids[oldest]
            if self._unsaved is not None:
                self._unsaved.forgotten_ids.append(oldest)

    def has_used(self, client_id: str) -> bool:
        """Return whether ``client_id`` was ever used."""
        return client_id in self._client_ids

    def record(self, event: AccountEvent) -> None:
        """Keep ``event`` until it is fetched. Every change of an order or a balance passes here."""
        if self._unsaved is not None:
            if isinstance(event, OrderChanged):
                self._unsaved.orders[event.order.id] = event.order
            else:
                self._unsaved.balances.update({one.currency: one for one in event.balances})
        if len(self._events) >= EVENTS_MAX:
            self._events.popleft()
            self.events_lost += 1
        self._events.append(event)

    def take_events(self) -> tuple[AccountEvent, ...]:
        """Return and remove all events since the last call, in order."""
        if not self._events:
            return ()
        taken = tuple(self._events)
        self._events.clear()
        return taken

    def follow_changes(self) -> None:
        """Collect changes from now on; the caller fetches them with ``take_changes`` after every change."""
        self._unsaved = _Unsaved()

    def take_changes(self) -> AccountChanges:
        """Return and reset what has changed since the last call."""
        taken, self._unsaved = self._unsaved, _Unsaved()
        assert taken is not None, "follow_changes was not called"
        return AccountChanges(
            tuple(taken.orders.values()),
            tuple(taken.dropped),
            tuple(taken.client_ids),
            tuple(taken.forgotten_ids),
            tuple(taken.balances.values()),
        )

    def restore(self, known: Restored) -> None:
        """Restore the state that was saved."""
        assert not self.orders, "the account is in use already"
        self.wallet = Wallet.restored(known.balances)
        self.opening = known.opening
        self.orders_dropped = known.orders_dropped
        self._client_ids = dict.fromkeys(known.client_ids)
        for order in known.orders:
            self.orders[order.id] = order
            if order.is_open:
                self.open_orders[order.id] = order
            if order.client_id:
                self.by_client_id[order.client_id] = order

    def _drop_oldest(self) -> None:
        oldest = next(one for one in self.orders.values() if not one.is_open)
        del self.orders[oldest.id]
        self.orders_dropped += 1
        if self._unsaved is not None:
            self._unsaved.orders.pop(oldest.id, None)
            self._unsaved.dropped.append(oldest.number)
        if self.by_client_id.get(oldest.client_id) is oldest:
            del self.by_client_id[oldest.client_id]


class Accounts:
    """Holds the customers of one venue, by API key."""

    def __init__(self, *accounts: TradingAccount) -> None:
        self._by_key = {account.key: account for account in accounts}
        assert len(self._by_key) == len(accounts), "two accounts with one key"

    def get(self, key: str) -> TradingAccount | None:
        """Return the account of ``key``; None when there is none."""
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[TradingAccount]:
        return iter(self._by_key.values())


def seeded_accounts(
    config: SimAccountsConfig, upbit: Mapping[str, SimMarket], binance: Mapping[str, SimMarket]
) -> tuple[Accounts, Accounts]:
    """Return Upbit's and Binance's accounts with their opening balances, the same quantity of each coin on both."""
    home = {"KRW": config.quote_home}
    away = {"USDT": config.quote_away}
    at_upbit = {market.listing.base: market for market in upbit.values()}
    with localcontext(MONEY_CONTEXT):
        for market in binance.values():
            listing, lot = market.listing, Decimal(market.listing.lot) / UNIT
            if listing.coin in at_upbit:
                price = Decimal(at_upbit[listing.coin].best_bid) / UNIT
                home[listing.coin] = away[listing.base] = floor_to(config.coins_notional / price, lot)
    upbit_account = TradingAccount(config.upbit_key, config.upbit_secret, Wallet(home), config.permissions)
    binance_account = TradingAccount(
        config.binance_key,
        config.binance_secret,
        Wallet(away),
        config.permissions,
        ed25519_public=config.binance_ed25519_public,
    )
    return Accounts(upbit_account), Accounts(binance_account)

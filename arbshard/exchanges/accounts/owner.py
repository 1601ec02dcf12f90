"""Simulates what an account's owner does beside the program that trades on it: moving money, trading by hand."""

from collections.abc import Iterable
from decimal import Decimal, localcontext

from arbshard.clock import Clock
from arbshard.exchanges.accounts.account import Accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.order import Side, Ticket
from arbshard.exchanges.accounts.taking import amount_of
from arbshard.exchanges.market import SimMarket
from arbshard.model.money import MONEY_CONTEXT, floor_to

_LEAST = Decimal("0.00000001")


class AccountOwner:
    """Acts for the owner of every account of a venue."""

    def __init__(self, accounts: Accounts, matcher: Matcher, clock: Clock) -> None:
        self._accounts = accounts
        self._matcher = matcher
        self._clock = clock

    def transfer(self, currency: str, part: float) -> None:
        """Move ``part`` of what is free of ``currency`` to the venue, or away from it (when below 0)."""
        with localcontext(MONEY_CONTEXT):
            for account in self._accounts:
                amount = (account.wallet.free(currency) * Decimal(str(part))).quantize(_LEAST)
                if amount:
                    self._matcher.transfer(account, currency, amount, self._clock.wall_ms())

    def trade(self, markets: Iterable[SimMarket], side: Side, part: float) -> None:
        """Trade ``part`` of what is free in the first of ``markets``, at the prices of its book."""
        market = next(iter(markets), None)
        if market is None or not market.takes_orders:
            return
        with localcontext(MONEY_CONTEXT):
            book, listing = market.book, market.listing
            opposite = book.asks if side == "buy" else book.bids
            worst = amount_of(opposite.ladder.price(opposite.keys[-1] * opposite.sign))
            lot, share = amount_of(market.lot), Decimal(str(part))
            for account in self._accounts:
                free = account.wallet.free(listing.quote if side == "buy" else listing.base)
                # A buy spends at most half of the part, so that the rest covers the fee.
                quantity = free * share / worst / 2 if side == "buy" else free * share
                quantity = floor_to(quantity, lot)
                if quantity:
                    kind = "limit" if listing.quote == "KRW" else "LIMIT"
                    ticket = Ticket(market.symbol, side, "limit", "ioc", worst, quantity, venue_kind=kind)
                    self._matcher.place(account, ticket, self._clock.wall_ms())

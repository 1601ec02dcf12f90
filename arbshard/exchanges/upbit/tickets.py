"""Checks order requests by Upbit's rules, and turns them into tickets. It is pure; ``desk`` uses it.

Every refusal has the venue's name. What cannot be known without an account (funds, used identifiers) is not checked
here.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from arbshard.exchanges.accounts.order import Ticket, TimeInForce
from arbshard.exchanges.accounts.taking import amount_of, levels, units_of
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.upbit.refusals import (
    UpbitRefusal,
    by_side,
    invalid,
    market_not_found,
    market_offline,
    missing,
)
from arbshard.model.money import ZERO

_TOTAL_MIN = Decimal(5_000)
"""Smallest order in KRW, of a market whose rules were not changed."""
TOTAL_MAX = Decimal(1_000_000_000)
IDENTIFIER_MAX = 64
SELF_TRADE = ("cancel_maker", "cancel_taker", "reduce", "none")
SELF_TRADE_DEFAULT = "cancel_maker"
_NUMBER = re.compile(r"[0-9]{1,16}(\.[0-9]{1,16})?", re.ASCII)
_TIFS: dict[str, TimeInForce] = {"ioc": "ioc", "fok": "fok", "post_only": "post_only"}

BookSide = Literal["bid", "ask"]


class OrderTicket(NamedTuple):
    """Holds what a customer has sent, unchecked."""

    market: str | None
    side: str | None
    ord_type: str | None
    price: str | None = None
    volume: str | None = None
    time_in_force: str | None = None
    identifier: str | None = None
    smp_type: str | None = None


def total_min(market: SimMarket) -> Decimal:
    """Return the smallest order of ``market``, in KRW."""
    return _TOTAL_MIN * market.factors.minimum


def listed_market(markets: Mapping[str, SimMarket], symbol: str) -> SimMarket:
    """Return the market of ``symbol``. Raises ``UpbitRefusal`` for one that is not listed, or not any more."""
    market = markets.get(symbol)
    if market is None or market.state == "delisted":
        raise market_not_found()
    return market


def check_identifier(identifier: str) -> None:
    """Raise ``UpbitRefusal`` when ``identifier`` is too long."""
    if len(identifier) > IDENTIFIER_MAX:
        raise invalid("identifier")


def ticket_of(request: OrderTicket, markets: Mapping[str, SimMarket]) -> Ticket:
    """Return the ticket for ``request``. Raises ``UpbitRefusal``."""
    if request.market is None:
        raise missing("market")
    market = listed_market(markets, request.market)
    if not market.takes_orders:
        raise market_offline()
    side = _side(request.side)
    tif = _tif(request)
    smp = _self_trade(request, tif)
    terms = _TERMS.get(request.ord_type or "")
    if terms is None:
        raise missing("ord_type") if request.ord_type is None else invalid("ord_type")
    ticket = terms(request, market, side, tif)
    return ticket._replace(
        client_id=request.identifier or "", venue_kind=request.ord_type or "", self_trade=smp
    )


def _side(side: str | None) -> BookSide:
    if side is None:
        raise missing("side")
    if side == "bid":
        return "bid"
    if side == "ask":
        return "ask"
    raise invalid("side")


def _tif(request: OrderTicket) -> TimeInForce:
    word, kind = request.time_in_force, request.ord_type
    if word is None:
        if kind == "best":
            raise UpbitRefusal(400, "invalid_time_in_force", "A best order must be ioc or fok.")
        return "gtc"
    tif = _TIFS.get(word)
    if tif is None or kind in ("price", "market") or (kind == "best" and tif == "post_only"):
        raise UpbitRefusal(400, "invalid_time_in_force", f"time_in_force {word!r} does not go with {kind}.")
    return tif


def _self_trade(request: OrderTicket, tif: TimeInForce) -> str:
    """Return the self-trade rule that applies, as the venue prints it; empty where it is switched off."""
    word = request.smp_type
    if word is not None and word not in SELF_TRADE:
        raise invalid("smp_type")
    if tif == "post_only":
        if word not in (None, "none"):
            raise UpbitRefusal(400, "invalid_post_only", "post_only does not go with smp_type.")
        return ""
    return "" if word == "none" else word or SELF_TRADE_DEFAULT


def _limit(request: OrderTicket, market: SimMarket, side: BookSide, tif: TimeInForce) -> Ticket:
    price, volume = _price(request, side), _volume(request, side)
    units = price.scaleb(8)
    if units % 1 or int(units) % market.tick_at(int(units)):
        raise by_side("invalid_price", side, "The price is not a multiple of the tick.")
    _check_total(market, price * volume, side)
    word: Literal["buy", "sell"] = "buy" if side == "bid" else "sell"
    return Ticket(market.symbol, word, "limit", tif, price, quantity=volume)


def _by_total(request: OrderTicket, market: SimMarket, side: BookSide, tif: TimeInForce) -> Ticket:
    if side == "ask":
        raise UpbitRefusal(400, "invalid_parameter", "An order by total is a bid.")
    total = _total(request, market)
    asks = levels(market.book.asks, None)
    if total > sum((price * amount_of(size) for price, size in asks), ZERO):
        raise UpbitRefusal(400, "create_bid_error", "The total is more than the visible order book.")
    return Ticket(market.symbol, "buy", "market", tif, funds=total)


def _by_volume(request: OrderTicket, market: SimMarket, side: BookSide, tif: TimeInForce) -> Ticket:
    if side == "bid":
        raise UpbitRefusal(400, "invalid_parameter", "A market order is an ask.")
    volume = _sold(request, market)
    if units_of(volume) > sum(market.book.bids.sizes):
        raise UpbitRefusal(400, "create_ask_error", "The volume is more than the visible order book.")
    return Ticket(market.symbol, "sell", "market", tif, quantity=volume)


def _best(request: OrderTicket, market: SimMarket, side: BookSide, tif: TimeInForce) -> Ticket:
    """Return the ticket of an order at the present best price of the other side, and no worse."""
    if side == "bid":
        return Ticket(
            market.symbol, "buy", "market", tif, amount_of(market.best_ask), funds=_total(request, market)
        )
    volume = _sold(request, market)
    return Ticket(market.symbol, "sell", "market", tif, amount_of(market.best_bid), quantity=volume)


_TERMS = {"limit": _limit, "price": _by_total, "market": _by_volume, "best": _best}


def _total(request: OrderTicket, market: SimMarket) -> Decimal:
    """Return the KRW to spend."""
    if request.volume is not None:
        raise invalid("volume")
    total = _price(request, "bid")
    if total.scaleb(8) % 1:
        raise by_side("invalid_price", "bid", "The total has more than 8 decimals.")
    _check_total(market, total, "bid")
    return total


def _sold(request: OrderTicket, market: SimMarket) -> Decimal:
    """Return the coins to sell; the limits count what they are worth now."""
    if request.price is not None:
        raise invalid("price")
    volume = _volume(request, "ask")
    _check_total(market, volume * amount_of(market.best_bid), "ask")
    return volume


def _price(request: OrderTicket, side: BookSide) -> Decimal:
    if request.price is None:
        raise missing("price")
    value = Decimal(request.price) if _NUMBER.fullmatch(request.price) else ZERO
    if value <= 0:
        raise by_side("invalid_price", side, "The price is not a positive number.")
    return value


def _volume(request: OrderTicket, side: BookSide) -> Decimal:
    if request.volume is None:
        raise missing("volume")
    value = Decimal(request.volume) if _NUMBER.fullmatch(request.volume) else ZERO
    if value <= 0 or value.scaleb(8) % 1:
        raise by_side("invalid_volume", side, "The volume is not a positive number of at most 8 decimals.")
    return value


def _check_total(market: SimMarket, total: Decimal, side: BookSide) -> None:
    if total < total_min(market):
        raise by_side("under_min_total", side, f"The total is below {total_min(market)} KRW.")
    if total > TOTAL_MAX:
        raise by_side("over_krw_funds", side, f"The total is above {TOTAL_MAX} KRW.")

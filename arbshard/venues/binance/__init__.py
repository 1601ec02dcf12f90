"""Implements Binance's protocols, with one module for each kind of them. ``ADAPTER`` has all modules."""

from arbshard.venues.base.adapter import Adapter
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.binance.diff import BinanceDiff
from arbshard.venues.binance.exact import exact_levels, exact_trade
from arbshard.venues.binance.fusion import BinanceFused
from arbshard.venues.binance.limits import BinanceLimits
from arbshard.venues.binance.market import Binance
from arbshard.venues.binance.order_socket import BinanceOrderSocket
from arbshard.venues.binance.orders import BinanceOrders
from arbshard.venues.binance.rest import BinanceBooks
from arbshard.venues.binance.rules import BinanceRules
from arbshard.venues.binance.signing import BinanceSigning
from arbshard.venues.binance.states import understand

ADAPTER = Adapter(
    market=Binance(),
    rest=BinanceBooks(),
    orders=BinanceOrders(),
    understand=understand,
    account=BinanceAccount(),
    limits=BinanceLimits(),
    rules=BinanceRules(),
    signing=BinanceSigning(),
    order_socket=BinanceOrderSocket(),
    diff=BinanceDiff(),
    fused=BinanceFused(),
    exact_levels=exact_levels,
    exact_trade=exact_trade,
)

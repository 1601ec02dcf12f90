"""Implements Upbit's protocols, with one module for each kind of them. ``ADAPTER`` has all modules."""

from arbshard.venues.base.adapter import Adapter
from arbshard.venues.upbit.account import UpbitAccount
from arbshard.venues.upbit.exact import exact_levels, exact_trade
from arbshard.venues.upbit.limits import UpbitLimits
from arbshard.venues.upbit.market import Upbit
from arbshard.venues.upbit.orders import UpbitOrders
from arbshard.venues.upbit.rest import UpbitBooks
from arbshard.venues.upbit.rules import UpbitRules
from arbshard.venues.upbit.signing import UpbitSigning
from arbshard.venues.upbit.states import understand

ADAPTER = Adapter(
    market=Upbit(),
    rest=UpbitBooks(),
    orders=UpbitOrders(),
    understand=understand,
    account=UpbitAccount(),
    limits=UpbitLimits(),
    rules=UpbitRules(),
    signing=UpbitSigning(),
    exact_levels=exact_levels,
    exact_trade=exact_trade,
)

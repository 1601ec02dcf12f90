"""A third venue, as ``docs/adding-a-venue.md`` says: small and made up, but whole."""

from arbshard.venues.base.adapter import Adapter
from third_venue.account import ThirdAccount
from third_venue.limits import ThirdLimits
from third_venue.market import Third
from third_venue.orders import ThirdOrders
from third_venue.rest import ThirdBooks
from third_venue.rules import ThirdRules
from third_venue.signing import ThirdSigning
from third_venue.states import understand

ADAPTER = Adapter(
    market=Third(),
    rest=ThirdBooks(),
    orders=ThirdOrders(),
    understand=understand,
    account=ThirdAccount(),
    limits=ThirdLimits(),
    rules=ThirdRules(),
    signing=ThirdSigning(),
)

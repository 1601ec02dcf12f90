"""Defines the sections ``[venues.*]``: where the exchanges are, what they cost, and how their feeds are kept."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from arbshard.config.section import NotNegative, Section

HOME, AWAY = "upbit", "binance"
"""The venues of the two legs of a pair, unless ``venues.away`` names another. Home's quote is the reporting
currency, away's the base of the FX market.
"""


class VenueConfig(Section, frozen=True, kw_only=True):
    """Sets where one exchange is and what it costs."""

    adapter: Literal["folder", "ccxt"] = "folder"
    """``folder``: the venue's own code. ``ccxt``: any venue that ccxt knows by the name of the section."""
    client_id_param: str = ""
    """With ``ccxt``: the parameter of ``fetch_order`` that finds an order by our own name, often ``clientOrderId``.
    Without it the venue's books can be traded on paper, and live orders are refused."""
    buy_fee_in_base: bool = False
    """With ``ccxt``: whether the venue takes a buyer's fee from the coin bought; other venues' code knows that."""
    ws_url: str = ""
    """The address; empty with ``data = "sim"``: the simulated exchange's own address."""
    rest_url: str = ""
    private_ws_url: str = ""
    """Address of the account's own events; empty: beside ``ws_url``, as the venue has it."""
    ca_file: str = ""
    """Certificate authorities (PEM) to trust for this venue; empty: those of the system."""
    symbols_per_connection: Annotated[int, Meta(ge=1, le=500)] = 100
    depth: Annotated[int, Meta(ge=1, le=30)] = 15
    """Number of levels to subscribe to; rounded up to what the venue offers."""
    connections: Annotated[int, Meta(ge=1, le=2)] = 1
    """Number of connections that carry the same symbols at once; of two, the first frame wins."""
    stream: Literal["partial", "fused", "diff"] = "partial"
    """``partial``: levels at intervals. ``fused``: these, and each change of the best bid and ask at once; Binance
    only. ``diff``: the book is kept here from its changes; Binance only, and it costs a decode of each frame.
    """
    order_api: Literal["rest", "ws"] = "rest"
    """How live orders travel. ``rest``: over REST. ``ws``: over the venue's WebSocket while it is connected, and over
    REST otherwise; Binance only.
    """
    life_max_s: NotNegative = 0.0
    """A connection is renewed before it is this old, in seconds; 0: what the venue documents."""
    life_margin_s: NotNegative = 600.0
    """How long before that it is renewed, in seconds."""
    silence_s: NotNegative = 0.0
    """A connection that is silent for so many seconds is made anew, and a market is requested again; 0: the usual is
    learned.
    """
    rest_fallback_s: NotNegative = 10.0
    """Books are read over REST once their WebSocket is down for so many seconds; 0: never."""
    buy_fee_bps: Decimal
    sell_fee_bps: Decimal

    def __post_init__(self) -> None:
        """Remove a slash at the end of an address: paths begin with one, and venues refuse two in a row."""
        for key in ("ws_url", "rest_url", "private_ws_url"):
            msgspec.structs.force_setattr(self, key, getattr(self, key).rstrip("/"))


def _upbit() -> VenueConfig:
    return VenueConfig(buy_fee_bps=Decimal(5), sell_fee_bps=Decimal(5))


def _binance() -> VenueConfig:
    return VenueConfig(
        buy_fee_bps=Decimal(10), sell_fee_bps=Decimal(10), depth=20, stream="fused", order_api="ws"
    )


class VenuesConfig(Section, frozen=True):
    """Holds the sections of the exchanges traded on."""

    upbit: VenueConfig = msgspec.field(default_factory=_upbit)
    binance: VenueConfig = msgspec.field(default_factory=_binance)
    away: str = AWAY
    """The venue of the legs that are not at home: the default, or a section with ``adapter = "ccxt"``."""
    listing_every_s: NotNegative = 300.0
    """How often the venues are asked again what they list, in seconds, and when a refusal may be explained by it; 0:
    never.
    """
    others: dict[str, VenueConfig] = msgspec.field(default_factory=dict)
    """The sections of all other venues. The file has them beside those above."""

    @property
    def traded(self) -> tuple[str, str]:
        """Return home and away."""
        return HOME, self.away

    def get(self, venue: str) -> VenueConfig:
        """Return the section of ``venue``. Raises ``KeyError`` for a venue without one."""
        section = getattr(self, venue) if venue in self.__struct_fields__ else self.others[venue]
        if not isinstance(section, VenueConfig):
            raise KeyError(venue)
        return section

    def at(self, addresses: Mapping[str, tuple[str, str]], ca_file: str = "") -> "VenuesConfig":
        """Return the same at other (WebSocket address, REST address), by venue; ``ca_file`` is trusted for them."""
        moved = {
            venue: msgspec.structs.replace(self.get(venue), ws_url=ws_url, rest_url=rest_url, ca_file=ca_file)
            for venue, (ws_url, rest_url) in addresses.items()
        }
        return msgspec.structs.replace(self, **moved)

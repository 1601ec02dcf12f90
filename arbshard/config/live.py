"""Defines the section ``[live]``: real orders. Keys are never in this file."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta, field

from arbshard.config.section import NotNegative, Positive, Section


class LiveConfig(Section, frozen=True):
    """Describes how orders reach the venues with ``mode = "live"``."""

    dry_run: bool = True
    """Whether orders are prepared and not sent. Only ``arbshard run --live`` turns it off, whatever this setting is.
    """
    keys_file: str = ""
    """TOML with ``[upbit] key, secret`` and ``[binance] key, secret`` (or ``ed25519_key_file``), readable by its
    owner alone; empty: keys come from the environment."""
    order_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 3.0
    """An order that is not known to have ended after so many seconds is asked about."""
    ask_pause_ms: Positive = 100.0
    """Pause before an unknown order is asked about; doubled each time."""
    ask_pause_max_ms: Positive = 5000.0
    not_found_after_s: Annotated[float, Meta(ge=1, le=600)] = 10.0
    """An order that its venue does not know counts as never accepted only after so many seconds: until then the
    request may still be on its way.
    """
    recv_window_ms: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    """Binance refuses a request that arrives later than this after it was signed."""
    reserve_share: Annotated[float, Meta(ge=0, le=0.9)] = 0.3
    """Share of every rate limit that entries leave to exits and hedges."""
    entry_wait_ms: NotNegative = 50.0
    """How long an approved entry waits for the rate budget before it is given up. It is asked for only with room in
    the budget, so it waits only where another entry has taken that meanwhile.
    """
    budget_wait_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """How long an exit, a hedge or a question waits for the rate budget before the next try."""
    warm_every_s: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    """How often each connection is used for a cheap call, so that it stays open; the venue's clock is read too."""
    connections: Annotated[int, Meta(ge=1, le=8)] = 2
    """Connections that each worker keeps open to each venue: so many orders at once need not wait for a handshake."""
    reconcile_every_s: Annotated[float, Meta(ge=1, le=3600)] = 5.0
    """How often balances and open orders are read from the venues."""
    balance_tolerances: dict[str, Decimal] = field(default_factory=dict)
    """Largest difference between a venue's balance and the ledger's that blocks nothing, by currency, in its units:
    ``{ KRW = 1 }``. What the rounding to the venue's digits explains never blocks.
    """
    balance_tolerance_worth: Decimal = Decimal(0)
    """The same for every currency that has a price, in reporting currency. The larger of both counts."""
    statement_age_max_s: Annotated[float, Meta(ge=10, le=86_400)] = 120.0
    """Nothing is entered on a venue whose balances were not compared for longer than this, in seconds."""

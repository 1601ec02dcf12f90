"""A position is a pair bought on one venue and sold out of inventory on the other, until it is closed."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.intent import CloseReason, FxQuote
from arbshard.model.market import Direction
from arbshard.model.money import ZERO

PositionState = Literal["OPEN", "CLOSED"]


class Flows(msgspec.Struct, frozen=True):
    """Is the net change of the four balances that a position has touched, fees included. It is derived from fills
    alone.
    """

    home_base: Decimal = ZERO
    home_quote: Decimal = ZERO
    away_base: Decimal = ZERO
    away_quote: Decimal = ZERO


class Position(msgspec.Struct, frozen=True):
    """Is one round trip. Amounts are in base units unless stated otherwise; "reporting" is the home quote (KRW)."""

    position_id: str
    pair: str
    direction: Direction
    """Direction of the entry."""
    state: PositionState
    flows: Flows = Flows()
    entry_home_price: Decimal = ZERO
    """Average fill price of the entry's home leg, home quote."""
    entry_away_price: Decimal = ZERO
    """Average fill price of the entry's away leg, away quote."""
    entry_fx: FxQuote | None = None
    entry_notional: Decimal = ZERO
    """Base bought at entry x its price, in reporting currency. Limits count this."""
    entry_edge_bps: float = 0.0
    """Net edge promised when the entry was decided."""
    fees: Decimal = ZERO
    """All fees so far, each valued when it was paid, in reporting currency."""
    other_fees: Decimal = ZERO
    """The part of ``fees`` that was paid in a coin which is neither base nor quote, and so is not in ``flows``."""
    opened_ms: int = 0
    closed_ms: int = 0
    reason: CloseReason | None = None
    pnl: Decimal | None = None
    """Realised result after all fees, in reporting currency; None until closed."""
    fx_pnl: Decimal | None = None
    """The part of ``pnl`` that the change of the FX rate has brought: what ``flows.away_quote`` is worth at the end,
    less what each part of it was worth at the end of the intent that brought it, at mid rates. None until closed,
    and in statements of older programs.
    """

    @property
    def trade_pnl(self) -> Decimal | None:
        """Return the part of ``pnl`` that prices have brought: ``pnl`` without fees and ``fx_pnl``; None as these
        are.
        """
        if self.pnl is None or self.fx_pnl is None:
            return None
        return self.pnl + self.fees - self.fx_pnl

    @property
    def long_base(self) -> Decimal:
        """Return the base held by the bought leg and not yet sold again."""
        return self.flows.home_base if self.direction == "buy_home" else self.flows.away_base

    @property
    def short_base(self) -> Decimal:
        """Return the base sold out of inventory by the other leg and not yet bought back."""
        return -(self.flows.away_base if self.direction == "buy_home" else self.flows.home_base)

    @property
    def quantity(self) -> Decimal:
        """Return the base quantity open on both legs."""
        return max(ZERO, min(self.long_base, self.short_base))

    @property
    def imbalance(self) -> Decimal:
        """Return the net base exposure: positive when more was bought than sold."""
        return self.flows.home_base + self.flows.away_base

    def value(self, fx: FxQuote, mark: Decimal) -> Decimal:
        """Return the value of the flows in reporting currency.

        Away quote counts at the worse side of ``fx``, left-over base at ``mark`` (home quote per base), less the
        fees that are not in the flows. For a closed position this is the realised PnL: what was paid and received in
        all fills, nothing else.
        """
        flows = self.flows
        return flows.home_quote + fx.value(flows.away_quote) + self.imbalance * mark - self.other_fees

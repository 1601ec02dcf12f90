"""Writes the parts that the status of a run and the summary at its end have in common: amounts, states, equity, FX
and symbols.
"""

import re
from collections.abc import Iterable

from rich.text import Text

from arbshard.config import REGIMES
from arbshard.model.notes import RECORDING
from arbshard.model.risk_note import EquityNote, FxNote, Tally, ValueChangeNote
from arbshard.status.tables import WholeTable

_GOOD = {"running", "connected", "drained", "ready", "idle", "elsewhere"}
_WAITING = {"starting", "connecting", "draining", "restarting", "partly", "degraded", "missing"}
ORDER_WORDS = {
    RECORDING: "records only, no orders",
    "paper": "paper orders",
    "dry run": "DRY RUN: no order is sent",
    "live": "LIVE ORDERS",
}
"""The first words on the screen."""
BESIDE = "fees and losses of transfers, and unexplained differences"
"""Results that come from no position."""


def where_of(data: str, order_mode: str) -> str:
    """Return in a few words which exchanges a run is on."""
    if data == "sim":
        return "SIMULATED exchanges"
    return "public feeds" if order_mode in (RECORDING, "paper") else "REAL exchanges"


def regime_lines(regime: str) -> Iterable[Text]:
    """Return one line on the behaviour of the simulated prices, and what that means for the results below."""
    return [Text(f"{name}: {what}", style="dim") for name, what in REGIMES.items() if name == regime]


def equity_text(equity: EquityNote, currency: str, label: str = "Equity ") -> Text:
    """Return the result of trading, and in a second line the value of the account."""
    parts: list[str | Text | tuple[str, str]] = [
        (label, "bold"),
        money_text(equity.equity),
        f" {currency}: realised ",
        money_text(equity.realised),
        ", unrealised ",
        money_text(equity.unrealised),
        f"; {plain_text(equity.drawdown)} below the high-water mark of {plain_text(equity.high_water)}",
        f"; today {0 - round(float(equity.day_loss)):+,}, this week {0 - round(float(equity.week_loss)):+,}",
        "\nNaked exposure ",
        (plain_text(equity.naked), "bold red" if float(equity.naked) else ""),
        f"; account value {plain_text(equity.account_value)} at the bids of now, deposits and inventory included",
    ]
    if equity.change is not None:
        parts += ["\n", *_change(equity.change)]
    if equity.unpriced:
        parts.append(f", without {', '.join(equity.unpriced)} (no price)")
    if equity.unvalued:
        unvalued = f"\nNot valued, because no book has come yet: {', '.join(equity.unvalued)}"
        parts.append((unvalued, "yellow"))
    return Text.assemble(*parts)


def _change(change: ValueChangeNote) -> list[str | Text]:
    """Return where the account value began in this run, and what has moved it since."""
    parts: list[str | Text] = [
        f"Account value at the start {plain_text(change.started)}; since then trading "
    ]
    parts.append(money_text(change.trading))
    for label, amount in (("inventory prices", change.inventory), ("FX", change.fx)):
        parts += [f", {label} ", money_text(amount)]
    if float(change.moved):
        parts += [", moved in or out ", money_text(change.moved)]
    return parts


def symbols_table(symbols: dict[str, Tally], shown: int) -> WholeTable:
    """Return a table of the ``shown`` busiest symbols."""
    title = "Symbols" if shown >= len(symbols) else f"Symbols: the {shown} busiest of {len(symbols)}"
    table = WholeTable(title)
    for heading in ("symbol", "entries", "exits", "open", "win rate", "PnL", "fees", "FX"):
        table.add_column(heading, justify="left" if heading == "symbol" else "right")
    busiest = sorted(symbols.items(), key=lambda item: (-item[1].entries, item[0]))[:shown]
    for base, totals in busiest:
        table.add_row(
            base,
            str(totals.entries),
            str(totals.exits),
            str(totals.open),
            rate_text(totals.win_rate),
            money_text(totals.pnl),
            plain_text(totals.fees),
            money_text(totals.fx),
        )
    return table


def fx_text(fx: FxNote) -> Text:
    """Return the FX rate beside the one that the coins imply, and what open positions hold of the away quote."""
    parts: list[str | tuple[str, str]] = []
    if fx.rate:
        parts.append(f"{fx.rate:,.2f}")
        usual = f", usually {fx.level_bps:+.0f}" if fx.level_bps is not None else ""
        if fx.implied is not None and fx.premium_bps is not None:
            parts.append(f"; {fx.pairs} coins imply {fx.implied:,.2f} ({fx.premium_bps:+.0f} bps{usual})")
        else:
            parts.append(f"; not compared, for only {fx.pairs} pairs have fresh books")
        parts.append("; ")
    verb = "owe" if fx.held.startswith("-") else "hold"
    parts.append(f"open positions {verb} {abs(float(fx.held)):,.0f} {fx.quote} ({plain_text(fx.worth)})")
    if fx.doubt:
        parts.append(("; in doubt, no pair is entered", "bold red"))
    return Text.assemble(*parts)


def alert_text(line: str) -> str:
    """Return an alert with the zone of the time that it begins with, which is UTC."""
    return re.sub(r"^\d\d:\d\d:\d\d(?= )", r"\g<0> UTC", line)


def rate_text(rate: float | None) -> str:
    """Return a share in percent; a dash where it is not known."""
    return f"{rate:.1%}" if rate is not None else "-"


def plain_text(amount: str) -> str:
    """Return an amount in whole units."""
    return f"{float(amount):,.0f}"


def money_text(amount: str) -> Text:
    """Return an amount with its sign, green for a gain and red for a loss."""
    value = float(amount)
    return Text(
        f"{value:+,.0f}" if value else "0", style="green" if value > 0 else "red" if value < 0 else ""
    )


def counts_text(counts: dict[str, int]) -> str:
    """Return counts with their names, the largest first."""
    return (
        ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda i: -i[1])) or "none"
    )


def state_text(state: str) -> Text:
    """Return a state in the colour of what it means."""
    style = "green" if state in _GOOD else "yellow" if state in _WAITING else "bold red"
    return Text(state, style=style)

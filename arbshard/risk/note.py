"""Makes the note on risk's page, which all other processes can read. Pure; ``assembly`` writes it.

Money is text in plain notation. Symbols, balances and positions are thousands of small entries of which few change
between two notes, so each keeps its text until its value is replaced.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec
from msgspec import Raw

from arbshard.model.money import ZERO, plain
from arbshard.model.position import Position
from arbshard.model.risk_note import (
    ApartNote,
    BalanceNote,
    BarNote,
    DayNote,
    DifferenceNote,
    EntryNote,
    EquityNote,
    FailingNote,
    FeeNote,
    FxNote,
    HaltNote,
    NakedNote,
    OverdueNote,
    PortfolioTally,
    PositionNote,
    RiskNoteHead,
    RunsOutNote,
    ShortageNote,
    StatementTimes,
    StrayNote,
    Tally,
    TightNote,
    TradeNote,
    TradeOrderNote,
    ValueChangeNote,
    VenueRefusalNote,
    WalletNote,
    WarningNote,
)
from arbshard.risk.core import RiskCore
from arbshard.risk.limits.limit_lines import changed_limits
from arbshard.risk.portfolio.holdings import Account, Balance, Trade
from arbshard.risk.portfolio.results import ALL, DAY_MS, Totals, label_of
from arbshard.risk.portfolio.venue_states import VenueRefusal
from arbshard.risk.valuation import Mark
from arbshard.wire.reconciliation import Reconciliation, StrayOrder, UnknownOrder

_CLOSED_SHOWN = 20
_TRADES_SHOWN = 30
_INVENTORY_EVERY_MS = 10_000


class _RawNote(RiskNoteHead, frozen=True, kw_only=True):
    """Is ``RiskNote`` in the form in which it is encoded."""

    symbols: dict[str, Raw]
    balances: dict[str, dict[str, Raw]]


_encoder = msgspec.json.Encoder()


class NoteWriter:
    """Makes notes of one core and its state."""

    def __init__(self, core: RiskCore, currency: str) -> None:
        self._core = core
        self._state = core.state
        self._currency = currency
        self._symbols: dict[str, tuple[Totals, int, Raw]] = {}
        self._balances: dict[Account, tuple[Balance, Raw]] = {}
        self._positions: dict[str, tuple[Position, Mark | None, PositionNote]] = {}
        self._soon: tuple[RunsOutNote, ...] = ()
        self._soon_out_ms = -_INVENTORY_EVERY_MS

    def encode(self, now_ms: int, now_ns: int | None = None) -> bytes:
        """Return the current note as JSON. ``now_ns`` is monotonic; without it the wall time is used."""
        state = self._state
        results, standing = state.results, state.standing
        halt = standing.halt
        differing = self._core.reconciliation(now_ms * 1_000_000 if now_ns is None else now_ns)
        positions, closed = self._all_positions()
        note = _RawNote(
            session=state.session,
            at_ms=now_ms,
            portfolio=self._portfolio(results.run.get(ALL, Totals())),
            lifetime=self._portfolio(results.lifetime.get(ALL, Totals())),
            refusals=self._refusals(),
            reasons=results.run_reasons,
            doubted=sum(results.doubted.values()),
            open_intents=len(state.trades),
            symbols=self._all_symbols(),
            balances=self._all_balances(),
            positions=positions,
            closed=closed,
            halt=HaltNote(halt.at_ms, halt.cause, halt.reason, halt.level) if halt is not None else None,
            halts=standing.halts,
            equity=self._equity(now_ms),
            fx=self._fx(),
            closing={**standing.closing},
            apart={
                pair: ApartNote(one.since_ms, one.cause, one.reason, one.intent_id, one.is_closed_by_hand)
                for pair, one in standing.apart.items()
            },
            failing={
                pair: FailingNote(one.tries, plain(one.cost), one.lead, one.why)
                for (pair, kind), one in state.attempts.items()
                if kind == "exit"
            },
            day=self._today(now_ms),
            days=tuple(self._day(number) for number in sorted(results.days, reverse=True)),
            tightened={
                symbol: TightNote(plain(scale.factor), scale.cause, scale.since_ms)
                for symbol, scale in standing.scales.items()
            },
            limits_changed=changed_limits(state),
            exposures={direction: plain(amount) for direction, amount in state.exposures.items()},
            fences={str(number): shard.fenced_for for number, shard in state.shards.items() if shard.fence},
            broken=self._core.broken or "",
            orders=self._core.orders,
            tag=differing.tag,
            accounts={
                one.venue: StatementTimes(one.read_ns, one.compared_ns, one.settled, one.trouble)
                for one in differing.statements
            },
            rounding=_rounding(differing),
            states_every_s=self._core.states_every_s,
            differences=tuple(
                DifferenceNote(
                    one.venue,
                    one.currency,
                    plain(one.stated),
                    plain(one.booked),
                    one.since_ms,
                    len(one.pairs),
                )
                for one in differing.differences
            ),
            strays=tuple(map(_order, differing.strays)),
            under_way=tuple(sorted({trade.intent.pair for trade in state.trades.values()})),
            trades=tuple(map(_trade, islice(state.trades.values(), _TRADES_SHOWN))),
            unknown=tuple(map(_order, differing.unknown)),
            unclosable=self._core.unclosable(),
            refusing=tuple(map(self._refusing, state.venues.refuses.values())),
            taking={venue: at_ms for (venue, symbol), at_ms in state.venues.takes.items() if not symbol},
            short=tuple(
                ShortageNote(venue, currency, one.count, one.since_ms, one.detail)
                for (venue, currency), one in state.venues.short.items()
            ),
            entries=self._entries(),
            runs_out=self._soon_out(now_ms),
            overdue=tuple(self._overdue(now_ms)),
            under_way_worth=plain(self._core.valuation.under_way_worth),
            fees=tuple(
                FeeNote(
                    one.venue,
                    one.side,
                    one.symbol,
                    plain(one.configured_bps),
                    plain(one.paid_bps),
                    one.since_ms,
                )
                for one in self._core.venue_facts.fees.values()
            )
            + self._stated_fees(),
            warnings=tuple(
                WarningNote(one.pair, one.text, one.rule)
                for _, found in sorted(self._core.warnings.by_pair.items())
                for one in found
            ),
            wallets=tuple(
                WalletNote(venue, one.at_ms, one.problem)
                for venue, one in sorted(self._core.warnings.wallets.items())
            ),
        )
        return _encoder.encode(note)

    def _entries(self) -> dict[str, EntryNote]:
        core = self._core
        found = {}
        for base in core.ownership.pairs:
            bars = tuple(
                BarNote(bar.direction, bar.reason.name, bar.detail) for bar in core.terms.bars.get(base, ())
            )
            known = core.guard.baselines.get(base)
            if known is None:
                found[base] = EntryNote(samples=core.gap_samples(base), bars=bars)
                continue
            half_life_s = known.half_life_s
            found[base] = EntryNote(
                level_bps=round(known.level_bps, 1),
                band_bps=round(known.band_bps, 1),
                half_life_s=round(half_life_s, 1) if half_life_s is not None else None,
                samples=known.samples,
                returns=known.returns,
                excursion_s=known.excursion_s,
                bars=bars,
            )
        return found

    def _soon_out(self, now_ms: int) -> tuple[RunsOutNote, ...]:
        """Return what runs out soon.

        It is calculated every ten seconds, because that takes a walk over all balances.
        """
        if now_ms - self._soon_out_ms >= _INVENTORY_EVERY_MS:
            self._soon_out_ms = now_ms
            until_ms = now_ms + int(self._core.inventory.settings.warn_days * DAY_MS)
            lines = [
                one for one in self._core.inventory.of_now(now_ms).lines if 0 < one.runs_out_ms < until_ms
            ]
            lines.sort(key=lambda one: one.runs_out_ms)
            self._soon = tuple(RunsOutNote(one.venue, one.currency, one.runs_out_ms) for one in lines)
        return self._soon

    def _overdue(self, now_ms: int) -> Iterator[OverdueNote]:
        after_h = self._core.inventory.settings.overdue_h
        for one in self._state.transfers.open.values():
            age_h = (now_ms - one.announced_ms) / 3_600_000
            if age_h >= after_h:
                amount = plain(one.amount if one.is_waiting else one.left)
                yield OverdueNote(one.transfer_id, one.text, amount, round(age_h, 1))

    def _stated_fees(self) -> tuple[FeeNote, ...]:
        found = {
            (one.venue, one.side): one
            for pair in self._core.ownership.pairs.values()
            for leg in (pair.home, pair.away)
            for one in self._core.fee_rule.differing(leg)
        }
        return tuple(
            FeeNote(
                one.venue,
                one.side,
                one.symbol,
                plain(one.configured_bps),
                plain(one.stated_bps),
                one.since_ms,
                "above" if one.is_above else "below",
            )
            for one in found.values()
        )

    def _refusing(self, one: VenueRefusal) -> VenueRefusalNote:
        pairs = sorted(
            pair.base
            for pair in self._core.ownership.pairs.values()
            if any(
                market.venue == one.venue and one.symbol in ("", market.symbol)
                for market in (pair.home.market, pair.away.market)
            )
        )
        return VenueRefusalNote(one.venue, one.symbol, tuple(pairs), one.fault, one.why, one.since_ms)

    def _equity(self, now_ms: int) -> EquityNote:
        valuation, state = self._core.valuation, self._state
        day = self._core.days.day_at(now_ms).number
        change = valuation.value_change
        return EquityNote(
            equity=plain(valuation.equity),
            realised=plain(state.realised),
            unrealised=plain(valuation.unrealised),
            high_water=plain(valuation.high_water),
            drawdown=plain(valuation.drawdown),
            day_loss=plain(valuation.day_loss(day)),
            week_loss=plain(valuation.week_loss(day)),
            naked=plain(valuation.naked_notional),
            naked_by=tuple(
                NakedNote(name, one.pair, plain(one.quantity), plain(one.notional), plain(one.krw_s))
                for name, one in valuation.naked.items()
            ),
            oldest_ms=min((one.books_ms for one in valuation.marks.values() if one.books_ms), default=0),
            unvalued=tuple(
                name
                for name in state.positions
                if name not in valuation.marks or not valuation.marks[name].books_ms
            ),
            account_value=plain(valuation.account_value),
            unpriced=valuation.unpriced,
            change=ValueChangeNote(*map(plain, change)) if change is not None else None,
        )

    def _fx(self) -> FxNote:
        guard = self._core.guard
        figures = guard.fx.figures
        held = FxNote(
            held=plain(self._state.away_held),
            worth=plain(guard.fx_exposure()),
            quote=next((pair.away.market.quote for pair in self._core.ownership.pairs.values()), ""),
        )
        if figures is None:
            return held
        return msgspec.structs.replace(
            held,
            rate=figures.rate,
            implied=figures.implied,
            pairs=figures.pairs,
            premium_bps=_rounded(figures.premium_bps(figures.rate)),
            level_bps=_rounded(figures.level_bps),
            doubt=guard.fx.doubt,
            since_ms=guard.fx.since_ms if guard.fx.doubt else 0,
        )

    def _refusals(self) -> dict[str, int]:
        refusals: dict[str, int] = {}
        for table in (self._state.results.refused, self._core.guard.refusals.pending):
            for (_, reason), count in table.items():
                refusals[reason.name] = refusals.get(reason.name, 0) + count
        return refusals

    def _today(self, now_ms: int) -> DayNote:
        today = self._core.days.day_at(now_ms)
        return msgspec.structs.replace(
            self._day(today.number), starts_ms=today.starts_ms, ends_ms=today.ends_ms
        )

    def _day(self, number: int) -> DayNote:
        results = self._state.results
        totals = results.days.get(number, _NOTHING)
        return DayNote(
            label=label_of(number),
            exits=totals.exits,
            wins=totals.wins,
            losses=totals.losses,
            pnl=plain(totals.pnl),
            fees=plain(totals.fees),
            drawdown=plain(results.drawdown(number)),
        )

    def _all_symbols(self) -> dict[str, Raw]:
        state = self._state
        symbols = (state.results.run.keys() | state.per_symbol_positions.keys()) - {ALL}
        return {base: self._symbol(base) for base in sorted(symbols)}

    def _symbol(self, base: str) -> Raw:
        totals = self._state.results.run.get(base, _NOTHING)
        held = len(self._state.per_symbol_positions.get(base, ()))
        kept = self._symbols.get(base)
        if kept is not None and kept[0] is totals and kept[1] == held:
            return kept[2]
        tally = Tally(
            totals.entries,
            totals.exits,
            held,
            totals.wins,
            totals.losses,
            totals.win_rate,
            plain(totals.pnl),
            plain(totals.fees),
            plain(totals.fx),
        )
        raw = Raw(_encoder.encode(tally))
        self._symbols[base] = (totals, held, raw)
        return raw

    def _all_balances(self) -> dict[str, dict[str, Raw]]:
        found: dict[str, dict[str, Raw]] = {}
        for account, balance in self._state.balances.items():
            venue, currency = account
            kept = self._balances.get(account)
            if kept is None or kept[0] is not balance:
                text = BalanceNote(plain(balance.total), plain(balance.held))
                kept = balance, Raw(_encoder.encode(text))
                self._balances[account] = kept
            found.setdefault(venue, {})[currency] = kept[1]
        return found

    def _all_positions(self) -> tuple[tuple[PositionNote, ...], tuple[PositionNote, ...]]:
        """Return the positions that are open, and the newest that are closed."""
        state, before, kept = self._state, self._positions, {}
        marks = {name: mark for name, mark in self._core.valuation.marks.items() if mark.books_ms}
        found = []
        for positions in (
            state.positions.values(),
            islice(reversed(state.closed.values()), _CLOSED_SHOWN),
        ):
            notes = []
            for position in positions:
                mark = marks.get(position.position_id)
                known = before.get(position.position_id)
                if known is None or known[0] is not position or known[1] is not mark:
                    known = position, mark, _brief(position, mark)
                kept[position.position_id] = known
                notes.append(known[2])
            found.append(tuple(notes))
        self._positions = kept
        return found[0], found[1]

    def _portfolio(self, totals: Totals) -> PortfolioTally:
        state = self._state
        residue: dict[str, dict[str, str]] = {}
        for (venue, coin), left in state.results.residue.items():
            if left != ZERO:
                residue.setdefault(venue, {})[coin] = plain(left)
        return PortfolioTally(
            entries=totals.entries,
            exits=totals.exits,
            open=len(state.positions),
            wins=totals.wins,
            losses=totals.losses,
            win_rate=totals.win_rate,
            pnl=plain(totals.pnl),
            fees=plain(totals.fees),
            fx=plain(totals.fx),
            currency=self._currency,
            exposure=plain(state.exposure),
            beside=plain(totals.beside),
            residue=residue,
        )


_NOTHING = Totals()


def _rounded(bps: float | None) -> float | None:
    return round(bps, 1) if bps is not None else None


def _trade(trade: Trade) -> TradeNote:
    intent = trade.intent
    orders = tuple(
        TradeOrderNote(
            one.order.market.venue,
            one.order.side,
            one.order.role,
            plain(one.order.quantity),
            plain(one.filled),
            plain(one.order.limit),
            one.state,
        )
        for one in trade.orders
    )
    return TradeNote(intent.intent_id, intent.pair, intent.kind, intent.direction, intent.decided_ms, orders)


def _order(one: StrayOrder | UnknownOrder) -> StrayNote:
    return StrayNote(one.venue, one.client_id, one.symbol, one.pair, one.since_ms)


def _rounding(shown: Reconciliation) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for venue, currency, amount in shown.rounding:
        found.setdefault(venue, {})[currency] = plain(amount)
    return found


def _brief(position: Position, mark: Mark | None) -> PositionNote:
    """Return a position for the note. ``mark`` is what closing it would bring; None if unknown or closed."""
    return PositionNote(
        position_id=position.position_id,
        pair=position.pair,
        direction=position.direction,
        quantity=plain(position.quantity),
        entry_home_price=plain(position.entry_home_price),
        entry_away_price=plain(position.entry_away_price),
        notional=plain(position.entry_notional),
        opened_ms=position.opened_ms,
        closed_ms=position.closed_ms,
        reason=position.reason,
        pnl=plain(position.pnl) if position.pnl is not None else None,
        fees=plain(position.fees),
        home_flow=plain(position.flows.home_quote),
        away_flow=plain(position.flows.away_quote),
        unrealised=plain(mark.pnl) if mark is not None else None,
        unrealised_bps=round(float(mark.bps), 2) if mark is not None else None,
        books_ms=mark.books_ms if mark is not None else 0,
        is_whole=mark.is_whole if mark is not None else True,
    )

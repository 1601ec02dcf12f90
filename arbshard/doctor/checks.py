"""Decides from the facts whether it is safe to send orders, with one verdict per question. It is pure.

The doctor shows the verdicts; the start of a live run depends on them.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.config import Config, SizingConfig
from arbshard.doctor.facts import DoctorFacts, VenueFacts
from arbshard.model.market import Leg, Pair
from arbshard.model.money import ZERO, plain
from arbshard.model.warning import MarketWarning

CheckVerdict = Literal["ok", "warning", "fail"]

SKEW_WARN_MS = 250
SKEW_FAIL_MS = 1000
"""A venue may refuse a request that is dated more than a second ahead."""
_USED_WARN_SHARE = 0.5
_NAMED_MAX = 5
_HEADROOM = Decimal("1.2")
"""Factor on the minimum, which an order's last part and its hedge must still reach."""


class Check(msgspec.Struct, frozen=True):
    """Holds the answer to one question about one venue, or about this machine."""

    venue: str
    """Is ``both`` for a question about all venues, and ``machine`` for one about this machine."""
    name: str
    verdict: CheckVerdict
    found: str
    advice: str = ""
    """What would be right; empty when all is well."""
    may_pass: bool = False
    """Whether a failure is one of reaching the venue: it may go without anything being changed here."""


def examine(config: Config, facts: DoctorFacts) -> tuple[Check, ...]:
    """Return every check, in the order in which a person would go through them.

    Checks whose facts could not be gathered are left out.
    """
    return tuple(
        msgspec.structs.replace(check, venue=venue.venue)
        for venue in facts.venues
        for check in _venue_checks(config, facts, venue)
    )


def examine_reach(venues: Sequence[VenueFacts], why: str) -> tuple[Check, ...]:
    """Return whether the addresses answer, and that the markets could not be listed for the reason ``why``."""
    reached = tuple(
        msgspec.structs.replace(check, venue=venue.venue) for venue in venues for check in _reachable(venue)
    )
    return *reached, Check("both", "markets", "fail", why, "both venues must list their markets")


def examine_machine(why_no_twin: str) -> tuple[Check, ...]:
    """Return whether the compiled twin is used; ``why_no_twin`` is why it is not, and empty if it is."""
    if not why_no_twin:
        return (Check("machine", "compiled twin", "ok", "used"),)
    advice = "without it all works, and each message costs more CPU"
    return (Check("machine", "compiled twin", "warning", f"not used: {why_no_twin}", advice),)


def _venue_checks(config: Config, facts: DoctorFacts, venue: VenueFacts) -> Iterator[Check]:
    yield from _reachable(venue)
    if not venue.rest.ok:
        return
    yield _clock(venue)
    yield _key(venue)
    if not venue.account.ok:
        return
    yield _may_trade(venue)
    yield _may_withdraw(venue)
    yield from _addresses(venue)
    yield from _private_stream(venue)
    yield _balances(config.sizing, facts, venue)
    yield _minimum(config.sizing, facts, venue)
    yield from _fees(config, venue)
    yield from _limits(venue)
    yield from _ticks(venue)
    yield from _warnings(config, venue)
    yield from (Check("", "not reported", "warning", missing) for missing in venue.missing)


def _reachable(venue: VenueFacts) -> Iterator[Check]:
    if venue.rest.ok:
        yield Check("", "REST address", "ok", venue.rest_url)
    else:
        advice = f"venues.{venue.venue}.rest_url, the network, and that no firewall is between"
        yield Check(
            "", "REST address", "fail", f"{venue.rest_url}: {venue.rest.why}", advice, venue.rest.may_pass
        )
    if venue.public_stream.ok:
        yield Check("", "market data stream", "ok", "connected")
    else:
        advice = f"venues.{venue.venue}.ws_url must accept WebSockets from here"
        stream = venue.public_stream
        yield Check("", "market data stream", "fail", stream.why, advice, stream.may_pass)


def _clock(venue: VenueFacts) -> Check:
    if venue.ahead_ms is None:
        advice = "without the venue's time its answers cannot be dated"
        return Check("", "clock", "fail", "the venue reported no time", advice, may_pass=True)
    off_ms = max(abs(venue.ahead_ms) - venue.ahead_off_ms, 0)
    side = "ahead of" if venue.ahead_ms > 0 else "behind"
    found = f"{abs(venue.ahead_ms)} ms {side} ours"
    if venue.ahead_off_ms:
        found += f" (± {venue.ahead_off_ms} ms)"
    if off_ms > SKEW_FAIL_MS:
        return Check("", "clock", "fail", found, f"within {SKEW_FAIL_MS} ms: set this machine's clock by NTP")
    if off_ms > SKEW_WARN_MS:
        return Check(
            "", "clock", "warning", found, f"within {SKEW_WARN_MS} ms: set this machine's clock by NTP"
        )
    return Check("", "clock", "ok", found)


def _key(venue: VenueFacts) -> Check:
    if venue.account.ok:
        return Check("", "key", "ok", "accepted")
    advice = "a key of this venue with the right to read the account"
    return Check("", "key", "fail", venue.account.why, advice, venue.account.may_pass)


def _may_trade(venue: VenueFacts) -> Check:
    name = "right to trade"
    if venue.rights.trade is False:
        return Check("", name, "fail", "the key may not trade", "give the key the right to trade spot")
    if not venue.test_order.ok:
        advice = "the venue must accept a small test order by this key and our rounding"
        order = venue.test_order
        return Check("", name, "fail", f"test order refused: {order.why}", advice, order.may_pass)
    return Check("", name, "ok", "a test order was accepted and not executed")


def _may_withdraw(venue: VenueFacts) -> Check:
    name = "no right to withdraw"
    if venue.rights.withdraw is None:
        advice = "see the key's page at the venue: the right to withdraw must be off"
        return Check("", name, "warning", "the venue does not report it", advice)
    if venue.rights.withdraw:
        whose = "the account may withdraw; whether the key may is not reported"
        found = whose if venue.rights.by_account else "the key may withdraw"
        return Check("", name, "fail", found, "a key without the right to withdraw, as the venue reports it")
    return Check("", name, "ok", "the key may not withdraw")


def _addresses(venue: VenueFacts) -> Iterator[Check]:
    if venue.rights.addresses_listed is None:
        return
    if venue.rights.addresses_listed:
        yield Check("", "key's addresses", "ok", "restricted to a list")
    else:
        advice = "restrict the key to this machine's address"
        yield Check("", "key's addresses", "warning", "the key works from anywhere", advice)


def _private_stream(venue: VenueFacts) -> Iterator[Check]:
    if venue.private_stream.ok:
        yield Check("", "private stream", "ok", "subscribed")
    else:
        advice = f"venues.{venue.venue}.private_ws_url must accept this key"
        yield Check("", "private stream", "fail", venue.private_stream.why, advice)


def _balances(sizing: SizingConfig, facts: DoctorFacts, venue: VenueFacts) -> Check:
    """Check that there is money and coin: both directions need both, on each venue."""
    name = "balances"
    legs = [pair.leg(venue.venue) for pair in facts.pairs]
    quote = legs[0].market.quote
    rate = _rate(facts, legs[0])
    if rate is None:
        return Check("", name, "fail", "the FX rate is not known", "the FX market's book must be readable")
    money = venue.free.get(quote, ZERO)
    need_min, need_max = sizing.entry_notional_min / rate, sizing.entry_notional_max / rate
    if money < need_min:
        advice = f"at least {_round(need_min)} {quote}, better {_round(need_max)}, for the smallest order"
        return Check("", name, "fail", f"{_round(money)} {quote}", advice)
    worths = {pair.base: _worth(facts, venue, pair) for pair in facts.pairs}
    empty = [base for base, worth in worths.items() if worth < sizing.entry_notional_min]
    small = [base for base, worth in worths.items() if worth < sizing.entry_notional_max]
    found = f"{_round(money)} {quote}; coins for {len(worths) - len(empty)} of {len(worths)} pairs"
    if len(empty) == len(worths):
        advice = f"at least one pair's coin, worth {_round(sizing.entry_notional_min)} {_home_quote(facts)}"
        return Check("", name, "fail", found, advice)
    if empty:
        return Check("", name, "warning", found, f"nothing can be sold of {_some(empty)}")
    if small or money < need_max:
        short = f"{_some(small)} and " if small else ""
        advice = (
            f"less than one full order: {short}{quote}"
            if money < need_max
            else (f"less than one full order of {_some(small)}")
        )
        return Check("", name, "warning", found, advice)
    return Check("", name, "ok", found)


def _minimum(sizing: SizingConfig, facts: DoctorFacts, venue: VenueFacts) -> Check:
    name = "minimum order"
    found: list[tuple[Decimal, str]] = []
    for pair in facts.pairs:
        leg, price = pair.leg(venue.venue), facts.prices.get(pair.base)
        rate = _rate(facts, leg)
        if price is None or rate is None:
            continue
        needed = max(leg.rules.notional_min * rate, leg.rules.quantity_min * price)
        found.append((needed, leg.market.symbol))
    if not found:
        return Check("", name, "fail", "no price is known", "the books must be readable")
    least, home = sizing.entry_notional_min, _home_quote(facts)
    needed, symbol = max(found)
    said = f"{_round(needed)} {home} needed ({symbol}), ours {_round(least)} or more"
    if least < needed:
        advice = f"sizing.entry_notional_min of {_round(needed * _HEADROOM)} or more"
        return Check("", name, "fail", said, advice)
    if least < needed * _HEADROOM:
        advice = f"sizing.entry_notional_min of {_round(needed * _HEADROOM)} leaves room for hedges"
        return Check("", name, "warning", said, advice)
    return Check("", name, "ok", said)


def _fees(config: Config, venue: VenueFacts) -> Iterator[Check]:
    rates = venue.rates
    if rates is None:
        return
    settings = config.venues.get(venue.venue)
    ours, reported = (settings.buy_fee_bps, settings.sell_fee_bps), (rates.buy_bps, rates.sell_bps)
    found = f"buy {plain(reported[0])}, sell {plain(reported[1])} bps ({rates.symbol})"
    advice = (
        f"venues.{venue.venue}.buy_fee_bps = {plain(reported[0])}, sell_fee_bps = {plain(reported[1])}"
        f" in place of {plain(ours[0])}, {plain(ours[1])}"
    )
    if reported[0] > ours[0] or reported[1] > ours[1]:
        yield Check("", "fees", "fail", found, advice)
    elif reported != ours:
        yield Check("", "fees", "warning", found, advice)
    else:
        yield Check("", "fees", "ok", found)
    if rates.paid_in:
        advice = f"switch paying fees in {rates.paid_in} off, or keep enough of it"
        yield Check("", "fee currency", "warning", f"fees may be taken in {rates.paid_in}", advice)


def _limits(venue: VenueFacts) -> Iterator[Check]:
    for limit in venue.limits:
        name = "rate limit"
        found = f"{limit.window}: {limit.read_headers} allowed, {limit.used} used"
        if limit.read_headers < limit.kept:
            advice = f"this account may do less than the {limit.kept} that arbshard keeps to"
            yield Check("", name, "fail", found, advice)
        elif limit.used > limit.read_headers * _USED_WARN_SHARE:
            yield Check("", name, "warning", found, "another program uses this account or address")
        else:
            yield Check("", name, "ok", found)


def _ticks(venue: VenueFacts) -> Iterator[Check]:
    if not venue.ticks:
        return
    wrong = [tick for tick in venue.ticks if tick.reported != tick.ours]
    if wrong:
        first = wrong[0]
        found = (
            f"{first.symbol} at {plain(first.price)}: tick {plain(first.reported)}, ours {plain(first.ours)}"
        )
        advice = f"{len(wrong)} of {len(venue.ticks)} markets differ: leave them out, or update arbshard"
        yield Check("", "ticks", "fail", found, advice)
    else:
        yield Check("", "ticks", "ok", f"agree on {len(venue.ticks)} markets")


def _warnings(config: Config, venue: VenueFacts) -> Iterator[Check]:
    """Yield which warnings bar the entries of a pair, and which the rule for them only shows."""
    by_rule: dict[str, list[str]] = {}
    for one in venue.warnings:
        what = one.symbol if isinstance(one, MarketWarning) else one.currency
        by_rule.setdefault(config.warnings.rule(one.kind), []).append(f"{what} {one}")
    if not by_rule:
        yield Check("", "warnings", "ok", "none of the markets and coins to be traded")
    for rule, found in sorted(by_rule.items()):
        verdict: CheckVerdict = "ok" if rule == "ignore" else "warning"
        advice = "" if rule == "ignore" else f"these enter nothing (rule {rule} of [warnings])"
        yield Check("", "warnings", verdict, _some(found), advice)


def _rate(facts: DoctorFacts, leg: Leg) -> Decimal | None:
    """Return home quote per quote of ``leg``; None while the FX rate is not known."""
    return Decimal(1) if leg.market.quote == _home_quote(facts) else facts.fx


def _home_quote(facts: DoctorFacts) -> str:
    return facts.pairs[0].home.market.quote


def _worth(facts: DoctorFacts, venue: VenueFacts, pair: Pair) -> Decimal:
    """Return the worth of the pair's coin at the venue, in home quote; 0 when its price is not known."""
    return venue.free.get(pair.leg(venue.venue).market.base, ZERO) * facts.prices.get(pair.base, ZERO)


def _round(value: Decimal) -> str:
    return f"{value:,.0f}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")

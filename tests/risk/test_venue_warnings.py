"""What the venues warn of: which pairs it concerns, what each rule refuses, and when it closes."""

from typing import get_args

import pytest
from msgspec.structs import replace

from arbshard.config import WarningsConfig
from arbshard.ledger.events import ClosesOrdered
from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import decode_risk_note
from arbshard.model.warning import (
    CoinName,
    MarketWarning,
    MarketWarningKind,
    WalletKind,
    WalletReport,
    WalletWarning,
)
from arbshard.risk.note import NoteWriter
from arbshard.status.venues import notices_of_warnings, problems_of_wallets
from arbshard.wire.messages import Approved, Refused
from support import world as w

MARKET_KINDS, WALLET_KINDS = get_args(MarketWarningKind), get_args(WalletKind)
RULES = [(kind, rule) for kind in MARKET_KINDS for rule in ("ignore", "no_entries", "close")]


def with_rules(**rules) -> w.World:
    return w.World(config=replace(w.BOTH_WAYS, warnings=WarningsConfig(**rules)))


def warn(world, *warnings) -> None:
    universe = world.core.ownership.universe
    new = universe.with_listing((), universe.fx, (), world.now_ms, warnings)
    world.events += world.core.set_universe(new, world.now_ms, world.now_ms * 1_000_000)
    world.core.commit()


def tick(world) -> list:
    world.now_ms += 200
    events = world.core.tick(world.now_ms, world.now_ms * 1_000_000)
    world.core.commit()
    return [one for one in events if isinstance(one, ClosesOrdered)]


def answer(world, base="BTC"):
    reply = world.submit(world.entry(base))
    return None if isinstance(reply, Approved) else reply.reason


def test_there_is_a_rule_for_every_kind() -> None:
    keys = set(WarningsConfig.__struct_fields__) - {"wallets_every_s"}
    assert keys == {*MARKET_KINDS, *WALLET_KINDS}


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_a_market_warning_bars_its_pair_alone_unless_it_is_ignored(kind, rule) -> None:
    world = with_rules(**{kind: rule})
    warn(world, MarketWarning("upbit", "KRW-BTC", kind))
    assert answer(world, "BTC") == (None if rule == "ignore" else Refusal.MARKET_WARNED)
    assert answer(world, "ETH") is None
    warn(world)
    assert rule == "ignore" or answer(world, "BTC") is None


@pytest.mark.parametrize("kind", WALLET_KINDS)
def test_a_closed_wallet_bars_the_pair_until_it_is_open(kind) -> None:
    world = with_rules(**{kind: "no_entries"})
    world.core.warnings.set_wallets(
        "binance", WalletReport(1, (WalletWarning("binance", "BTC", kind, "BTC"),))
    )
    refused = world.submit(world.entry("BTC"))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.WALLET_CLOSED
    assert refused.detail == f"BTC at binance: {kind} (BTC) (rule no_entries)"
    assert answer(world, "ETH") is None
    world.core.warnings.set_wallets("binance", WalletReport(2))
    assert answer(world, "BTC") is None


def test_a_venue_that_cannot_be_asked_leaves_what_was_known() -> None:
    world = w.World()
    closed = WalletReport(5, (WalletWarning("upbit", "BTC", "deposits_closed"),))
    world.core.warnings.set_wallets("upbit", closed)
    world.core.warnings.set_wallets("upbit", WalletReport(0, problem="out_of_scope"))
    assert answer(world) is Refusal.WALLET_CLOSED
    note = decode_risk_note(NoteWriter(world.core, "KRW").encode(world.now_ms))
    assert [one.at_ms for one in note.wallets] == [5]
    (line,) = (one.text for one in problems_of_wallets(note))
    assert line.startswith(
        "upbit does not report which deposits and withdrawals are open (out_of_scope): its report of"
    )


def test_exits_are_never_refused_for_a_warning() -> None:
    world = w.World()
    position = world.open_position("BTC")
    warn(world, MarketWarning("upbit", "KRW-BTC", "warning"))
    assert isinstance(world.submit(world.exit_of(position)), Approved)


def test_the_rule_close_closes_what_is_open_once() -> None:
    world = with_rules(warning="close", price_fluctuations="no_entries")
    world.open_position("BTC")
    world.open_position("ETH")
    warn(
        world,
        MarketWarning("upbit", "KRW-ETH", "price_fluctuations"),
        MarketWarning("upbit", "KRW-BTC", "price_fluctuations"),
        MarketWarning("upbit", "KRW-BTC", "warning"),
    )
    (ordered,) = tick(world)
    assert (ordered.pairs, ordered.reason) == (("BTC",), "warned")
    assert world.state.standing.closing == {"BTC": "warned"}
    assert tick(world) == []
    closing = world.exit_of(world.state.get_symbol_positions("BTC")[0], reason="warned")
    world.carry_out(closing, done=True)
    assert world.state.standing.closing == {}
    assert tick(world) == []


def test_a_close_waits_until_both_venues_can_be_used() -> None:
    world = with_rules(withdrawals_closed="close")
    world.open_position("BTC")
    closed = WalletReport(1, (WalletWarning("upbit", "BTC", "withdrawals_closed"),))
    world.core.warnings.set_wallets("upbit", closed)
    world.core.lost_feeds = frozenset(("binance",))
    assert tick(world) == []
    world.core.lost_feeds = frozenset()
    assert [one.pairs for one in tick(world)] == [("BTC",)]


def test_nothing_is_closed_of_a_pair_that_has_nothing_open() -> None:
    world = with_rules(warning="close")
    warn(world, MarketWarning("upbit", "KRW-BTC", "warning"))
    assert tick(world) == []


def test_the_note_and_the_status_say_what_is_warned_of_and_what_follows() -> None:
    world = with_rules(other_caution="ignore")
    warn(
        world,
        MarketWarning("upbit", "KRW-BTC", "other_caution", "NEW_KIND"),
        MarketWarning("upbit", "KRW-BTC", "warning"),
    )
    note = decode_risk_note(NoteWriter(world.core, "KRW").encode(world.now_ms))
    assert [(one.pair, one.rule) for one in note.warnings] == [("BTC", "close"), ("BTC", "ignore")]
    assert list(notices_of_warnings(note)) == [
        "BTC: upbit warns of KRW-BTC: warning: it enters nothing, and is closed once both venues can be used",
        "BTC: upbit warns of KRW-BTC: other_caution (NEW_KIND): it trades as usual by the rule for that",
    ]


def test_warnings_of_other_markets_and_coins_concern_no_pair() -> None:
    world = w.World()
    warn(world, MarketWarning("upbit", "KRW-XYZ", "warning"))
    world.core.warnings.set_wallets(
        "upbit",
        WalletReport(
            1, (WalletWarning("upbit", "USDT", "deposits_closed"),), (CoinName("upbit", "BTC", "B"),)
        ),
    )
    assert world.core.warnings.by_pair == {}


def test_a_restart_of_risk_reads_the_warnings_from_the_universe() -> None:
    world = w.World()
    universe = world.core.ownership.universe
    world.universe = universe.with_listing(
        (), universe.fx, (), 1, (MarketWarning("upbit", "KRW-BTC", "warning"),)
    )
    world.state = world.state
    assert answer(world) is Refusal.MARKET_WARNED

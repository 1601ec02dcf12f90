"""The note that everybody reads."""

import json
from decimal import Decimal

import msgspec
import pytest

from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines
from arbshard.model.risk_note import ApartNote, decode_risk_note
from arbshard.risk.note import NoteWriter
from arbshard.wire.messages import Halt, SetApart, SetLimits
from support import world as w


@pytest.fixture
def world():
    return w.World()


def note_of(world):
    return decode_risk_note(NoteWriter(world.core, "KRW").encode(world.now_ms))


def test_a_fresh_ledgers_note(world) -> None:
    note = note_of(world)
    assert note.session == 1
    assert note.portfolio == note.lifetime
    assert (note.portfolio.entries, note.portfolio.win_rate, note.portfolio.pnl) == (0, None, "0")
    assert note.positions == note.closed == ()
    assert note.balances["upbit"]["KRW"].total == "100000000"


def test_results_by_run_and_life(world) -> None:
    won = world.round_trip(home_out=Decimal(980_000))
    world.stop()
    world = world.restart("run-2")
    world.ask(world.hello())
    lost = world.round_trip()
    world.open_position("ETH")
    world.submit(world.entry("ETH"))
    note = note_of(world)
    assert (note.portfolio.entries, note.portfolio.exits, note.portfolio.open) == (2, 1, 1)
    assert (note.portfolio.wins, note.portfolio.losses, note.portfolio.win_rate) == (0, 1, 0.0)
    assert (note.lifetime.entries, note.lifetime.wins, note.lifetime.win_rate) == (3, 1, 0.5)
    assert Decimal(note.portfolio.pnl) == lost.pnl
    assert Decimal(note.lifetime.pnl) == lost.pnl + won.pnl
    assert Decimal(note.lifetime.fees) == lost.fees + won.fees
    assert note.portfolio.currency == "KRW"
    assert note.reasons == {"take_profit": 1}
    assert note.refusals == {"SYMBOL_POSITIONS": 1}
    assert note.symbols["BTC"].exits == 1
    assert (note.symbols["ETH"].open, note.symbols["ETH"].exits, note.symbols["ETH"].win_rate) == (1, 0, None)
    assert [one.pair for one in note.positions] == ["ETH"]
    assert [Decimal(one.pnl) for one in note.closed] == [lost.pnl, won.pnl]


def test_how_many_samples_there_are_while_a_level_is_being_learned(world) -> None:
    baselines = Baselines(SeriesConfig(), BaselineConfig())
    baselines.set_pairs(["BTC", "ETH"])
    for second in range(47):
        baselines.series["BTC"].add(second * 1_000_000_000, 5.0)
    world.core.use_baselines(baselines)
    entries = note_of(world).entries
    assert (entries["BTC"].level_bps, entries["BTC"].samples, entries["ETH"].samples) == (None, 47, 0)


def test_money_is_text_in_plain_notation(world) -> None:
    intent = world.entry()
    world.carry_out(intent, w.expired(intent.home), w.filled(intent.away, Decimal("0.00001")), done=True)
    text = json.loads(NoteWriter(world.core, "KRW").encode(world.now_ms))
    assert text["portfolio"]["residue"] == {"binance": {"BTC": "0.00000999"}}
    assert text["balances"]["binance"]["BTC"] == {"total": "4.00000999", "held": "0"}


def test_held_and_open_are_shown_while_an_intent_runs(world) -> None:
    world.submit(world.entry())
    note = note_of(world)
    assert note.open_intents == 1
    assert note.balances["binance"]["USDT"].held == "350"
    assert Decimal(note.portfolio.exposure) == Decimal(350) * 1401


def test_a_writer_that_has_written_before_writes_what_a_new_one_does(world) -> None:
    writer = NoteWriter(world.core, "KRW")
    for step in (world.open_position, lambda: world.open_position("ETH"), world.stop):
        step()
        assert decode_risk_note(writer.encode(world.now_ms)) == note_of(world)
    leave = world.exit_of(world.state.get_symbol_positions("BTC")[0])
    world.carry_out(leave, done=True)
    assert decode_risk_note(writer.encode(world.now_ms)) == note_of(world)


def test_a_position_kept_from_an_earlier_run_is_among_the_symbols(world) -> None:
    world.open_position()
    note = note_of(world.restart("run-2"))
    assert note.symbols["BTC"].open == 1
    assert note.symbols["BTC"].entries == 0


def test_half_a_note_is_no_note(world) -> None:
    text = NoteWriter(world.core, "KRW").encode(world.now_ms)
    with pytest.raises(msgspec.MsgspecError):
        decode_risk_note(text[:-10])


def test_a_thousand_pairs_fit_the_page() -> None:
    from arbshard.risk.counters import NOTE_BYTES

    far = Decimal(10**9)
    wide = w.with_limits(correlated_notional_max=far, fx_exposure_max=far)
    world = w.World(tuple(f"C{n}" for n in range(1000)), config=wide)
    for n in range(0, 1000, 5):
        world.round_trip(f"C{n}")
        if n < 900:
            world.open_position(f"C{n}")
    assert len(NoteWriter(world.core, "KRW").encode(world.now_ms)) < NOTE_BYTES / 2


def test_what_stands_is_told() -> None:
    world = w.World(config=w.with_limits(drawdown_max=Decimal(2000)))
    assert note_of(world).halt is None
    world.round_trip()
    world.open_position("ETH")
    world.tell(SetLimits((("order_notional_max", "7"),), "ETH"))
    world.tell(Halt("lunch", flatten=True))
    world.ask(SetApart(0, 1, "ETH", "exits_fail", "three exits failed", "i"))
    note = note_of(world)
    assert note.apart == {
        "ETH": ApartNote(world.now_ms, "exits_fail", "three exits failed", "i", by_hand=True)
    }
    world.now_ms -= 1
    assert (note.halt.cause, note.halt.reason, note.halt.at_ms) == ("operator", "lunch", world.now_ms)
    assert [(one.since_ms, one.reason, one.until_ms) for one in note.halts] == [(world.now_ms, "lunch", 0)]
    assert note.closing == {"ETH": "kill_switch"}
    assert note.tightened[""].factor == "0.5"
    assert note.limits_changed == {"ETH order_notional_max": "7"}
    assert Decimal(note.exposures["buy_away"]) > 0
    assert note.exposures["buy_home"] == "0"
    assert note.broken == ""
    world.core.note_break("no", world.now_ms)
    assert note_of(world).broken == "no"


def test_results_by_trading_day(world) -> None:
    lost = world.round_trip()
    world.now_ms += 86_400_000
    won = world.round_trip(home_out=Decimal(980_000))
    note = note_of(world)
    assert [day.label for day in note.days] == ["2026-11-19", "2026-11-18"]
    assert [Decimal(day.pnl) for day in note.days] == [won.pnl, lost.pnl]
    assert (note.day.label, note.day.wins, note.day.losses) == ("2026-11-19", 1, 0)
    assert note.day.starts_ms <= world.now_ms < note.day.ends_ms
    assert Decimal(note.days[1].drawdown) == -lost.pnl
    world.now_ms += 86_400_000
    assert (note_of(world).day.label, note_of(world).day.pnl) == ("2026-11-20", "0")


def test_refusals_that_are_only_counted_so_far_are_in_it(world) -> None:
    world.open_position()
    for _ in range(5):
        world.submit(world.entry())
    assert note_of(world).refusals == {"SYMBOL_POSITIONS": 5}
    world.tick(10_000)
    assert note_of(world).refusals == {"SYMBOL_POSITIONS": 5}


def test_on_paper_it_says_so_and_has_no_accounts(world) -> None:
    note = note_of(world)
    assert (note.orders, note.accounts, note.states_every_s) == ("paper", {}, 0.0)


@pytest.mark.parametrize(("dry_run", "said"), [(True, "dry run"), (False, "live")])
def test_live_it_says_what_the_venues_say(dry_run, said) -> None:
    world = w.World(ready=False, config=w.with_live(dry_run=dry_run, reconcile_every_s=7.0), tag="ab1cd")
    world.start()
    world.ask(world.hello())
    note = note_of(world)
    assert (note.orders, note.tag, note.states_every_s) == (said, "ab1cd", 7.0)
    assert [(word.read_ns, word.compared_ns) for word in note.accounts.values()] == [(0, 0), (0, 0)]
    venues = w.Venues()
    for _ in range(2):
        for venue in (w.HOME, w.AWAY):
            world.now_ms += 1
            world.tell(venues.statement(venue, world.now_ms))
        venues.held[w.HOME, "KRW"] -= Decimal("0.5")
        venues.open_orders = [(w.AWAY, "ab1cd-s1-0-1-9-a0", "DOGEUSDT", Decimal(1))]
    intent = world.entry()
    world.state.reconciled.differences.clear()  # only to get an intent under way
    world.submit(intent)
    world.report(intent, w.OrderResult(intent.away, "UNKNOWN"))
    world.now_ms += 1
    world.tell(venues.statement(w.HOME, world.now_ms, settled=False))
    note = note_of(world)
    assert note.accounts["upbit"].read_ns == (world.now_ms - 1) * 1_000_000
    assert not note.accounts["upbit"].settled
    assert note.accounts["binance"].compared_ns == note.accounts["binance"].read_ns > 0
    assert [(one.client_id, one.pair) for one in note.strays] == [("s1-0-1-9-a0", "")]
    assert [(one.client_id, one.since_ms) for one in note.unknown] == [
        (intent.away.client_id, intent.decided_ms)
    ]


def test_differences_are_in_it() -> None:
    world = w.World(ready=False, config=w.with_live(), tag="ab1cd")
    world.start()
    venues = w.Venues()
    for _ in range(2):
        world.now_ms += 1
        world.tell(venues.statement(w.HOME, world.now_ms))
        venues.held[w.HOME, "KRW"] -= Decimal("0.5")
    (one,) = note_of(world).differences
    assert (one.venue, one.currency, one.stated, one.booked) == ("upbit", "KRW", "99999999.5", "100000000")
    assert one.pairs == 2

"""The note that everybody reads."""

import json
from decimal import Decimal

import msgspec
import pytest

from arbshard.model.risk_note import decode_risk_note
from arbshard.risk.note import NoteWriter


@pytest.fixture
def world(w):
    return w.World()


def note_of(world):
    return decode_risk_note(NoteWriter(world.state, "KRW").encode())


def test_a_fresh_ledgers_note(world) -> None:
    note = note_of(world)
    assert note.session == 1
    assert note.portfolio == note.lifetime
    assert (note.portfolio.entries, note.portfolio.win_rate, note.portfolio.pnl) == (0, None, "0")
    assert note.positions == note.closed == ()
    assert note.balances["upbit"]["KRW"].total == "100000000"


def test_results_by_session_and_life(world) -> None:
    won = world.round_trip(home_out=Decimal(980_000))
    world.stop()
    world = world.restart()
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


def test_money_is_text_in_plain_notation(w, world) -> None:
    intent = world.entry()
    world.carry_out(intent, w.expired(intent.home), w.filled(intent.away, Decimal("0.00001")), done=True)
    text = json.loads(NoteWriter(world.state, "KRW").encode())
    assert text["portfolio"]["residue"] == {"binance": {"BTC": "0.00000999"}}
    assert text["balances"]["binance"]["BTC"] == {"total": "4.00000999", "held": "0"}


def test_held_and_open_are_shown_while_an_intent_runs(world) -> None:
    world.submit(world.entry())
    note = note_of(world)
    assert note.open_intents == 1
    assert note.balances["binance"]["USDT"].held == "350"
    assert Decimal(note.portfolio.exposure) == Decimal(350) * 1401


def test_a_writer_that_has_written_before_writes_what_a_new_one_does(w, world) -> None:
    writer = NoteWriter(world.state, "KRW")
    for step in (world.open_position, lambda: world.open_position("ETH"), world.stop):
        step()
        assert decode_risk_note(writer.encode()) == note_of(world)
    leave = world.exit_of(world.state.get_symbol_positions("BTC")[0])
    world.carry_out(leave, done=True)
    assert decode_risk_note(writer.encode()) == note_of(world)


def test_a_position_kept_from_an_earlier_session_is_among_the_symbols(world) -> None:
    world.open_position()
    note = note_of(world.restart())
    assert note.symbols["BTC"].open == 1
    assert note.symbols["BTC"].entries == 0


def test_half_a_note_is_no_note(world) -> None:
    text = NoteWriter(world.state, "KRW").encode()
    with pytest.raises(msgspec.MsgspecError):
        decode_risk_note(text[:-10])


def test_a_thousand_pairs_fit_the_page(w) -> None:
    from arbshard.risk.counters import NOTE_BYTES

    world = w.World(tuple(f"C{n}" for n in range(1000)))
    for n in range(0, 1000, 5):
        world.round_trip(f"C{n}")
        if n < 900:
            world.open_position(f"C{n}")
    assert len(NoteWriter(world.state, "KRW").encode()) < NOTE_BYTES / 2

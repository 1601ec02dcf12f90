"""Why a pair is not entered: the most general reason first, and what is missing in basis points."""

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.engine.edge import terms_of, top_edge_bps
from arbshard.engine.quality import UNSEEN
from arbshard.model.risk_note import NO_NOTE, BarNote, EntryNote
from arbshard.status.why import lines_of, reasons_of
from arbshard.web.pairs import why_not

KNOWN = EntryNote(level_bps=10.0, band_bps=4.0, half_life_s=25.0, samples=900, returns=5)
CONFIG = Config()


@pytest.fixture
def look(make):
    """The sentences about a pair whose gap is so wide."""

    def looked(gap_bps=0.0, known=KNOWN, note=NO_NOTE, halted="", config=CONFIG, elsewhere="", **views):
        given = {
            "home": make.view(make.home_book(gap_bps)),
            "away": make.view(make.away_book()),
            "fx": make.view(make.fx_book()),
            **views,
        }
        note = replace(note, entries={"BTC": known})
        found = reasons_of(
            make.pair,
            3,
            (given["home"], given["away"], given["fx"]),
            make.now_ns,
            config,
            note,
            halted,
            elsewhere,
        )
        return found, list(lines_of(found))

    return looked


def test_a_gap_that_is_too_small_says_what_is_missing(look, make):
    found, lines = look(30.0)
    away = found.directions[1]
    book, other, fx = make.home_book(30.0), make.away_book(), make.fx_book()
    edge = top_edge_bps(other.best_ask, book.best_bid, terms_of(make.pair, "buy_away"), fx.best_ask)
    assert away.edge_bps == round(edge, 2)
    assert away.least_bps == CONFIG.strategy.entry_bps + 10.0  # the level never comes back
    missing = away.least_bps - away.edge_bps
    assert any(
        line.startswith("buying away") and line.endswith(f"{missing:.1f} are missing") for line in lines
    )
    assert "returns to +10.0 (band 4.0), half back in 25 s" in lines[1]
    assert not away.is_worth_it


def test_a_pair_of_another_host_is_said_to_be_there_and_to_lack_no_data(look):
    bars = (BarNote("", "MARKET_WARNED", "a warning"),)
    known = replace(KNOWN, bars=bars)
    found, lines = look(known=known, elsewhere="host b runs it", home=UNSEEN, away=UNSEEN)
    assert found.problem == ""
    assert lines[2:] == [
        "no entry: MARKET_WARNED: a warning",
        "host b runs it: 'arbshard why' says more there, and 'arbshard cluster show' where all shards are",
    ]
    assert why_not(replace(found, known=KNOWN)) == ("host b runs it", "")
    here, lines = look(home=UNSEEN, away=UNSEEN)
    assert here.problem
    assert not any("host b" in line for line in lines)


def test_a_gap_that_nets_enough_says_so_and_names_the_rule_that_bars_it(look):
    _, lines = look(200.0)
    assert any("the order would net" in line and line.endswith("no rule bars it") for line in lines)
    bars = (BarNote("buy_away", "NOT_REARMED", "BTC waits"), BarNote("", "MARKET_WARNED", "a warning"))
    found, lines = look(200.0, known=replace(KNOWN, bars=bars))
    assert found.directions[1].is_worth_it
    assert "  no entry in this direction: NOT_REARMED: BTC waits" in lines
    assert "no entry: MARKET_WARNED: a warning" in lines
    assert not any(line.endswith("no rule bars it") for line in lines)


def test_shallow_books_are_named(look, make):
    home, away = make.view(make.home_book(200.0, size=1e-6)), make.view(make.away_book(size=1e-6))
    _, lines = look(home=home, away=away)
    assert any(line.endswith("the books are not deep enough for an order that nets them") for line in lines)


def test_halts_data_and_orders_under_way_come_first(look, make):
    note = replace(NO_NOTE, under_way=("BTC",))
    old = make.view(make.away_book(received_ns=make.now_ns - 60_000_000_000))
    found, lines = look(200.0, note=note, halted="halted (operator): looked at", away=old)
    assert lines[1:4] == [
        "no entry: halted (operator): looked at",
        "no entry now: BOOK_STALE (age of the books: upbit 0 ms, binance 60,000 ms, FX 0 ms)",
        "no entry now: an intent of the pair is under way",
    ]
    assert found.problem == "BOOK_STALE"


def test_without_books_nothing_is_compared(look):
    found, lines = look(home=UNSEEN, away=UNSEEN)
    assert found.problem == "BOOK_MISSING"
    assert "buying at home: no books to compare" in lines
    assert any(line.startswith("gap unknown; it returns to") for line in lines)


def test_while_the_level_is_learned_no_edge_is_asked_for(look):
    found, lines = look(200.0, known=EntryNote(samples=12))
    assert found.directions[1].least_bps is None
    assert any("is being learned (12 samples)" in line for line in lines)


def test_an_order_is_sized_by_the_limit_in_force(look):
    assert look(200.0)[0].directions[1].is_worth_it
    for limits_changed in ({"order_notional_max": "20000"}, {"BTC order_notional_max": "20000"}):
        found, lines = look(200.0, note=replace(NO_NOTE, limits_changed=limits_changed))
        assert not found.directions[1].is_worth_it
        assert any("not deep enough" in line for line in lines)
    other = replace(NO_NOTE, limits_changed={"ETH order_notional_max": "20000"})
    assert look(200.0, note=other)[0].directions[1].is_worth_it

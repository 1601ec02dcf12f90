"""Rows of the table of pairs: the column ``why not``, whose turn it is, and one pair in full."""

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.risk_note import NO_NOTE, BarNote, EntryNote, PositionNote
from arbshard.status.why import reasons_of
from arbshard.web.pairs import PairQueue, RefusedTrade, detail_of, row_of, waiting_row, why_not

KNOWN = EntryNote(level_bps=10.0, band_bps=4.0, half_life_s=25.0, samples=900, returns=5)
HELD = PositionNote(
    position_id="s1", pair="BTC", direction="buy_away", quantity="1", entry_home_price="1", entry_away_price="1",
    notional="1000", opened_ms=5, closed_ms=0, reason=None, pnl=None, unrealised="-12.5",
)  # fmt: skip


@pytest.fixture
def views(make):
    def made(gap_bps, size=None):
        sized = {} if size is None else {"size": size}
        return (
            make.view(make.home_book(gap_bps, **sized)),
            make.view(make.away_book(**sized)),
            make.view(make.fx_book()),
        )

    return made


@pytest.fixture
def reasons(make, views):
    def found(gap_bps=30.0, known=KNOWN, note=NO_NOTE, halted="", size=None):
        note = replace(note, entries={"BTC": known})
        return reasons_of(make.pair, 3, views(gap_bps, size), make.now_ns, Config(), note, halted)

    return found


def test_the_most_general_reason_comes_first(reasons):
    general = replace(KNOWN, bars=(BarNote("", "MARKET_WARNED", "a warning"),))
    one_way = replace(KNOWN, bars=(BarNote("buy_away", "NOT_REARMED", "BTC: it waits"),))
    busy = replace(NO_NOTE, under_way=("BTC",), positions=(HELD,))
    said = [
        why_not(found)
        for found in (
            reasons(halted="halted (operator): lunch", note=busy),
            reasons(note=busy),
            reasons(note=replace(NO_NOTE, positions=(HELD,))),
            reasons(known=general),
            reasons(known=EntryNote(samples=12)),
            reasons(200.0, size=1e-6),
            reasons(200.0, known=one_way),
            reasons(200.0),
        )
    ]
    assert said == [
        ("entries are halted", "bad"),
        ("a trade is under way", "good"),
        ("it has a position, which is left first", "good"),
        ("a warning (MARKET_WARNED)", "warn"),
        ("its level is being learned (12 samples)", ""),
        ("the books are too thin for an order", ""),
        ("it waits (NOT_REARMED)", "warn"),
        ("nothing: an entry is due", "good"),
    ]


def test_what_is_missing_is_said_of_the_nearer_direction(reasons, make):
    found = reasons(30.0)
    away = found.directions[1]
    row = row_of(found, make.pair, NO_NOTE, 77)
    assert row.why == f"{away.least_bps - away.edge_bps:.1f} bps are missing"
    assert (row.direction, row.edge, row.least, row.at_ms) == ("buy_away", away.edge_bps, away.least_bps, 77)
    assert (row.level, row.band, row.half_life_s, row.position) == (10.0, 4.0, 25.0, "")
    assert row.home_age_ms == row.away_age_ms == 0.0


def test_a_position_is_in_the_row(reasons, make):
    note = replace(NO_NOTE, positions=(HELD,))
    row = row_of(reasons(note=note), make.pair, note, 1)
    assert (row.position, row.unrealised) == ("buy_away", "-12.5")


def test_a_pair_that_was_not_looked_at_claims_nothing(make):
    row = waiting_row(make.pair, 1, 5)
    assert (row.gap, row.edge, row.why, row.shard) == (None, None, "not looked at yet", 1)


def test_the_detail_has_both_books_and_marks_what_was_traded(reasons, views, make):
    closed = replace(HELD, position_id="s0", opened_ms=2, closed_ms=4, direction="buy_home")
    other = replace(HELD, position_id="s2", pair="ETH")
    note = replace(NO_NOTE, positions=(HELD, other), closed=(closed,))
    funnel = {"BTC": EdgeFunnel(wanted=3)}
    refused = [RefusedTrade(9, "EXPIRED", "late")]
    detail = detail_of(reasons(note=note), make.pair, views(30.0), note, funnel, refused, 11)
    home, away, _ = views(30.0)
    assert detail.home_bids == home.book.bids[:12]
    assert detail.away_asks == away.book.asks[:12]
    assert [(mark.at_ms, mark.kind, mark.direction) for mark in detail.marks] == [
        (5, "entry", "buy_away"),
        (2, "entry", "buy_home"),
        (4, "exit", "buy_home"),
    ]
    assert [one.position_id for one in detail.positions] == ["s1", "s0"]
    assert (detail.funnel, detail.refused, detail.level) == (EdgeFunnel(wanted=3), tuple(refused), 10.0)
    assert any(line.startswith("buying away") for line in detail.lines)


def test_watched_rows_come_each_time_and_all_others_in_turn():
    bases = tuple(f"C{number}" for number in range(10))
    queue, watched = PairQueue(3), frozenset({"C4", "gone"})
    turns = [queue.choose(bases, watched) for _ in range(4)]
    assert all(turn.count("C4") == 1 for turn in turns)
    assert {base for turn in turns for base in turn} == set(bases)
    assert max(map(len, turns)) <= 4
    assert queue.choose(bases[:3], frozenset()) == list(bases[:3])
    assert queue.choose((), watched) == []

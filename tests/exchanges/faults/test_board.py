"""One switch and all of them: counted, by chance, reproducible."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import FaultsConfig
from arbshard.exchanges.faults.board import Board


def test_all_is_off_at_first_and_draws_nothing(make_board):
    board = make_board()
    assert not any(switch.on or switch.happens() for switch in board)
    assert board.fill_share() == 1.0


def test_every_fault_of_the_configuration_has_its_switch(make_board):
    assert ["seed", *make_board().names] == [field.name for field in msgspec.structs.fields(FaultsConfig)]


def test_counted_occasions_come_first_and_for_certain(make_board):
    switch = make_board(delay={"times": 2}).delay
    assert [switch.happens() for _ in range(4)] == [True, True, False, False]
    assert (switch.happened, switch.left, switch.on) == (2, 0, False)


def test_by_chance_as_often_as_said(make_board):
    switch = make_board(delay={"share": 0.2}).delay
    assert 150 < sum(switch.happens() for _ in range(1000)) < 250
    assert 150 < switch.happened < 250


@given(seed=st.integers(0, 2**63 - 1), others=st.lists(st.booleans(), max_size=30))
def test_the_same_seed_gives_the_same_faults_whatever_else_happens(seed, others):
    def run(noise):
        faults = {"seed": seed, "delay": {"share": 0.5}, "reject": {"share": 0.5}}
        board = Board("upbit", msgspec.convert(faults, FaultsConfig), {})
        seen = []
        for _ in range(20):
            if noise and noise.pop():
                board.reject.happens()
            seen.append((board.delay.happens(), board.delay.draw_ms(board.delay.fault)))
        return seen

    assert run([]) == run(list(others))


def test_another_seed_or_venue_gives_others(make_board):
    def run(venue, seed):
        switch = make_board(venue, seed=seed, delay={"share": 0.5}).delay
        return [switch.happens() for _ in range(64)]

    assert run("upbit", 1) == run("upbit", 1)
    assert len({tuple(run(*what)) for what in (("upbit", 1), ("upbit", 2), ("binance", 1))}) == 3


@pytest.mark.parametrize(("venue", "on"), [("", True), ("upbit", True), ("binance", False)])
def test_a_filter_on_the_venue(make_board, venue, on):
    board = make_board("upbit", delay={"venue": venue, "share": 1.0, "times": 3})
    assert board.delay.on is on
    assert board.delay.left == (3 if on else 0)


@pytest.mark.parametrize(("venue", "on"), [("upbit", False), ("binance", True)])
def test_what_a_protocol_lacks_stays_off(make_board, venue, on):
    board = make_board(venue, sequence_gap={"times": 1}, shutdown_notice={"share": 1.0})
    assert (board.sequence_gap.on, board.shutdown_notice.on) == (on, on)


def test_times_are_drawn_from_the_range(make_board):
    switch = make_board(late_event={"times": 1, "ms_min": 5, "ms_max": 6}).late_event
    times = [switch.draw_ms(switch.fault) for _ in range(50)]
    assert all(5 <= one <= 6 for one in times)
    assert len(set(times)) > 40


def test_some_are_drawn_in_their_order(make_board):
    switch = make_board(disconnect={"times": 1}).disconnect
    found = list(range(10))
    assert switch.draw(found, 0) == switch.draw(found, 10) == found
    some = [tuple(switch.draw(found, 3)) for _ in range(20)]
    assert all(list(one) == sorted(set(one)) and len(one) == 3 for one in some)
    assert len(set(some)) > 5


def test_a_taker_gets_its_share_so_often(make_board):
    board = make_board(partial_fill={"times": 1, "fill_share": 0.25})
    assert [board.fill_share() for _ in range(3)] == [0.25, 1.0, 1.0]

"""Faults that come with time: once a second, and over when they are over."""

import pytest

from arbshard.clock import ManualClock
from arbshard.exchanges.faults.clock import SkewedClock
from arbshard.exchanges.faults.spells import FOREVER_NS, Spells

SECOND_NS = 1_000_000_000
QUARTER_NS = SECOND_NS // 4


class Market:
    def __init__(self):
        self.lost = 0

    def lose_event(self):
        self.lost += 1


@pytest.fixture
def clients(make_client):
    return [make_client("a"), make_client("b", private=True), make_client("c")]


def test_every_second_is_one_occasion(make_board, clients, conditions):
    spells = Spells(make_board(disconnect={"times": 3}), (), conditions)
    for turn in range(20):
        spells.on_time(turn * QUARTER_NS, clients)
    assert [len(client.heard) for client in clients] == [3, 3, 3]
    assert clients[0].heard[0] == "fault: disconnect cut"


def test_waking_makes_an_occasion_at_once(make_board, clients, conditions):
    board = make_board()
    spells = Spells(board, (), conditions)
    spells.on_time(10, clients)
    board.disconnect.set(board.disconnect.once_more({}))
    spells.on_time(20, clients)
    assert clients[0].heard == []
    spells.wake()
    spells.on_time(30, clients)
    assert clients[0].heard == ["fault: disconnect cut"]


@pytest.mark.parametrize(("sockets", "hit"), [("all", "abc"), ("private", "b"), ("public", "ac")])
def test_sockets_of_a_kind(make_board, clients, sockets, hit, conditions):
    Spells(make_board(disconnect={"times": 1, "sockets": sockets, "clean": True}), (), conditions).on_time(
        0, clients
    )
    assert "".join(client.name for client in clients if client.heard) == hit
    assert {line for client in clients for line in client.heard} == {"fault: disconnect clean"}


def test_some_of_them(make_board, make_client, conditions):
    clients = [make_client(str(number)) for number in range(20)]
    Spells(make_board(disconnect={"times": 1, "connections": 4}), (), conditions).on_time(0, clients)
    assert sum(len(client.heard) for client in clients) == 4


def test_a_stall_ends_by_itself(make_board, clients, conditions):
    spells = Spells(make_board(silent_stall={"times": 1, "ms_min": 300, "ms_max": 300}), (), conditions)
    for turn in range(4):
        spells.on_time(turn * QUARTER_NS, clients)
    assert [client.heard for client in clients] == [["silent", "speaks"]] * 3


def test_a_stall_without_time_ends_when_cleared_and_forgets_who_went(make_board, clients, conditions):
    spells = Spells(make_board(silent_stall={"times": 1, "ms_min": 0, "ms_max": 0}), (), conditions)
    spells.on_time(0, clients)
    spells.on_time(1000 * SECOND_NS, clients[:2])
    assert clients[2].heard == ["silent", "speaks"]
    assert clients[0].heard == ["silent"]
    spells.end("silent_stall")
    assert clients[0].heard == clients[1].heard == ["silent", "speaks"]
    spells.on_time(2000 * SECOND_NS, clients)
    assert clients[0].heard == ["silent", "speaks"]


def test_a_shutdown_is_announced_then_comes_for_those_alone(make_board, clients, make_client, conditions):
    spells = Spells(make_board(shutdown_notice={"times": 1, "ms_min": 400, "ms_max": 400}), (), conditions)
    spells.on_time(0, clients)
    later = [*clients, make_client("d")]
    spells.on_time(QUARTER_NS, later)
    assert [client.heard for client in later] == [["warned"]] * 3 + [[]]
    spells.on_time(2 * QUARTER_NS, later)
    assert [client.heard[1:] for client in later] == [["fault: shutdown_notice clean"]] * 3 + [[]]
    spells.on_time(3 * QUARTER_NS, later)
    assert len(clients[0].heard) == 2


def test_a_cleared_shutdown_does_not_come(make_board, clients, conditions):
    spells = Spells(make_board(shutdown_notice={"times": 1, "ms_min": 400, "ms_max": 400}), (), conditions)
    spells.on_time(0, clients)
    spells.end("shutdown_notice")
    spells.on_time(5 * SECOND_NS, clients)
    assert clients[0].heard == ["warned"]


def test_updates_get_lost(make_board, conditions):
    markets = [Market() for _ in range(10)]
    Spells(make_board(sequence_gap={"times": 1}), markets, conditions).on_time(0, ())
    assert [market.lost for market in markets] == [1] * 10
    Spells(make_board(sequence_gap={"times": 1, "markets": 3}), markets, conditions).on_time(0, ())
    assert sum(market.lost for market in markets) == 13


def test_maintenance_closes_for_a_time(make_board, clients, conditions):
    spells = Spells(make_board(maintenance={"times": 1, "ms_min": 500, "ms_max": 500}), (), conditions)
    assert not spells.is_closed(0)
    spells.on_time(0, clients)
    assert [client.heard for client in clients] == [["fault: maintenance clean"]] * 3
    assert [spells.is_closed(at) for at in (0, SECOND_NS // 2 - 1, SECOND_NS // 2)] == [True, True, False]


def test_maintenance_without_time_lasts_until_cleared(make_board, conditions):
    spells = Spells(make_board(maintenance={"times": 1, "ms_min": 0, "ms_max": 0}), (), conditions)
    spells.on_time(0, ())
    assert spells.is_closed(FOREVER_NS - 1)
    spells.end("maintenance")
    assert not spells.is_closed(0)


def test_the_clock_goes_wrong_for_a_time(make_board, conditions):
    machine = ManualClock()
    spells = Spells(
        make_board(clock_skew={"times": 1, "skew_ms": -7, "ms_min": 500, "ms_max": 500}), (), conditions
    )
    clock = SkewedClock(machine, spells)
    assert clock.wall_ms() == machine.wall_ms()
    spells.on_time(machine.monotonic_ns(), ())
    assert (clock.wall_ms(), clock.monotonic_ns()) == (machine.wall_ms() - 7, machine.monotonic_ns())
    machine.advance_ms(500)
    spells.on_time(machine.monotonic_ns(), ())
    assert clock.wall_ms() == machine.wall_ms()
    assert spells.skew_ms == 0


def test_a_skew_is_cleared(make_board, conditions):
    spells = Spells(make_board(clock_skew={"times": 1}), (), conditions)
    spells.on_time(0, ())
    assert spells.skew_ms == 10_000
    spells.end("clock_skew")
    assert spells.skew_ms == 0

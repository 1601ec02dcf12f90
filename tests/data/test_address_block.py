"""A venue that refuses this address is called by nobody, whoever was told so."""

import pytest

from arbshard.clock import ManualClock
from arbshard.data.address_block import AddressBlock
from arbshard.errors import VenueUnavailable
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import rate_windows

BANNED = Answer(418, b"", {"retry-after": "60"})


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def budgets(tmp_path):
    with (
        Budget.open(tmp_path, "supervisor", rate_windows()) as first,
        Budget.open(tmp_path, "worker-0", rate_windows()) as second,
    ):
        yield first, second


class Venue:
    def __init__(self):
        self.answer = Answer(200, b"{}")
        self.asked = []

    async def fetch(self, address):
        self.asked.append(address)
        return self.answer


async def test_nothing_is_sent_until_it_is_over(clock):
    venue, block = Venue(), AddressBlock("binance", clock)
    fetch = block.heeded_by(venue.fetch)
    assert (await fetch("https://b/1")).status == 200
    venue.answer = BANNED
    assert await fetch("https://b/2") is BANNED
    assert block.calls_left_s() == block.connects_left_s() == 60
    clock.advance_ms(59_000)
    with pytest.raises(VenueUnavailable, match="binance refuses calls from this address for 1 s more"):
        await fetch("https://b/3")
    assert venue.asked == ["https://b/1", "https://b/2"]
    clock.advance_ms(1000)
    venue.answer = Answer(200, b"{}")
    assert (await fetch("https://b/4")).status == 200
    assert block.calls_left_s() == block.connects_left_s() == 0


@pytest.mark.parametrize("is_handshake", [False, True])
def test_too_many_of_one_kind_do_not_keep_the_other_from_the_venue(clock, budgets, is_handshake):
    """An order must not wait because too many connections were tried, nor a stream because of too many calls."""
    mine, theirs = (AddressBlock("binance", clock, budget) for budget in budgets)
    assert mine.learn(Answer(429, b"", {"retry-after": "300"}), is_handshake=is_handshake) == 300
    for block in (mine, theirs):
        assert block.calls_left_s() == (0 if is_handshake else 300)
        assert block.connects_left_s() == (300 if is_handshake else 0)
    assert budgets[1].spend({"binance_weight": 1}, 1.0, clock.monotonic_ns()) is is_handshake


def test_a_shorter_refusal_does_not_end_a_longer_one(clock):
    block = AddressBlock("binance", clock)
    assert block.learn(BANNED) == 60
    assert block.learn(Answer(429, b"")) == 1
    assert block.calls_left_s() == block.connects_left_s() == 60


@pytest.mark.parametrize("status", [200, 302, 401, 403, 451, 503])
def test_other_answers_do_not_concern_the_address(clock, status):
    block = AddressBlock("binance", clock)
    assert block.learn(Answer(status, b"", {"retry-after": "60"})) == 0
    assert block.calls_left_s() == block.connects_left_s() == 0


def test_another_process_knows_it_and_another_venue_is_called(clock, budgets):
    mine, theirs = (AddressBlock("binance", clock, budget) for budget in budgets)
    mine.learn(BANNED)
    assert theirs.calls_left_s() == theirs.connects_left_s() == 60
    assert not budgets[1].spend({"binance_connects": 1}, 1.0, clock.monotonic_ns())
    other = AddressBlock("upbit", clock, budgets[1])
    assert other.calls_left_s() == other.connects_left_s() == 0


def test_without_a_header_the_text_says_how_long(clock):
    block = AddressBlock("upbit", clock)
    text = b'{"error":{"name":"too_many_requests","message":"Blocked for 37 s, until 2026-11-29T10:00:00+09:00."}}'
    assert block.learn(Answer(418, text)) == 37

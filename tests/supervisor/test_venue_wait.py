"""A service asks the venues again until they answer, and not while one of them bans the address. On virtual time."""

import asyncio

import pytest

from arbshard.data.address_block import CallRefused
from arbshard.errors import ArbshardError, FrameError, RunStopped, UsageError, VenueUnavailable
from arbshard.venues.base.client import Answer
from supervisor.venue_wait import find_once_reachable
from support import virtual_time as v

GONE = VenueUnavailable("nobody answers")


def banned(seconds):
    return CallRefused("banned", "binance", Answer(418, b"", {"retry-after": str(seconds)}))


def run(answers, *, stop_after_s=None, limit_s=None):
    """Return what came of it, when the venues were asked, and what was said of each pause."""
    asked_s, said = [], []

    async def work():
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        if stop_after_s is not None:
            loop.call_later(stop_after_s, stop.set)

        async def find():
            asked_s.append(loop.time())
            answer = answers[min(len(asked_s), len(answers)) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await find_once_reachable(
            find, stop, lambda why, pause_s: said.append((why, pause_s)), limit_s
        )

    try:
        found = v.run(work())
    except ArbshardError as error:
        found = error
    return found, [at_s - asked_s[0] for at_s in asked_s], said


def test_venues_that_answer_are_asked_once():
    assert run(["universe"]) == ("universe", [0.0], [])


def test_pauses_grow_up_to_a_minute():
    unreadable = FrameError("not JSON", "<html>maintenance</html>")
    found, asked_s, said = run([GONE] * 7 + [unreadable, "universe"])
    assert found == "universe"
    assert asked_s == pytest.approx([0, 2, 6, 14, 30, 62, 122, 182, 242])
    assert said[:-1] == [("nobody answers", pause_s) for pause_s in (2, 4, 8, 16, 32, 60, 60)]
    assert said[-1] == (str(unreadable), 60)


def test_no_question_makes_a_ban_longer():
    found, asked_s, _ = run([GONE, banned(7200), GONE, banned(1), "universe"])
    assert found == "universe"
    assert asked_s == pytest.approx([0, 2, 7202, 7210, 7226])


def test_it_asks_for_as_long_as_that_takes():
    _, asked_s, said = run([GONE], stop_after_s=24 * 3600.0)
    assert len(asked_s) == len(said) == 1444


def test_a_limit_ends_the_wait_with_the_last_reason():
    found, asked_s, said = run([GONE], limit_s=20.0)
    assert found is GONE
    assert asked_s == pytest.approx([0, 2, 6, 14])
    assert [pause_s for _, pause_s in said] == pytest.approx([2, 4, 8, 6])


def test_a_ban_beyond_the_limit_is_not_asked_about_again():
    ban = banned(7200)
    found, asked_s, said = run([ban, "universe"], limit_s=20.0)
    assert found is ban
    assert asked_s == [0.0]
    assert [pause_s for _, pause_s in said] == pytest.approx([20])


@pytest.mark.parametrize("pause", [GONE, banned(7200)])
def test_a_stop_ends_the_wait_at_once(pause):
    found, asked_s, _ = run([pause], stop_after_s=1.0)
    assert isinstance(found, RunStopped)
    assert str(found) == "the run was stopped while it waited for the venues"
    assert asked_s == [0.0]


def test_what_a_person_must_change_is_not_waited_for():
    found, asked_s, _ = run([GONE, UsageError("no such pair")])
    assert str(found) == "no such pair"
    assert asked_s == pytest.approx([0, 2])

"""A live run that is not fit does not start; a dry one says so and goes on."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.data.address_block import AddressBlock, CallRefused
from arbshard.doctor.checks import Check
from arbshard.errors import ArbshardError, UsageError, VenueUnavailable
from arbshard.shm.budget import Budget, Window
from arbshard.venues.base.client import Answer
from supervisor import preflight
from supervisor.preflight import run_in_thread

CHECKS = (
    Check("upbit", "key", "ok", "accepted"),
    Check("upbit", "clock", "warning", "300 ms", "NTP"),
    Check("binance", "fees", "fail", "buy 12", "set 12"),
)


@pytest.fixture
def found(monkeypatch):
    """The verdicts, in place of asking venues."""

    async def gather(config, universe, keys):
        return keys

    def set_checks(checks):
        monkeypatch.setattr("arbshard.doctor.checks.examine", lambda config, facts: checks)

    monkeypatch.setattr("arbshard.doctor.probing.gather_facts", gather)
    return set_checks


def config(*, dry_run):
    return replace(Config(), mode="live", live=replace(Config().live, dry_run=dry_run))


async def test_a_failed_check_stops_the_start(found):
    found(CHECKS)
    with pytest.raises(UsageError, match=r"binance fees: buy 12 \(set 12\)"):
        await preflight.run_preflight(config(dry_run=False), None, {}, pytest.fail)


@pytest.mark.parametrize(
    ("passing", "error"),
    [((True, True), VenueUnavailable), ((True, False), UsageError), ((False,), UsageError)],
)
async def test_what_only_cannot_be_answered_now_is_not_for_a_person(found, passing, error):
    found([Check("upbit", f"check {n}", "fail", "HTTP 503", may_pass=one) for n, one in enumerate(passing)])
    with pytest.raises(
        ArbshardError, match="not fit to trade, see 'arbshard doctor': upbit check 0: HTTP 503"
    ) as caught:
        await preflight.run_preflight(config(dry_run=False), None, {}, pytest.fail)
    assert type(caught.value) is error


async def test_a_dry_run_only_says_so(found):
    found(CHECKS)
    said = []
    await preflight.run_preflight(config(dry_run=True), None, {}, said.append)
    assert said == ["doctor: binance fees: buy 12 (set 12)"]


async def test_warnings_stop_nothing(found):
    found(CHECKS[:2])
    await preflight.run_preflight(config(dry_run=False), None, {}, pytest.fail)


class TestRefusedAddress:
    """No venue is asked what it lists while one of them refuses calls, whichever process has learned of it."""

    @pytest.fixture
    def world(self, clock, tmp_path):
        windows = (Window("upbit", "upbit", 10, 10**9), Window("binance", "binance", 10, 10**9))
        other = Budget.open(tmp_path, "worker-0", windows)
        budget = Budget.open(tmp_path, "supervisor", windows)
        blocks = {name: AddressBlock(name, clock, budget) for name in ("upbit", "binance")}
        world = SimpleNamespace(blocks=blocks, other=other, asked=[], answer=None)

        async def find(config, names, timeout_s, alert):
            world.asked.append(names)
            if world.answer is not None:
                raise CallRefused("binance does not answer", "binance", world.answer)
            return "universe"

        async def read(config, symbols, timeout_s):
            world.asked.append(symbols)
            if world.answer is not None:
                raise CallRefused("binance does not answer", "binance", world.answer)
            return "listings"

        asked = preflight.HeedingQuestions(blocks, find, read)
        world.find = lambda: asked.find_universe(Config(), ("XRP",), 1.0, pytest.fail)
        world.read = lambda: asked.read_listings(Config(), {"upbit": ()}, 1.0)
        yield world
        budget.close()
        other.close()

    async def test_both_are_asked_while_neither_refuses(self, world):
        assert (await world.find(), await world.read()) == ("universe", "listings")
        assert world.asked == [("XRP",), {"upbit": ()}]

    @pytest.mark.parametrize("question", ["find", "read"])
    async def test_none_is_asked_until_the_time_is_over(self, world, clock, question):
        world.other.block("binance", clock.monotonic_ns() + 90 * 10**9)
        with pytest.raises(VenueUnavailable, match="binance refuses calls from this address for 90 s more"):
            await getattr(world, question)()
        assert world.asked == []
        clock.advance_ms(90_000)
        await getattr(world, question)()
        assert len(world.asked) == 1

    @pytest.mark.parametrize("question", ["find", "read"])
    async def test_all_processes_learn_of_a_refusal(self, world, clock, question):
        world.answer = Answer(418, b"", {"retry-after": "600"})
        with pytest.raises(CallRefused):
            await getattr(world, question)()
        until_ns = clock.monotonic_ns() + 600 * 10**9
        assert world.other.blocked_until_ns("binance", clock.monotonic_ns()) == until_ns
        assert world.other.connects_blocked_until_ns("binance", clock.monotonic_ns()) == until_ns
        assert world.other.blocked_until_ns("upbit", clock.monotonic_ns()) == 0


async def test_the_loop_goes_on():
    turns = 0

    async def work():
        time.sleep(0.2)
        return threading.get_ident()

    task = asyncio.create_task(run_in_thread(work, 10.0))
    while not task.done():
        turns += 1
        await asyncio.sleep(0.005)
    assert await task != threading.get_ident()
    assert turns > 3


async def test_what_it_raises_is_raised():
    async def work():
        raise VenueUnavailable("no answer")

    with pytest.raises(VenueUnavailable, match="no answer"):
        await run_in_thread(work, 10.0)


async def test_it_has_a_time_out():
    async def work():
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await run_in_thread(work, 0.05)


async def test_the_start_and_a_search_ask_in_a_thread_and_alert_in_the_loop(monkeypatch, found):
    asked, alerts = [], []

    async def find_universe(config, names, shards):
        asked.append((names, shards, threading.get_ident() != loop_thread))
        return "universe"

    loop_thread = threading.get_ident()
    monkeypatch.setattr(preflight, "find_universe", find_universe)
    found(CHECKS)
    find = preflight.finder({})
    universe = await find(
        config(dry_run=True), ("XRP",), 10.0, lambda line: alerts.append((line, threading.get_ident()))
    )
    await asyncio.sleep(0)
    assert universe == "universe"
    assert asked == [(("XRP",), 4, True)]
    assert alerts == [("doctor: binance fees: buy 12 (set 12)", loop_thread)]


async def test_venues_that_do_not_answer_in_time_are_unavailable(monkeypatch):
    async def find_universe(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr(preflight, "find_universe", find_universe)
    with pytest.raises(VenueUnavailable, match=r"the venues did not answer within 0\.05 s"):
        await preflight.finder({})(Config(), (), 0.05, pytest.fail)

"""Delivery: order, pauses, the second target, a limit on the rate, and addresses that are never shown."""

import asyncio
import itertools
import logging
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.alerts import sending
from arbshard.alerts.book import Change
from arbshard.alerts.sending import (
    Allowance,
    Heartbeat,
    Outlet,
    apprise_sender,
    check_alerts,
    fetch,
    read_secret,
    without_address,
)
from arbshard.alerts.store import AlertStore, Message
from arbshard.config import AlertsConfig, TelegramConfig
from arbshard.errors import ConfigError, UsageError
from arbshard.secret import Secret
from support.receiver import Receiver

SECOND = 1_000_000_000
imports_old_modules = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""A module of the standard library that a library of apprise's services imports."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.s = 1000.0

    def monotonic_ns(self):
        return int(self.s * SECOND)

    def wall_ms(self):
        return int(self.s * 1000)


class Target:
    """Gets messages, or fails."""

    def __init__(self):
        self.got = []
        self.trouble = ""

    def __call__(self, title, body, severity):
        if not self.trouble:
            self.got.append((title, body, severity))
        return self.trouble


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    with AlertStore(None, ["first", "second"]) as store:
        yield store


def post(store, *titles, at_ms=1_000_000):
    for title in titles:
        change = Change("event", "event", title, "warning", title, "alerts", at_ms, True)
        store.apply([(change, Message(f"arbshard t: {title}", title, "warning", at_ms))], {})


def outlet(store, clock, target, name="first", per_min=20):
    return Outlet(name, target, lambda: store, clock, per_min=per_min, fail_over_after=3)


async def test_messages_arrive_in_their_order_each_once(store, clock):
    post(store, "a", "b", "c")
    target = Target()
    one = outlet(store, clock, target)
    assert [await one.send_due() for _ in range(4)] == [True, True, True, False]
    assert [title for title, _, _ in target.got] == ["arbshard t: a", "arbshard t: b", "arbshard t: c"]
    assert one.delivered == 3


async def test_a_target_that_fails_is_tried_with_growing_pauses(store, clock):
    post(store, "a")
    target = Target()
    target.trouble = "it is down"
    one = outlet(store, clock, target)
    tried_at = []
    for _ in range(1000):
        before = one.failures
        await one.send_due()
        if one.failures > before:
            tried_at.append(clock.s)
        clock.s += 1
    pauses = [after - before for before, after in itertools.pairwise(tried_at)]
    assert pauses[:6] == [5, 10, 20, 40, 80, 160]
    assert one.trouble == "it is down"
    target.trouble = ""
    clock.s += 600
    assert await one.send_due()
    assert one.trouble == ""
    assert "late: it could not be delivered before" in target.got[0][1]


async def test_after_some_failures_the_second_target_gets_it_too(store, clock):
    post(store, "a", "b")
    first, second = Target(), Target()
    first.trouble = "it is down"
    one, other = outlet(store, clock, first), outlet(store, clock, second, "second")
    for _ in range(12):
        await one.send_due()
        await other.send_due()
        clock.s += 1
    assert (one.failures, second.got) == (2, [])
    for _ in range(10):
        await one.send_due()
        await other.send_due()
        clock.s += 1
    assert [title for title, _, _ in second.got] == ["arbshard t: a", "arbshard t: b"]
    post(store, "c")
    for _ in range(60):
        await one.send_due()
        await other.send_due()
        clock.s += 1
    assert len(second.got) == 3
    assert store.outbox() == 0


async def test_what_is_beyond_the_rate_goes_out_as_one_message_and_nothing_is_lost(store, clock):
    names = [f"n{number:03}" for number in range(300)]
    post(store, *names)
    target = Target()
    one = outlet(store, clock, target, per_min=5)
    for _ in range(600):
        while await one.send_due():
            pass
        clock.s += 1
    texts = "\n".join(f"{title}\n{body}" for title, body, _ in target.got)
    assert all(texts.count(f"arbshard t: {name}\n") == 1 for name in names)
    assert len(target.got) <= 5 + 5 * 10
    assert all(len(body) < 3200 for _, body, _ in target.got)
    assert store.outbox() == 0


async def test_what_was_delivered_and_could_not_be_noted_is_not_sent_again(store, clock, monkeypatch):
    post(store, "a", "b")
    target = Target()
    one = outlet(store, clock, target)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "mark_delivered", full)
        for _ in range(3):
            assert not await one.send_due(at_once=True)
        assert "disk is full" in one.trouble
        assert one.unmarked_in(store) == {store.due("first", 1)[0].id}
        memory = AlertStore(None, ["first", "second"])
        memory.take_over(store, one.unmarked_in(store))
        assert [message.body for message in memory.due("first", 9)] == ["b"]
        memory.close()
    clock.s += 60
    while await one.send_due():
        pass
    assert [title for title, _, _ in target.got] == ["arbshard t: a", "arbshard t: b"]


async def test_a_target_that_never_answers_gets_nothing_more(store, clock, monkeypatch):
    post(store, "a")
    monkeypatch.setattr(sending, "_ANSWER_S", 0.05)
    release, calls = threading.Event(), []

    def hang(title, _body, _severity):
        calls.append(title)
        release.wait(10)
        return ""

    one = outlet(store, clock, hang)
    assert not await one.send_due()
    assert "no answer" in one.trouble
    clock.s += 1000
    assert not await one.send_due()
    assert len(calls) == 1
    release.set()
    await asyncio.wait({one._under_way})
    assert await one.send_due()
    # It was accepted after all, so it is not sent again.
    assert (len(calls), one.delivered, store.outbox()) == (1, 1, 0)


async def test_the_second_target_gets_what_is_due_behind_a_delivery_that_never_ends(
    store, clock, monkeypatch
):
    post(store, "a")
    monkeypatch.setattr(sending, "_ANSWER_S", 0.05)
    release, second = threading.Event(), Target()
    one = outlet(store, clock, lambda *_: "it failed at last" if release.wait(10) else "it hangs")
    other = outlet(store, clock, second, "second")
    for _ in range(20):
        await one.send_due()
        await other.send_due()
        clock.s += 1
    assert [title for title, _, _ in second.got] == ["arbshard t: a"]
    assert one.failures == 3
    assert "has not ended" in one.trouble
    release.set()
    await asyncio.wait({one._under_way})


async def test_what_comes_while_a_target_fails_goes_to_the_second_without_a_pause(store, clock):
    post(store, "a")
    first, second = Target(), Target()
    first.trouble = "it is down"
    one, other = outlet(store, clock, first), outlet(store, clock, second, "second")
    for _ in range(700):
        await one.send_due()
        await other.send_due()
        clock.s += 1
    failures = one.failures
    post(store, "b")
    await one.send_due()
    await other.send_due()
    assert one.failures == failures
    assert [title for title, _, _ in second.got] == ["arbshard t: a", "arbshard t: b"]


def test_allowance_refills_with_time():
    allowance = Allowance(6, 0)
    for _ in range(6):
        assert allowance.count(0)
        allowance.use()
    assert not allowance.count(9 * SECOND)
    assert allowance.count(11 * SECOND) == 1
    assert allowance.count(3600 * SECOND) == 6


# addresses and tokens

ADDRESS = Secret("tgram://123456789:AAE-bottoken_XYZ/987654321?format=text&key=qu%41rk")


@pytest.mark.parametrize("part", ["AAE-bottoken_XYZ", "987654321", "quArk", "qu%41rk", "123456789"])
def test_no_part_of_an_address_is_shown(part):
    assert part not in without_address(f"cannot send to https://host/{part}/x: {part}", ADDRESS)


@given(st.text("abcdefgh0123456789_-", min_size=4, max_size=30), st.text("abc :/", max_size=20))
def test_a_token_is_hidden_wherever_it_stands(token, around):
    assert token not in without_address(
        f"{around}{token}{around}", Secret(f"json://user:{token}@host/{token}")
    )


class TestReadSecret:
    """From the environment, or from a file of which nobody else can read anything."""

    def test_environment(self):
        found = read_secret("env:URL", "alerts.targets.a", {"URL": "json://x"}.get)
        assert found.matches("json://x")

    @pytest.mark.parametrize("values", [{}, {"URL": ""}, {"URL": "  "}])
    def test_a_variable_that_is_not_set(self, values):
        with pytest.raises(ConfigError, match=r"alerts\.targets\.a: the environment variable URL is not set"):
            read_secret("env:URL", "alerts.targets.a", values.get)

    def test_a_file_of_its_owner_alone(self, tmp_path):
        file = tmp_path / "url"
        file.write_text("json://secret-host\n")
        file.chmod(0o600)
        assert read_secret(f"file:{file}", "x").matches("json://secret-host")
        file.chmod(0o640)
        with pytest.raises(ConfigError, match=r"open to others \(mode 640\): chmod 600") as caught:
            read_secret(f"file:{file}", "x")
        assert "secret-host" not in str(caught.value)
        with pytest.raises(ConfigError, match="cannot be read"):
            read_secret(f"file:{tmp_path / 'none'}", "x")
        file.write_text(" ")
        file.chmod(0o600)
        with pytest.raises(ConfigError, match="is empty"):
            read_secret(f"file:{file}", "x")


@pytest.mark.needs("alerts", "telegram")
def test_what_a_run_needs_is_checked_before_it_starts():
    nothing = {}.get
    check_alerts(AlertsConfig(), nothing)
    for settings, problem in (
        (AlertsConfig(targets={"phone": "env:URL"}), "alerts.targets.phone"),
        (AlertsConfig(heartbeat="env:URL"), "alerts.heartbeat"),
        (AlertsConfig(telegram=TelegramConfig(token="env:URL")), "alerts.telegram.token"),
    ):
        with pytest.raises(UsageError, match=problem):
            check_alerts(settings, nothing)
    with pytest.raises(UsageError, match=r"alerts\.telegram\.chats"):
        check_alerts(AlertsConfig(telegram=TelegramConfig(token="env:URL")), {"URL": "1:a"}.get)


# with apprise and HTTP


@imports_old_modules
@pytest.mark.needs("alerts")
def test_apprise_delivers_title_body_and_severity():
    with Receiver() as receiver:
        assert (
            apprise_sender(Secret(f"json://127.0.0.1:{receiver.port}/hook-token"))(
                "A title", "the body", "critical"
            )
            == ""
        )
    (message,) = receiver.got
    assert (message["title"], message["message"], message["type"]) == ("A title", "the body", "failure")


@imports_old_modules
@pytest.mark.needs("alerts")
def test_apprise_sends_in_the_thread_that_asks():
    """A pool of threads would keep a process from ending at Ctrl-C."""
    senders = set()
    with Receiver() as receiver:
        send = apprise_sender(Secret(f"json://127.0.0.1:{receiver.port}/x"))
        threading.setprofile(lambda *_: senders.add(threading.current_thread().name))
        try:
            assert send("t", "b", "info") == ""
        finally:
            threading.setprofile(None)
    assert not {name for name in senders if "ThreadPool" in name}


@imports_old_modules
@pytest.mark.needs("alerts")
def test_a_failure_has_a_reason_without_the_address_and_nothing_is_logged(caplog):
    with caplog.at_level(logging.DEBUG), Receiver(500) as receiver:
        trouble = apprise_sender(Secret(f"json://127.0.0.1:{receiver.port}/hook-token"))("t", "b", "info")
    assert "500" in trouble
    gone = apprise_sender(Secret(f"json://127.0.0.1:{receiver.port}/hook-token"))("t", "b", "info")
    assert gone
    unknown = apprise_sender(Secret("nonsense-token"))("t", "b", "info")
    assert unknown == "the address is of no service that apprise knows"
    for text in (trouble, gone, unknown, caplog.text):
        assert "hook-token" not in text
        assert "nonsense-token" not in text


@imports_old_modules
@pytest.mark.needs("alerts")
def test_a_service_that_takes_html_gets_the_text_escaped():
    with Receiver() as receiver:
        send = apprise_sender(Secret(f"json://127.0.0.1:{receiver.port}/x?format=html"))
        assert send("t", "edge < 5 & <b>bold</b>", "info") == ""
    assert "&lt;b&gt;bold&lt;/b&gt;" in receiver.got[0]["message"]


async def test_the_heartbeat_is_fetched_while_the_run_is_well():
    is_well = False
    with Receiver() as receiver:
        beat = Heartbeat(Secret(f"http://127.0.0.1:{receiver.port}/beat"), 0.01, lambda: is_well)
        task = asyncio.create_task(beat.run())
        await asyncio.sleep(0.1)
        assert receiver.fetched == []
        is_well = True
        async with asyncio.timeout(10):
            while not receiver.fetched:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert receiver.fetched[0] == "/beat"
    assert not await fetch(Secret(f"http://127.0.0.1:{receiver.port}/beat"))
    assert not await fetch(Secret("nonsense"))
    with Receiver(503) as receiver:
        assert not await fetch(Secret(f"http://127.0.0.1:{receiver.port}/"))

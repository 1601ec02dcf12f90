"""The file of the alerts: what is kept, what waits in the outbox, and what survives."""

import contextlib
import sqlite3

import pytest

from arbshard.alerts.book import Change
from arbshard.alerts.store import _OUTBOX_MAX, FILE, AlertsFileError, AlertsReader, AlertStore, Message

DAY_MS = 86_400_000


def change(step="begins", subject="upbit", at_ms=1000, *, kind="feed", is_sent=True, lasted_s=0.0):
    return Change(step, kind, subject, "critical", "it is down", "status", at_ms, is_sent, lasted_s)


def message(title="t", at_ms=1000):
    return Message(title, "body", "critical", at_ms)


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE


@pytest.fixture
def store(path):
    with AlertStore(path, ["first", "second"]) as store:
        yield store


def titles(store, target="first"):
    return [one.title for one in store.due(target, 1000)]


def test_an_alert_and_its_messages_are_kept_over_a_kill(path, store):
    store.apply([(change(), message("begins"))], {"day": "1"})
    store.apply([(change("repeats"), message("repeats"))], {})
    again = AlertStore(path, ["first", "second"])  # the first one was never closed
    assert titles(again) == ["begins", "repeats"]
    (found,) = again.open_alerts()
    assert (found.condition.key, found.is_announced, found.repeats) == (("feed", "upbit"), True, 1)
    assert again.fact("day") == "1"
    again.apply([(change("over", lasted_s=40.0), message("over"))], {})
    again.close()
    with AlertsReader(path) as reader:
        (record,) = reader.records(10)
    assert (record.began_ms, record.over_ms, record.is_sent) == (1000, 41_000, True)


def test_the_file_is_its_owners_alone(path, store):
    store.apply([(change(), message())], {})
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}


def test_what_is_not_sent_has_no_message(store):
    store.apply([(change(is_sent=False), message())], {})
    assert titles(store) == []
    assert [one.is_announced for one in store.open_alerts()] == [False]
    store.apply([(change("announced"), message("now"))], {})
    assert titles(store) == ["now"]
    assert [one.is_announced for one in store.open_alerts()] == [True]


def test_an_event_is_over_at_once(store):
    store.apply([(change("event", kind="event"), message())], {})
    assert list(store.open_alerts()) == []
    assert store.kinds_since(0) == {}
    store.apply([(change(), message())], {})
    assert store.kinds_since(0) == {"feed": 1}


def test_delivered_is_delivered(store):
    store.apply([(change(), message("a")), (change(subject="binance"), message("b"))], {})
    first, second = store.due("first", 10)
    store.mark_delivered("first", [first.id], 5)
    assert titles(store) == ["b"]
    assert store.outbox() == 1
    store.mark_delivered("first", [second.id], 5)
    assert store.outbox() == 0


def test_the_second_target_gets_what_the_first_has_not(store):
    store.apply([(change(), message("a")), (change(subject="binance"), message("b"))], {})
    store.mark_delivered("first", [store.due("first", 1)[0].id], 5)
    assert store.hand_on("first")
    assert titles(store, "second") == ["b"]
    assert not store.hand_on("first")
    assert not store.hand_on("second")
    store.mark_delivered("second", [one.id for one in store.due("second", 9)], 5)
    assert store.outbox() == 0  # somebody has it
    assert titles(store) == ["b"]  # and the first target is tried further on


def test_targets_that_are_gone_leave_theirs_to_the_first(path):
    with AlertStore(path, ["old"]) as store:
        store.apply([(change(), message("a"))], {})
    with AlertStore(path, ["new", "other"]) as store:
        assert titles(store, "new") == ["a"]
        assert titles(store, "other") == []


def test_a_store_in_memory_takes_over_what_waits(store):
    store.apply([(change(), message("a"))], {"events": "1 2"})
    memory = AlertStore(None, ["first", "second"])
    taken = memory.take_over(store)
    assert titles(memory) == ["a"]
    assert memory.fact("events") == "1 2"
    store.mark_delivered("first", taken, 5)
    assert store.outbox() == 0
    memory.close()


def test_all_or_nothing(store):
    bad = message()._replace(title=object())
    with pytest.raises(sqlite3.Error):
        store.apply([(change(), message()), (change(subject="binance"), bad)], {"day": "1"})
    assert list(store.open_alerts()) == []
    assert store.outbox() == 0
    assert store.fact("day") == ""


class TestBounds:
    """Old alerts go; what holds, and what is not delivered, stays."""

    def test_by_age(self, store):
        store.apply([(change(subject=name), message(name)) for name in ("held", "ended", "waiting")], {})
        store.apply([(change("over", "ended", 2000, is_sent=False), message())], {})
        store.mark_delivered("first", [one.id for one in store.due("first", 9) if one.title != "waiting"], 5)
        store.prune(100 * DAY_MS, 90, 1000)
        assert [one.condition.subject for one in store.open_alerts()] == ["held", "waiting"]
        assert titles(store) == ["waiting"]
        assert store.given_up == 0

    def test_by_rows(self, path, store):
        for number in range(30):
            store.apply([(change("event", str(number), kind="event", is_sent=False), message())], {})
        store.prune(2000, 90, 10)
        with AlertsReader(path) as reader:
            assert [one.subject for one in reader.records(100)][-1] == "20"

    def test_what_can_never_be_delivered_is_bounded_and_counted(self, store):
        numbers = map(str, range(_OUTBOX_MAX + 7))
        store.apply([(change("event", one, kind="event"), message(one)) for one in numbers], {})
        store.prune(2000, 90, 1000)
        assert store.given_up == 7
        assert titles(store)[0] == "7"
        assert store.outbox() == _OUTBOX_MAX


@pytest.mark.parametrize("damage", ["text", "version"])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(path, damage):
    if damage == "text":
        path.write_text("this is no database, whatever its name says")
    else:
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA user_version = 99")
    for use in (AlertStore, AlertsReader):
        with pytest.raises(AlertsFileError, match=r"alerts\.sqlite .*"):
            use(path)

"""``arbshard tap`` beside a real run: what it shows, when it ends, and what it refuses."""

import json
import signal

import pytest

from arbshard.wire import topics
from arbshard.wire.tap import Tap
from support.instance import SMALL, Instance, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("run"), SMALL)


def lines_of(ended):
    return [json.loads(line) for line in ended.out.splitlines()]


def test_books_venues_control_and_alerts_are_shown_while_things_happen(instance):
    process = instance.launch("tap", "--json", "--config", str(instance.config))
    shown = instance._program(process).out

    def seen(**fields):
        return lambda: any(
            one.items() >= fields.items() for one in map(json.loads, shown.read_text().splitlines(True)[:-1])
        )

    instance.wait_for(seen(kind="control", what="run", value="running"))
    instance.wait_for(seen(kind="control", what="pair", name="BTC"))
    instance.do("halt", "--reason", "lunch")
    instance.wait_for(seen(kind="control", what="halt", value="operator: lunch"))
    instance.do("resume", "--reason", "back")
    instance.wait_for(seen(kind="control", what="halt", value=""))
    instance.until_replaced("worker-0", instance.kill("worker-0"))
    instance.wait_for(lambda: "worker-0 ended with code -9" in shown.read_text())
    process.send_signal(signal.SIGINT)
    ended = instance.ended(process)
    assert ended.code == 0, ended
    found = lines_of(ended)
    assert {one["kind"] for one in found} == {"book", "venue", "control", "alert"}
    books = [one for one in found if one["kind"] == "book"]
    assert {one["venue"] for one in books} == {"upbit", "binance"}
    assert all(one["bid"] < one["ask"] and one["age_ms"] >= 0 for one in books)
    assert {one["venue"]["state"] for one in found if one["kind"] == "venue"} == {"connected"}
    assert " 0 missed, 0 unreadable: stopped" in ended.err


def test_symbols_and_venue_select_and_columns_are_for_people(instance):
    ended = instance.call("tap", "--symbols", "KRW-BTC,ETH", "--venue", "binance", "--kinds", "books",
                          "--every", "0.2", "--duration", "2")  # fmt: skip
    assert ended.code == 0, ended
    heading, *lines = ended.out.splitlines()
    time, _zone, kind, what = heading.split()[:4]
    assert (time, kind, what) == ("time", "kind", "what")
    assert len(lines) >= 4
    assert {tuple(line.split()[1:4]) for line in lines} == {
        ("book", "binance", "BTCUSDT"), ("book", "binance", "ETHUSDT"),
    }  # fmt: skip
    assert "the time is over" in ended.err


def test_what_it_cannot_show_is_one_line_and_exit_code_2(instance):
    cases = {
        ("--symbols", "NOPE"): "arbshard: --symbols NOPE: this instance has no such pair; it has ",
        ("--venue", "kraken"): "arbshard: --venue kraken: this instance has binance, upbit",
        ("--kinds", "trades"): "arbshard: --kinds trades: one or more of books,venues,control,alerts,beats",
    }
    for arguments, said in cases.items():
        err = instance.do("tap", *arguments, code=2)
        assert err.startswith(said)
        assert err.count("\n") == 1


def test_without_an_instance_it_is_refused(tmp_path):
    with Instance(tmp_path) as instance:
        ended = instance.call("tap")
        assert ended == (2, "", "arbshard: no instance named 't' is running\n")


def test_it_ends_with_the_instance_and_the_bus_is_silent_without_it(instance):
    with Tap(instance.files.bus_endpoint, [topics.BEAT]) as beats:
        instance.wait_for(lambda: beats.read(0.1))
    process = instance.launch("tap", "--kinds", "books", "--config", str(instance.config))
    shown = instance._program(process).out
    instance.wait_for(lambda: len(shown.read_text().splitlines()) > 3)
    assert instance.stop().code in (0, 1)  # other tests may have killed a worker and halted the run
    ended = instance.ended(process)
    assert ended.code == 0, ended
    assert "the instance has ended" in ended.err

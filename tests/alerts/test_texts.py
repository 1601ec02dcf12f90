"""What people read: messages, digests, the listing, and what Telegram's commands answer."""

from datetime import UTC

import pytest
from msgspec.structs import replace

from arbshard.alerts.book import Change
from arbshard.alerts.store import AlertRecord, Message
from arbshard.alerts.texts import (
    alert_lines,
    combined,
    digest_of_day,
    digest_of_session,
    message_of,
    pnl_lines,
    position_lines,
    span,
    status_lines,
)
from arbshard.model.risk_note import DayNote, PositionNote
from arbshard.status.model import Problem
from support.made_status import made_cluster_status, made_status

AT_MS = 1_795_000_000_000
WHEN = "2026-11-18 11:06:40 UTC"


def change(step, **values):
    given = {
        "kind": "feed",
        "subject": "upbit",
        "severity": "critical",
        "text": "upbit is down",
        "command": "status",
    }
    return Change(step, **(given | values), at_ms=AT_MS, is_sent=True, lasted_s=40.0)


def test_a_message_says_what_since_when_and_what_to_do():
    found = message_of(change("begins"), "desk", UTC)
    assert found.title == "arbshard desk: feed upbit"
    assert found.body == f"upbit is down\n{WHEN}\n$ arbshard status --name desk"
    of_a_cluster = message_of(change("begins"), "desk", UTC, "a")
    assert of_a_cluster == found._replace(title="arbshard desk on host a: feed upbit")


def test_a_withdrawal_says_how_long_it_lasted_and_asks_for_nothing():
    found = message_of(change("over"), "desk", UTC)
    assert (found.title, found.severity) == ("arbshard desk: over: feed upbit", "info")
    assert found.body == f"It is over after 40 s. It was: upbit is down\n{WHEN}"


@pytest.mark.parametrize(
    ("step", "said"), [("repeats", "lasted for 40 s"), ("announced", "had been over shortly")]
)
def test_other_steps(step, said):
    assert said in message_of(change(step), "desk", UTC).body


def test_messages_that_are_combined_keep_every_title_and_the_worst_severity():
    messages = [Message(f"arbshard t: {one}", "body", "info", AT_MS, one) for one in range(3)]
    messages[1] = messages[1]._replace(severity="critical")
    count, found = combined(messages, 3000)
    assert (count, found.title, found.severity) == (3, "arbshard t: 3 messages", "critical")
    assert all(f"- arbshard t: {one}\nbody" in found.body for one in range(3))
    assert combined(messages, 30)[0] == 1
    assert combined(messages[:1], 3000) == (1, messages[0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (130, "2 min"), (7300, "2 h 1 min"), (200_000, "2 days 7 h")]
)
def test_span(seconds, text):
    assert span(seconds) == text


def test_digests_name_result_open_positions_halts_and_alerts():
    day = digest_of_day(DayNote("2026-11-27", exits=5, wins=4, losses=1, pnl="-1234", fees="99"), {"feed": 2})
    assert "2026-11-27: -1,234 by 5 exits (4 won, 1 lost)" in day
    assert "2 x feed" in day
    problems = (
        Problem("halt", "", "halted (x)"),
        Problem("feed", "upbit", "down"),
        Problem("fx", "", "FX in doubt"),
    )
    text = digest_of_session(replace(made_status(), halted="halted (x)", causes=problems), {})
    assert "101 entries, 102 exits (104 won), -106,106 KRW" in text
    assert text.count("halted (x)") == 1
    assert "Problem: FX in doubt" in text
    assert "down" not in text
    assert "There were no alerts." in text


def test_answers_hold_the_figures_of_the_status():
    position = PositionNote(
        "p1", "BTC", "buy_home", "1", "1", "1", "998500", AT_MS - 60_000, 0, None, None, unrealised="-2909"
    )
    status = replace(made_status(), positions=(position,))
    assert "! shard 1 is quarantined" in status_lines(status)
    assert "of cluster" not in status_lines(status)
    led = replace(status, cluster=made_cluster_status())
    assert "host a of cluster c: host b leads" in status_lines(led)
    alone = replace(status, cluster=made_cluster_status(leader=""))
    assert "host a of cluster c: no leader is known" in status_lines(alone)
    assert "Equity -201,201" in pnl_lines(status)
    assert position_lines(status, AT_MS) == "BTC buy_home, 998,500, 60 s, -2,909"
    assert position_lines(made_status(), AT_MS) == "There are no open positions."
    assert {status_lines(None), pnl_lines(None), position_lines(None, 0)} == {"The run shows nothing."}


def record(kind="feed", subject="upbit", over_ms=AT_MS + 40_000, text="it is\ndown"):
    return AlertRecord(kind, subject, "critical", text, "status", AT_MS, over_ms, True, 0)


def test_the_listing_groups_what_is_over_by_its_cause():
    records = [record("halt", "", None, "halted"), record(), record(), record(subject="binance")]
    lines = list(alert_lines(records, "desk", UTC, AT_MS + 60_000, every=False))
    assert lines == [
        "1 alert holds:",
        "  CRITICAL HALT, for 60 s: halted",
        "      arbshard status --name desk",
        "",
        "alerts that are over:",
        f"  feed upbit  2 times, last at {WHEN}, over after 40 s: it is down",
        f"  feed binance  {WHEN}, over after 40 s: it is down",
    ]
    assert len(list(alert_lines(records, "desk", UTC, AT_MS, every=True))) == 8
    assert list(alert_lines([], "desk", UTC, AT_MS, every=False)) == ["no alerts are kept"]

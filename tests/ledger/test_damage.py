"""A damaged ledger is refused at the start: one line, and not a byte of it changed."""

import sqlite3

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.replay import recover
from support import world as w


@pytest.fixture
def short(tmp_path):
    """A few dozen events, ended in order."""
    world = w.World()
    world.round_trip()
    world.open_position("ETH")
    world.stop()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


def alter(path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
    connection.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM events WHERE seq = 9", "event 9 is missing"),
        ("UPDATE events SET body = '{}' WHERE seq = 9", "event 9: an event cannot be read"),
        (
            "UPDATE events SET body = json_set(body, '$.amount', 'NaN') WHERE seq = 2",
            "event 25: the balances",
        ),
        ("UPDATE events SET body = (SELECT body FROM events WHERE seq = 9) WHERE seq = 10", "event 10: "),
        (
            "UPDATE postings SET balance = '5' WHERE seq = 10 AND line = 0",
            "posting 10.0: venue:upbit BTC is stated",
        ),
        ("UPDATE postings SET amount = 'x' WHERE seq = 10 AND line = 0", "posting 10.0 is not an amount"),
        ("UPDATE postings SET amount = 'NaN' WHERE seq = 10 AND line = 0", "posting 10.0"),
        ("DELETE FROM postings WHERE seq = 10 AND line = 1", "posting"),
        ("INSERT INTO postings VALUES (99999, 0, 'venue:mars', 'BTC', '5', '5')", "BTC postings differ by 5"),
    ],
)
def test_damage_refuses_the_start_and_leaves_the_file_alone(short, opened, codec, statement, said) -> None:
    alter(short, statement)
    before = short.read_bytes()
    store = opened(short)
    with pytest.raises(LedgerDamaged) as raised:
        recover(store, codec)
    store.abandon()
    line = str(raised.value)
    assert line.startswith(f"{short}: damaged: ")
    assert said in line
    assert line.endswith("start with another --state-dir")
    assert line.count("damaged:") == 1
    assert "\n" not in line
    assert short.read_bytes() == before


def test_balances_that_are_not_what_the_events_say(short, opened, codec) -> None:
    alter(
        short,
        "UPDATE postings SET amount = '-7', balance = '-7' WHERE seq = 2 AND line = 0",
        "UPDATE postings SET amount = '7', balance = '7' WHERE seq = 2 AND line = 1",
        "DELETE FROM postings WHERE seq > 3",
        "DELETE FROM events WHERE seq > 3",
    )
    with pytest.raises(
        LedgerDamaged, match="venue:upbit KRW is booked as -7, its deposits and fills come to"
    ):
        recover(opened(short), codec)

"""The ledger of a real run is removed, replaced or cut, with and without the death of risk, at several moments.

Whatever is done: risk ends with 3, the run with 1, a person is told what and where, and no ledger is begun.
"""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.verify import verify
from arbshard.model.money import use_money_context

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FATAL = "risk: the ledger cannot be trusted or written: "
"""What the supervisor says of risk's exit code 3, and of no other."""


def remove(ledger: Path) -> None:
    for path in ledger.parent.glob("ledger.sqlite*"):
        path.unlink()


def replace(ledger: Path) -> None:
    """By a backup."""
    ledger.with_name("backup").replace(ledger)


def replace_by_copy(ledger: Path) -> None:
    """By what the files were some events ago, under the same tag."""
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        ledger.with_name(f"older-{name}").replace(ledger.with_name(name))


def truncate(ledger: Path) -> None:
    os.truncate(ledger, 8192)


def empty(ledger: Path) -> None:
    os.truncate(ledger, 0)


def truncate_log(ledger: Path) -> None:
    os.truncate(ledger.with_name("ledger.sqlite-wal"), 0)


def remove_log(ledger: Path) -> None:
    ledger.with_name("ledger.sqlite-wal").unlink()


DEEDS = {
    remove: "its file was removed",
    replace: "its file was replaced by another file",
    replace_by_copy: "its file was replaced by another file",
    truncate: "its file was cut from ",
    truncate_log: "its write-ahead log was cut from ",
    remove_log: "its write-ahead log was removed",
}
FOUND_BY_SUCCESSOR = {
    remove: "is not the one this run began with: there is no file; put that one back",
    replace: "is not the one this run began with: it has the tag ",
    replace_by_copy: "is not the one this run began with: it ends with event ",
    empty: "damaged: the file is empty",
    truncate_log: "it ends with event |damaged",
    remove_log: "it ends with event |damaged",
}


def prepare(one, deed) -> None:
    """What a deed needs, taken while the ledger is shorter than it will be."""
    if deed is replace:
        one.do("ledger", "backup", str(one.state / "backup"))
    if deed is replace_by_copy:
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            shutil.copy2(one.state / name, one.state / f"older-{name}")


def trading(one, deed) -> dict:
    """Three positions are open, and the ledger is longer than when the deed was prepared."""
    begun = one.trading(1)
    prepare(one, deed)
    return one.until(
        lambda s: s["portfolio"]["open"] >= 3 and s["ledger"]["last_seq"] > begun["ledger"]["last_seq"] + 5
    )


def content_of(ledger: Path) -> bytes | None:
    return ledger.read_bytes() if ledger.exists() else None


def assert_told(one, said: str) -> str:
    code, out, err = one.ended()
    assert code == 1, (out, err)
    assert "Traceback" not in err
    assert FATAL in out, (out, err)
    problem = out.split(FATAL, 1)[1]
    assert any(part in problem for part in said.split("|")), problem
    assert str(one.ledger) in out
    # One with such a code would have been started again; 4 is for a supervisor that was silent on a busy machine.
    assert not re.search(r"risk ended with code [12356789]", out)
    assert "Still open, as of " in out
    assert "as of 20" in out.split("trades", 1)[1].split("result", 1)[0]
    assert re.search(r"by its last report [1-9]\d* positions were open \(\w+ s\d+-", out)
    return out


# Each is recognised by rules that tests/ledger/test_filewatch.py tries one by one; the gate takes one whole run here,
# one whose risk is replaced, and one that is started again with the right ledger.
@pytest.mark.parametrize(
    ("deed", "mode"),
    [
        (replace_by_copy, "live"),
        *(
            pytest.param(deed, mode, marks=pytest.mark.nightly)
            for deed, mode in [*((deed, "paper") for deed in DEEDS), (remove, "live")]
        ),
    ],
)
def test_it_is_noticed_while_risk_runs(system, deed, mode) -> None:
    one = system(mode=mode)
    one.start()
    trading(one, deed)
    deed(one.ledger)
    out = assert_told(one, DEEDS[deed])
    if deed is remove:
        assert "ledger NOT THERE any more" in out
        assert not one.ledger.exists()
    else:
        assert "NOT closed in order" in out


@pytest.mark.parametrize(
    "deed",
    [
        truncate_log,
        *(
            pytest.param(deed, marks=pytest.mark.nightly)
            for deed in FOUND_BY_SUCCESSOR
            if deed is not truncate_log
        ),
    ],
    ids=lambda deed: deed.__name__,
)
def test_a_successor_of_risk_does_not_take_it(system, deed) -> None:
    one = system()
    one.start()
    before = trading(one, deed)
    risk = before["risk"]["pid"]
    os.kill(risk, signal.SIGSTOP)  # so that it is not this one which notices
    deed(one.ledger)
    left = content_of(one.ledger)
    os.kill(risk, signal.SIGKILL)
    assert_told(one, FOUND_BY_SUCCESSOR[deed])
    assert content_of(one.ledger) == left


@pytest.mark.nightly
@pytest.mark.parametrize("deed", [remove, replace], ids=lambda deed: deed.__name__)
def test_it_is_noticed_while_the_run_stops(system, deed) -> None:
    one = system()
    one.start()
    one.trading(1)
    prepare(one, deed)
    one.trading(2)
    one.process.send_signal(signal.SIGTERM)
    deed(one.ledger)
    code, out, err = one.ended()
    assert code == 1, (out, err)
    assert "Traceback" not in err
    assert "NOT THERE any more" in out or "NOT closed in order" in out
    assert DEEDS[deed] in out or "risk ended with code 3 at the stop" in out
    assert one.ledger.exists() is (deed is replace)


@pytest.mark.nightly  # in the gate it is noticed while the run trades
def test_it_is_noticed_before_the_first_trade(system) -> None:
    one = system()
    one.start()
    one.trading(0)
    remove(one.ledger)
    code, out, err = one.ended()
    assert code == 1
    assert DEEDS[remove] in out + err
    assert not one.ledger.exists()


def test_the_right_ledger_is_put_back_and_the_positions_are_taken_over(system, kept) -> None:
    use_money_context()
    one = system(stop_timeout_s=30.0)
    one.start()
    before = one.trading(3)
    kept.keep(one.ledger)
    remove(one.ledger)
    out = assert_told(one, DEEDS[remove])
    kept.put_back(one.ledger)
    still_open = set(re.findall(r"s\d+-\d+-\d+-\d+", out.split("Still open", 1)[1]))
    one.start()
    again = one.until(lambda s: s.get("ledger") is not None and s["as_of"] == "")
    assert (again["ledger"]["tag"], again["ledger"]["is_new"]) == (before["ledger"]["tag"], False)
    one.trading(1)
    one.process.send_signal(signal.SIGTERM)
    code, out, err = one.ended()
    assert code == 0, (out, err)
    assert verify(one.ledger).is_clean
    with LedgerReader(one.ledger) as reader:
        closed = {
            reader.decode(row[0], row[5]).position.position_id for row in reader.rows(["PositionClosed"])
        }
    assert still_open <= closed


@pytest.mark.nightly  # in the gate test_desk_commands.py kills risk, and the run goes on
def test_a_killed_risk_goes_on_with_the_ledger_of_the_run(system) -> None:
    one = system()
    one.start()
    before = one.trading(2)
    assert before["ledger"]["is_new"]
    assert before["as_of"] == ""
    os.kill(before["risk"]["pid"], signal.SIGKILL)
    again = one.until(
        lambda s: s["state"] == "running" and s["risk"]["pid"] not in (0, before["risk"]["pid"])
    )
    assert again["ledger"]["tag"] == before["ledger"]["tag"]
    assert again["ledger"]["is_new"]
    assert again["ledger"]["last_seq"] >= before["ledger"]["last_seq"]
    assert "new ledger, begun " in one.carry_out("status").out
    one.process.send_signal(signal.SIGTERM)
    _, out, err = one.ended()
    assert "Traceback" not in err
    with LedgerReader(one.ledger) as reader:
        assert f"{one.ledger}, {reader.last_seq:,} events" in out
    one.start()
    assert not one.trading(1)["ledger"]["is_new"]
    assert "new ledger" not in one.carry_out("status").out

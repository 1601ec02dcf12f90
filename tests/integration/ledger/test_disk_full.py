"""A disk that fills up with ledger and logs on it, in a real run: told, survived while there is room, ended."""

import os
import re
import signal
from contextlib import suppress

import pytest

from arbshard.ledger.verify import verify
from arbshard.model.money import use_money_context

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIMITS = "disk_free_min_mb = 3.0\ndisk_free_stop_mb = 0.1\n"


def test_the_reserve_lets_positions_be_closed_on_a_full_disk(system, small_disk, fill) -> None:
    """Live: real orders to the embedded exchanges, logs beside the ledger as always."""
    use_money_context()
    disk = small_disk(8)
    one = system(mode="live", run=LIMITS, state=disk / "state")
    one.start()
    before = one.trading(1)
    assert before["ledger"]["reserve_kept"]
    filler = fill(disk)
    alerts: set[str] = set()

    def is_flat(status: dict) -> bool:
        alerts.update(status["alerts"])
        refused = status["risk"]["refusals"].get("DISK_SHORT", 0)
        return status["portfolio"]["open"] == 0 and refused > 0

    def is_said(status: dict) -> bool:
        alerts.update(status["alerts"])
        wanted = (
            "the reserve beside the ledger was given up to go on writing",
            "the ledger's disk is nearly full: ",
        )
        return all(any(part in line for line in alerts) for part in wanted)

    flat = one.until(is_flat)
    assert flat["state"] == "degraded"
    assert any("MB are free on the ledger's disk; nothing is entered" in line for line in flat["problems"])
    one.until(is_said)
    assert not flat["ledger"]["reserve_kept"]
    assert flat["portfolio"]["exits"] == flat["portfolio"]["entries"] >= before["portfolio"]["entries"]
    filler.unlink()
    again = one.until(lambda s: s["ledger"]["reserve_kept"] and s["portfolio"]["open"] > 0)
    assert again["portfolio"]["entries"] > flat["portfolio"]["entries"]
    one.process.send_signal(signal.SIGTERM)
    _, out, err = one.ended()
    assert "Traceback" not in out + err
    assert f"{one.ledger}, " in out
    assert verify(one.ledger).differences == ()


@pytest.mark.parametrize("is_killed", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_what_is_known_stays_known_when_there_is_no_room_left(system, small_disk, fill, is_killed) -> None:
    """Risk ends on the full disk, or is killed and its successor finds no room: nothing is shown as zero."""
    use_money_context()
    disk = small_disk(8)
    one = system(run=LIMITS, state=disk / "state")
    one.start()
    before = one.trading(2)
    (disk / "state" / "ledger.sqlite.reserve").unlink()
    filler = fill(disk)
    if is_killed:
        with suppress(ProcessLookupError):  # it has found out by itself
            os.kill(before["risk"]["pid"], signal.SIGKILL)
    code, out, err = one.ended()
    assert code == 1, (out, err)
    assert "Traceback" not in out
    assert "risk: the ledger cannot be trusted or written: " in out, (out, err)
    assert re.search(r"cannot be (written|opened for writing).*free space", out), (out, err)
    shown = re.search(r"trades (\d+) entries, (\d+) exits, (\d+) open", out)
    assert shown is not None, out
    assert int(shown[1]) >= before["portfolio"]["entries"] > 0
    assert int(shown[3]) > 0
    assert "Still open, as of 20" in out
    filler.unlink()
    assert verify(one.ledger).differences == ()

"""A disk that fills up with ledger and logs on it, in a real run: told, survived while there is room, ended."""

import os
import re
import signal
from contextlib import suppress

import pytest

from arbshard.ledger.verify import verify
from arbshard.model.money import use_money_context

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LIMITS = "disk_free_min_mb = 3.0\ndisk_free_stop_mb = 0.1\n"


def test_positions_open_on_a_full_disk(system, small_disk, fill) -> None:
    """Live: real orders to the embedded exchanges, logs beside the ledger as always."""
    pytest.importorskip("ccxt")
    use_money_context()
    disk = small_disk(8)
    one = system(mode="live", run=LIMITS, state=disk / "state")
    one.start()
    before = one.trading(1)
    assert before["ledger"]["reserve_kept"]
    os.kill(before["risk"]["pid"], signal.SIGSTOP)  # so that what is looked at next is one moment
    filler = fill(disk)
    os.kill(before["risk"]["pid"], signal.SIGCONT)
    seen = one.until(lambda s: s["risk"]["refusals"].get("DISK_SHORT") or s["as_of"], 40, may_end=True)
    if seen is not None and not seen["as_of"]:
        assert seen["portfolio"]["entries"] >= before["portfolio"]["entries"]
        assert any(
            "MB are free on the ledger's disk; nothing is entered" in line for line in seen["problems"]
        )
        assert any("the reserve beside the ledger was given up" in line for line in seen["alerts"])
        fill(disk)
    code, out, err = one.ended()
    assert code == 1, (out, err)
    assert "Traceback" not in out
    assert "risk: the ledger cannot be trusted or written: " in out, (out, err)
    assert re.search(r"database or disk is full|disk I/O error", out)
    assert "free space" in out
    assert "trades 0 entries, 0 exits, 0 open" not in out
    assert re.search(r"(\d+) open; .* as of 20", out)
    filler.unlink()
    report = verify(one.ledger)
    assert report.differences == ()


def test_what_is_known_stays_known_while_risk_cannot_start(system, small_disk, fill) -> None:
    """Risk dies on a full disk and its successor finds no room either: nothing is shown as zero."""
    disk = small_disk(8)
    one = system(run=LIMITS, state=disk / "state")
    one.start()
    before = one.trading(2)
    (disk / "state" / "ledger.sqlite.reserve").unlink()
    fill(disk)
    with suppress(ProcessLookupError):  # it has found out by itself
        os.kill(before["risk"]["pid"], signal.SIGKILL)
    code, out, err = one.ended()
    assert code == 1, (out, err)
    assert "Traceback" not in out
    shown = re.search(r"trades (\d+) entries, (\d+) exits, (\d+) open", out)
    assert shown is not None, out
    assert int(shown[1]) >= before["portfolio"]["entries"] > 0
    assert "Still open, as of 20" in out

"""A run on paper over real processes, recorded and traded again: the same decisions at the recorded times, though a
pair was taken out and added again meanwhile.

What is compared, of every decision from the first one of the run on: approvals with direction, reason, lead, sizes,
limit prices and FX; hedges and unwinds; how each order stood, with quantity, price and fee of each fill; how each
intent ended. Left out are ids, times up to a second, and what persons ordered.
"""

import json

import msgspec
import pytest

from arbshard.ledger.reader import LedgerReader
from arbshard.model.universe import Universe
from support.effort import effort
from support.instance import Instance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.needs("analysis", "tape"),
]

CONFIG = """
[sim]
coins = 6
seed = 11
updates_per_s = 4.0
[run]
shards = 2
rebalance_s = 0
[strategy]
max_hold_s = 5.0
[paper]
record_times = true
unknown_share = 0.0
late_fill_share = 0.05
refusals_per_day = 0.0
reject_share = 0.05
partial_share = 0.2
"""
"""Many orders are refused or filled in part, so that hedges and unwinds come up."""
WANTED = effort(12, 20)


def approved_after(instance, seq):
    with LedgerReader(instance.ledger) as ledger:
        return len(list(ledger.rows(["IntentApproved"], after=seq)))


def call(instance, *arguments):
    """A command that has no ``--config``."""
    ended = instance.ended(instance.launch(*arguments))
    assert ended.code == 0, ended
    return ended.out


@pytest.fixture
def instance(tmp_path):
    """A run that enters nothing before somebody resumes, and so nothing before it is recorded."""
    with Instance(tmp_path, CONFIG) as found:
        found.start()
        found.until_running()
        found.do("halt", "--reason", "not recorded yet", "--wait", "0")
        assert found.stop().code in (0, 1)
        found.start()
        found.until_running()
        yield found


# In the gate tests/backtest/test_recorded.py decides the same again from a tape, and test_record.py records a run.
@pytest.mark.nightly
def test_a_recorded_run_decides_the_same_again(instance):
    with LedgerReader(instance.ledger) as ledger:
        before = ledger.last_seq
    tape = instance.state / "tape"
    process = instance.launch("record", "--config", str(instance.config), "--free-mb", "0")
    instance.wait_for(lambda: sum(path.stat().st_size for path in tape.glob("*.arrows")) > 20_000)
    assert approved_after(instance, before) == 0
    instance.do("resume", "--reason", "it is recorded")
    instance.wait_for(lambda: approved_after(instance, before) >= WANTED // 2, timeout_s=60)
    base = msgspec.json.decode(instance.files.universe.read_bytes(), type=Universe).pairs[0].base
    instance.do("symbols", "remove", base)
    instance.do("symbols", "add", base)
    instance.wait_for(lambda: approved_after(instance, before) >= WANTED, timeout_s=60)
    instance.stop()
    assert instance.ended(process).code == 0
    out = instance.folder / "again"
    found = json.loads(
        call(instance, "backtest", str(tape), "--latency", "recorded", "--out", str(out), "--json")
    )
    compared = found["recorded"]
    assert compared["differences"] == []
    assert compared["same"] == compared["decisions"] > 3 * WANTED
    assert found["decisions"] == compared["decisions"]
    assert instance.do("ledger", "verify", "--state-dir", str(out)).endswith(
        "everything agrees with the fills\n"
    )

    other = json.loads(call(instance, "backtest", str(tape), "--out", str(instance.folder / "own"), "--json"))
    assert other["recorded"] is None
    assert (
        other["decisions_hash"] != found["decisions_hash"]
    )  # its orders arrive when the paper venue draws it

"""Commands that change who trades what: what they say, how they end, and what is shown."""

import json
from pathlib import Path

import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.cli import shard_client as changing
from arbshard.cli import shards as shards_module
from arbshard.errors import RequestTimeout, UsageError
from arbshard.model.rundir import RunFiles
from arbshard.wire import control

PAIRS = (
    control.PairLine("BTC", "KRW-BTC", "BTCUSDT", 0, 20.0),
    control.PairLine("ETH", "KRW-ETH", "ETHUSDT", -1, 10.0, is_leaving=True),
)


def shown(*changes):
    line = control.ShardLine(0, ("BTC",), 20.0, 0.05, 90.0, 3)
    return control.Shards(3, (line,), PAIRS, tuple(changes), 1.0)


@pytest.fixture
def supervisor(monkeypatch, tmp_path):
    """Answers one after the other; what it was asked."""
    asked, answers = [], []

    def ask(endpoint, payload, timeout_ms):
        order = control.decode_order(payload)
        if isinstance(order, control.ChangingOrder):
            assert order.by.endswith(", command line")
            order = replace(order, by="")
        asked.append(order)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return control.encode(answer)

    files = RunFiles(tmp_path)
    monkeypatch.setattr("arbshard.wire.operator_client.ask", ask)
    monkeypatch.setattr(changing, "_LOOK_EVERY_S", 0)
    for module in ("shards", "symbols"):
        monkeypatch.setattr(f"arbshard.cli.{module}.running_files", lambda name, config: ("t", files))
    monkeypatch.setattr(shards_module, "_status", lambda files: None)
    yield asked, answers
    assert answers == [], "not all was asked for"


def carry_out():
    changing.carry_out("t", RunFiles(Path()), control.BalanceShards(), 1.0)


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def change(state, text=""):
    return control.ChangeLine(7, "move BTC to shard 1", state, text)


def test_waits_until_it_is_done(supervisor):
    asked, answers = supervisor
    answers += [
        control.Accepted(7, "move"),
        shown(change("queued")),
        RequestTimeout("busy"),
        shown(change("running")),
    ]
    answers += [shown(change("done", "moved BTC to shard 1"))]
    done = call("shards", "move", "BTC", "--to", "1")
    assert (done.exit_code, done.stdout) == (0, "t: moved BTC to shard 1\n")
    assert asked[0] == control.MovePairs(("BTC",), 1)


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["symbols", "add", "SOL", "XRP"], control.AddSymbols(("SOL", "XRP"))),
        (["symbols", "remove", "SOL", "--keep-positions"], control.RemoveSymbols(("SOL",), True)),
        (["shards", "balance"], control.BalanceShards()),
        (["shards", "restart", "2"], control.RestartShard(2)),
    ],
)
def test_every_command_says_what_it_means(supervisor, arguments, order):
    asked, answers = supervisor
    answers.append(control.Accepted(7, "it"))
    done = call(*arguments, "--wait", "0")
    assert (done.exit_code, done.stdout) == (0, "t: to be done: it\n")
    assert asked == [order]


def test_nothing_to_do(supervisor):
    supervisor[1].append(control.ControlDone("nothing to move"))
    assert call("shards", "balance", "--dry-run").stdout == "t: nothing to move\n"
    assert supervisor[0] == [control.BalanceShards(dry_run=True)]


def test_a_failure_is_code_1(supervisor, capsys):
    supervisor[1].extend([control.Accepted(7, "move"), shown(change("failed", "not let go of"))])
    with pytest.raises(typer.Exit) as end:
        carry_out()
    assert end.value.exit_code == 1
    assert "not let go of" in capsys.readouterr().err


def test_what_must_be_asked_otherwise_is_a_usage_error(supervisor):
    supervisor[1].extend([control.Accepted(7, "add"), shown(change("refused", "no free slot"))])
    with pytest.raises(UsageError, match="no free slot"):
        carry_out()
    supervisor[1].append(control.ControlDenied("no shard 9"))
    with pytest.raises(UsageError, match="no shard 9"):
        carry_out()


def test_it_does_not_wait_for_ever(supervisor, capsys, monkeypatch):
    supervisor[1].extend([control.Accepted(7, "move"), shown(change("running"))])
    times = iter([0.0, 2.0])
    monkeypatch.setattr(changing.time, "monotonic", lambda: next(times))
    with pytest.raises(typer.Exit):
        carry_out()
    assert "goes on" in capsys.readouterr().err


def test_tables_and_json(supervisor):
    answers = supervisor[1]
    answers += [shown(change("done", "moved"))] * 5
    table = call("shards").stdout
    assert "BTC" in table
    assert "on their way: ETH" in table
    assert "done: moved" in table
    lines = call("shards", "--pairs").stdout
    assert "KRW-ETH" in lines
    assert "leaving" in lines
    view = json.loads(call("shards", "--json").stdout)
    assert (view["shards"][0]["cpu_percent"], view["pairs"][1]["shard"]) == (5.0, -1)
    assert "ETH  KRW-ETH" in call("symbols").stdout
    assert [pair["base"] for pair in json.loads(call("symbols", "--json").stdout)] == ["BTC", "ETH"]

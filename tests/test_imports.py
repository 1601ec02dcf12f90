"""Every module can be imported by itself with nothing installed but what is required: extras are imported lazily."""

import subprocess
import sys

import pytest

ITS_OWN_EXTRA = (
    "arbshard.backtest.blocks",
    "arbshard.backtest.feeding",
    "arbshard.backtest.feeds",
    "arbshard.backtest.fusing",
    "arbshard.backtest.recorded",
    "arbshard.backtest.refused",
    "arbshard.backtest.replaying",
    "arbshard.backtest.resting",
    "arbshard.backtest.rows",
    "arbshard.backtest.run",
    "arbshard.backtest.screening",
    "arbshard.backtest.skipping",
    "arbshard.backtest.spans",
    "arbshard.backtest.tops",
    "arbshard.cluster.nats_store",
    "arbshard.data.fast_stream",
    "arbshard.ledger.parquet",
    "arbshard.metrics.families",
    "arbshard.metrics.main",
    "arbshard.metrics.reading",
    "arbshard.metrics.serving",
    "arbshard.replay.events",
    "arbshard.replay.main",
    "arbshard.replay.stretch",
    "arbshard.report.recorded",
    "arbshard.report.sampled",
    "arbshard.series.main",
    "arbshard.series.reading",
    "arbshard.series.schemas",
    "arbshard.series.segments",
    "arbshard.sweep.judging",
    "arbshard.sweep.page",
    "arbshard.sweep.parts",
    "arbshard.sweep.plots",
    "arbshard.sweep.pools",
    "arbshard.sweep.store",
    "arbshard.sweep.sweep",
    "arbshard.sweep.tasks",
    "arbshard.tape.compaction",
    "arbshard.tape.exports",
    "arbshard.tape.format",
    "arbshard.tape.main",
    "arbshard.tape.native",
    "arbshard.tape.query",
    "arbshard.tape.reading",
    "arbshard.tape.recorder",
    "arbshard.tape.tables",
    "arbshard.tape.writing",
)
"""These modules are the use of an extra."""

_PROGRAM = """
import importlib, pkgutil, sys
import arbshard, supervisor
for package in (arbshard, supervisor):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__") and found.name not in sys.argv:
            importlib.import_module(found.name)
            print(found.name)
for extra in ("ccxt", "picows", "trustme", "prometheus_client", "pyarrow", "plotly", "duckdb", "optuna", "ray",
              "apprise", "telegram", "nats"):
    assert extra not in sys.modules, f"{extra} is imported with a module"
"""


def test_every_module_is_imported_without_any_extra():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *ITS_OWN_EXTRA],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-5:]
    assert len(done.stdout.splitlines()) > 200


_DRAWING = {"rich", "pygments", "typer"}
"""What draws on a terminal, and reads a command line for people."""
_VENUES = {"aiohttp", "yarl", "websockets", "picows"}
"""What connects to venues."""
_NOT_NEEDED = {
    # A worker on paper speaks over Unix sockets by default.
    "import arbshard.worker.main": _DRAWING | _VENUES | {"zmq", "psutil", "sqlite3"},
    # Risk needs ZeroMQ for other hosts alone.
    "import arbshard.risk.main": _DRAWING | _VENUES | {"zmq", "psutil"},
    "import arbshard.accounts.main": _DRAWING | {"aiohttp", "picows", "psutil"},
    "import arbshard.exchanges.main": _DRAWING | {"zmq", "psutil", "websockets"},
    "import arbshard.alerts.main": _DRAWING | _VENUES | {"zmq"},
    # The supervisor imports the library of HTTP while the exchanges start.
    "import supervisor.main": _DRAWING | {"aiohttp", "picows"},
    # Commands import their own modules alone.
    "import arbshard.cli.run": {
        "asyncio",
        "rich",
        "pygments",
        "structlog",
        "sqlite3",
        "zmq",
        "supervisor.main",
    },
    "import arbshard.cli.status, arbshard.status.collect, supervisor.places": _VENUES
    | {"asyncio", "rich", "pygments", "structlog", "zmq"},
}


@pytest.mark.parametrize(("program", "not_needed"), _NOT_NEEDED.items(), ids=_NOT_NEEDED)
def test_a_program_imports_nothing_that_it_does_not_need(program, not_needed):
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert len(loaded) > 50
    assert loaded & not_needed == set()

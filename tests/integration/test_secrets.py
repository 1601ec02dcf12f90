"""Keys with a marker, real processes, a dozen kinds of failure: the marker must not be found anywhere afterwards.

Searched are all outputs, all files below the state and run directories (also between the failures, and before they
are removed), arguments and environment of every process, and core files.
"""

import base64
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from arbshard.errors import SharedMemoryError
from arbshard.model.notes import SupervisorNote
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
MARKER = b"MARKUP"
NEEDLES = (MARKER, base64.urlsafe_b64encode(b'{"access_key":"MARKUP').rstrip(b"=")[:-1])
"""In clear text, and as a token holds it."""
KEYS = {
    f"{venue}_{part}": f"MARKUP{part.upper()}-{venue}-0123456789-abcdefghijklmnopqrstuvwxyz"
    for venue in ("upbit", "binance")
    for part in ("key", "secret")
}
UPBIT_ENVIRON = {f"ARBSHARD_UPBIT_{part.upper()}": KEYS[f"upbit_{part}"] for part in ("key", "secret")}
BINANCE_FILE = f'[binance]\nkey = "{KEYS["binance_key"]}"\nsecret = "{KEYS["binance_secret"]}"\n'

# The program of the run, with a defect in ``open_client`` as long as a file is there.
DRIVER = """
import os, sys
from pathlib import Path
from arbshard.data import clients

made = clients.HttpVenueClient

def defect(*arguments):
    if Path(os.environ["DEFECT"]).exists():
        raise RuntimeError("a defect in open_client")
    return made(*arguments)

clients.HttpVenueClient = defect
from arbshard.cli import main
main()
"""

CONFIG = """
name = "marked"
mode = "live"
{data}
[run]
shards = 1
symbols = ["BTC", "ETH"]
restart_tries = 50
stuck_after_ms = 5000
[data_quality]
max_book_age_ms = 5000
max_leg_skew_ms = 5000
[limits]
edge_bps_min = -100
[baseline]
is_required = false
[strategy]
rearm_pause_max_s = 0.0
no_reversion_exits = 0
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_loss_bps = 5000
stop_room_bps = 0
max_hold_s = 1
[sizing]
entry_notional_max = "120000"
entry_notional_min = "40000"
"""


class Exchanges:
    """Simulated exchanges whose accounts have the marked keys. They are told by their standard input."""

    def __init__(self, folder):
        ready = folder / "sim.json"
        settings = json.dumps({"coins": 3, "accounts": KEYS})
        command = [sys.executable, "-m", "arbshard.exchanges", "--settings", "-", "--ready-file", str(ready)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
        )
        self.process.stdin.write(settings)
        self.process.stdin.close()
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.said = json.loads(ready.read_text())

    def fault(self, **order):
        for venue in ("upbit", "binance"):
            asked = urllib.request.Request(
                f"{self.said[venue]['rest_url']}/sim/faults",
                json.dumps(order).encode(),
                {"Authorization": f"Bearer {self.said['token']}", "Content-Type": "application/json"},
            )
            urllib.request.urlopen(asked, timeout=10).close()

    def close(self):
        self.process.kill()
        self.process.wait(10)


class Babbler(http.server.BaseHTTPRequestHandler):
    """A venue that answers 401, 500 or garbage, and repeats what it was sent."""

    def do_GET(self):
        status = {"v1": 401, "sapi": 500}.get(self.path.split("/")[1], 200)
        body = f"<html>{self.path} {self.headers}</html>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, *args):
        pass


class Place:
    """Folders, programs in them, and the search."""

    def __init__(self, folder):
        self.folder = folder
        self.own = folder / "own"  # what the user wrote; everything else is ours
        self.traces = folder / "t"
        self.files = RunFiles(self.traces / "r" / "marked")
        self.own.mkdir()
        self.traces.mkdir()
        self.defect = self.own / "defect"
        (self.own / "driver.py").write_text(DRIVER)
        self.found = set()
        self.processes = []

    def environ(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ARBSHARD_")}
        root = str(self.traces / "r")
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DEFECT": str(self.defect),
            "ARBSHARD_RUN_ROOT": root,
            **more,
        }

    def keys_file(self, text, mode=0o600):
        path = self.own / "keys.toml"
        path.write_text(text)
        path.chmod(mode)
        return path

    def config(self, data, more=""):
        path = self.own / "config.toml"
        path.write_text(CONFIG.format(data=data) + more)
        return path

    def command(self, name, *arguments):
        state = ["--state-dir", str(self.traces / "state")] if name in ("run", "reconcile") else []
        if name == "run" and not (self.traces / "state" / "ledger.sqlite").exists():
            state.append("--new-ledger")
        config = ["--config", str(self.own / "config.toml")]
        return [sys.executable, str(self.own / "driver.py"), *name.split(), *arguments, *config, *state]

    def start(self, *arguments, environ):
        with (self.traces / f"output-{len(self.processes)}").open("wb") as output:
            process = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    'ulimit -c unlimited; exec "$@"',
                    "sh",
                    *self.command("run", "--live", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.traces,
                env=environ,
            )
        self.processes.append(process)
        return process

    def do(self, name, *arguments, environ):
        """A command of a person: exit code and what it said."""
        done = subprocess.run(
            self.command(name, *arguments), capture_output=True, timeout=60, check=False, cwd=self.traces, env=environ
        )  # fmt: skip
        self.search(f"output of {name}", done.stdout + done.stderr)
        return done.returncode, (done.stdout + done.stderr).decode()

    def search(self, where, content):
        if any(needle in content for needle in NEEDLES):
            self.found.add(where)

    def look(self, process, *, read=True):
        """At every process of the run, and at every file. Not ``read``: the keys may be where they came from."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for one in (parent, *parent.children(recursive=True)):
                for kind in ("cmdline", "environ") if read or one is not parent else ("cmdline",):
                    with suppress(OSError, psutil.NoSuchProcess):
                        name = _name(one)
                        self.search(f"{kind} of {name}", Path(f"/proc/{one.pid}/{kind}").read_bytes())
        for path in self._paths():
            with suppress(OSError):  # sockets, and what is just going
                if path.is_file():
                    self.search(f"file {path.relative_to(self.traces)}", path.read_bytes())

    def _paths(self):
        """Every file; a run that ends may remove its directories meanwhile, which ``rglob`` does not bear."""
        return [Path(folder) / name for folder, _, names in os.walk(self.traces) for name in names]

    def cores(self):
        return [path for path in self._paths() if path.name.startswith("core") and path.is_file()]

    def close(self):
        for process in self.processes:
            children = []
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
            if process.poll() is None:
                process.kill()
            process.wait(10)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def _name(process):
    words = process.cmdline()
    return words[words.index("-m") + 1] if "-m" in words else "supervisor"


@pytest.fixture
def place(tmp_path):
    one = Place(tmp_path)
    yield one
    one.close()


@pytest.fixture
def exchanges(tmp_path):
    one = Exchanges(tmp_path)
    yield one
    one.close()


@pytest.fixture
def babbler():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Babbler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def addresses(upbit, binance):
    return "".join(
        f'[venues.{name}]\nws_url = "{ws}"\nrest_url = "{rest}"\n'
        for name, (ws, rest) in (("upbit", upbit), ("binance", binance))
    )


def at(exchanges):
    return addresses(*((exchanges.said[venue]["ws_url"], exchanges.said[venue]["rest_url"]) for venue in ("upbit", "binance")))  # fmt: skip # noqa: E501


class Run:
    """A run of ``place`` in the middle of which things break."""

    def __init__(self, place, environ, *arguments):
        self.place = place
        self.environ = environ
        self.was_running = False
        self.process = place.start(*arguments, environ=environ)

    def until_running(self):
        """Until it runs and all its children are up."""
        deadline = time.monotonic() + 60
        while not self.is_running():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        self.was_running = True

    def is_running(self):
        note = self.note()
        return (
            note is not None
            and note.state == "running"
            and all(child.state == "running" for child in note.children)
        )

    def note(self):
        """What the supervisor says of itself; None before it says anything."""
        try:
            with PageReader.attach(self.place.files.supervisor_page) as page:
                raw = page.note()
        except SharedMemoryError:
            return None
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def output(self):
        return max(self.place.traces.glob("output-*")).read_text()

    def pid(self, name):
        """Of a child; 0 while it is being replaced."""
        note = self.note()
        return (
            next((child.pid for child in note.children if child.name == name), 0) if note is not None else 0
        )

    def end(self, name, number):
        """End a child by a signal, and wait until there is another."""
        pid = self.pid(name)
        assert pid, name
        os.kill(pid, number)
        deadline = time.monotonic() + 60
        while self.pid(name) in (0, pid):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, f"{name} was not replaced"
            time.sleep(0.1)
        self.until_running()
        self.place.look(self.process)

    def stop(self, timeout_s=60):
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "did not end"
            self.place.look(self.process, read=self.was_running)
            time.sleep(0.2)
        self.place.look(self.process)


def test_real_keys_in_the_environment_and_in_a_file(place, exchanges):
    file = place.keys_file(BINANCE_FILE)
    place.config('data = "public"', f'[live]\nkeys_file = "{file}"\n{at(exchanges)}')
    environ = place.environ(**UPBIT_ENVIRON)
    run = Run(place, environ)
    time.sleep(1.0)  # stopped during its start
    run.stop()
    run = Run(place, environ)
    run.until_running()
    place.look(run.process)
    assert place.do("doctor", environ=environ)[0] == 0
    place.defect.touch()  # an exception in an operator's command, inside the supervisor
    code, said = place.do("symbols add", "XRP", environ=environ)
    assert code != 0, said
    assert "a defect in open_client" in run.output()
    run.end("worker-0", signal.SIGKILL)
    place.defect.unlink()
    run.end("accounts", signal.SIGSEGV)
    run.end("worker-0", signal.SIGABRT)
    run.end("risk", signal.SIGKILL)
    exchanges.fault(once={"error_500": {"calls": "all", "times": 5}, "rate_limited": {"times": 3}})
    exchanges.fault(once={"disconnect": {"times": 1}, "lost_reply": {"times": 3}})
    time.sleep(2)
    run.until_running()
    run.stop()
    assert place.found == set()
    assert place.cores() == []


def test_keys_of_the_embedded_exchanges(place):
    secrets = "".join(f'{name} = "{value}"\n' for name, value in KEYS.items())
    place.config('data = "sim"', f"[sim]\ncoins = 3\n[sim.accounts]\n{secrets}")
    run = Run(place, place.environ())
    run.until_running()
    place.look(run.process)
    run.end("sim", signal.SIGABRT)
    run.process.kill()  # nothing is removed
    run.process.wait(10)
    place.look(run.process)
    assert place.found == set()
    assert place.cores() == []


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (BINANCE_FILE.replace('secret = "', "secret = '"), 0o600, "is not valid TOML"),
        (BINANCE_FILE, 0o644, "is open to others"),
        pytest.param(
            BINANCE_FILE.replace("secret", "password"), 0o600, "may hold", marks=pytest.mark.nightly
        ),
        pytest.param(
            BINANCE_FILE.replace("[binance]", "[bithumb]"), 0o600, "tables may be", marks=pytest.mark.nightly
        ),
    ],
)
def test_wrong_key_files(place, text, mode, why):
    file = place.keys_file(text, mode)
    place.config('data = "public"', f'[live]\nkeys_file = "{file}"\n{addresses(("ws://a", "http://a"), ("ws://b", "http://b"))}')  # fmt: skip # noqa: E501
    code, said = place.do("run" if mode == 0o600 else "doctor", environ=place.environ(**UPBIT_ENVIRON))
    assert code == 2
    assert why in said
    assert place.found == set()


def test_venues_that_answer_nonsense_or_refuse_the_keys(place, babbler, exchanges):
    file = place.keys_file(BINANCE_FILE)
    here = (f"ws://{babbler}", f"http://{babbler}")
    place.config('data = "public"', f'[live]\nkeys_file = "{file}"\n{addresses(here, here)}')
    assert place.do("doctor", environ=place.environ(**UPBIT_ENVIRON))[0] == 1
    # Other keys than the exchange's: 401, and the run refuses to start.
    file = place.keys_file(BINANCE_FILE.replace("MARKUPSECRET", "MARKUPWRONG"))
    place.config('data = "public"', f'[live]\nkeys_file = "{file}"\n{at(exchanges)}')
    code, said = place.do("run", "--live", environ=place.environ(**UPBIT_ENVIRON))
    assert code == 2
    assert "not fit to trade" in said
    assert place.found == set()

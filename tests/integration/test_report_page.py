"""A report in a real browser: it draws itself, asks nobody for anything, and fits a desk and a telephone.

Chromium is driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).
"""

import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest
from websockets.sync.client import connect

from arbshard.model.verdict import Anomaly, Verdict
from arbshard.report.compare import write_comparison
from arbshard.report.write import write_report
from support.history import History

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
WAIT_S = 60.0


@contextmanager
def chromium(folder):
    """A page of a headless Chromium, whose process ends with the block."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += [
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port_of(process, folder / 'DevToolsActivePort')}/json/list"
        with urllib.request.urlopen(address, timeout=WAIT_S) as answer:
            page = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def port_of(process, file):
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return int(lines[0])
        assert process.poll() is None, "Chromium ended at its start"
        time.sleep(0.05)
    raise AssertionError("Chromium opened no port")


class Browser:
    """What a test does with one page."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path, width, theme):
        self.events.clear()
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Page.navigate", url=path.as_uri())
        end_s = time.monotonic() + WAIT_S
        while self.value("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < end_s, "the page was not loaded"
            time.sleep(0.05)

    def draw_all(self):
        """Bring every plot near to the window, and wait until it is drawn; how many there are."""
        count = self.value("document.querySelectorAll('.plot').length")
        for number in range(count):
            self.value(f"document.querySelectorAll('.plot')[{number}].scrollIntoView()")
            end_s = time.monotonic() + WAIT_S
            drawn = f"document.querySelectorAll('.plot')[{number}].querySelector('.main-svg') !== null"
            while not self.value(drawn):
                assert time.monotonic() < end_s, f"plot {number} was not drawn"
                time.sleep(0.05)
        return count

    def complaints(self):
        """What the console shows, and what went to the network."""
        found = []
        for event in self.events:
            method, given = event["method"], event["params"]
            if method == "Network.requestWillBeSent" and not given["request"]["url"].startswith(
                ("file:", "data:", "blob:")
            ):
                found.append(given["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                found.append(given["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
                found.append(given["args"])
            elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                found.append(given["entry"]["text"])
        return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    pytest.importorskip("plotly")
    folder = tmp_path_factory.mktemp("run")
    History(12).write(folder / "ledger.sqlite", 3000, positions=3)
    (folder / "logs").mkdir()
    line = {
        "event": "stalled",
        "level": "warning",
        "timestamp": "2026-11-28T07:00:01Z",
        "process": "supervisor",
    }
    (folder / "logs" / "supervisor.jsonl").write_text(json.dumps(line) + "\n")
    return folder


@pytest.fixture(scope="module")
def page(state_dir):
    anomaly = Anomaly(
        rule="log", severity="warn", first_ms=1, last_ms=9, subject="supervisor", text="It stalled.", log=None
    )
    verdict = Verdict("failed", ("It was stale for long.",), ())
    return write_report(state_dir, state_dir / "out", verdict=verdict, anomalies=[anomaly]).html


def is_dark(browser):
    shade = browser.value("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in shade.removeprefix("rgb(").removesuffix(")").split(","))
    return red + green + blue < 384


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_draws_itself_and_asks_nobody(browser, page, width, theme):
    browser.open(page, width, theme)
    assert browser.draw_all() > 4
    assert browser.complaints() == []
    assert is_dark(browser) == (theme == "dark")
    # Wide tables scroll by themselves; the page does not.
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelector('h1').getBoundingClientRect().left") >= 0


def test_the_test_sees_a_request_and_an_error(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>throw new Error('seen')</script>")
    browser.open(bad, 1280, "light")
    said = json.dumps(browser.complaints())
    assert "http://127.0.0.1:9/x.png" in said
    assert "seen" in said


def test_a_policy_keeps_the_page_from_asking(browser, page):
    browser.open(page, 1280, "light")
    answer = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.message)"
    browser.value(answer)
    assert "Content Security Policy" in json.dumps(browser.complaints())


def test_a_click_on_a_head_sorts_and_a_link_opens_its_log(browser, page):
    browser.open(page, 1280, "light")
    column = "[...document.querySelectorAll('#symbols tbody')[0].rows].map(row => row.cells[4].textContent)"
    browser.value("document.querySelectorAll('#symbols th')[4].click()")
    shown = [float(text.replace(",", "").replace("−", "-")) for text in browser.value(column)]
    assert shown == sorted(shown, reverse=True)
    browser.value("document.querySelector('#timeline a').click()")
    browser.value("new Promise(done => setTimeout(done, 50))")
    assert browser.value("document.querySelector('#logs details').open") is True


def test_a_comparison_draws_itself(browser, state_dir):
    written = write_comparison(state_dir, state_dir, state_dir / "compared")
    browser.open(written.html, 390, "dark")
    assert browser.draw_all() == 2
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory):
    pytest.importorskip("plotly")
    pytest.importorskip("pyarrow")
    from arbshard.sweep.sweep import write_page
    from support.sweep_rig import swept

    folder = tmp_path_factory.mktemp("sweep")
    report = swept(folder, ("entry_bps=25:50:5", "max_hold_s=25,30,35", "stop_room_bps=20,40"))
    return write_page(report, folder).html


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_page_of_a_sweep_draws_its_maps(browser, sweep_page, width, theme):
    browser.open(sweep_page, width, theme)
    assert browser.draw_all() == 10
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    # Three maps over all other keys, and three through the best point, which is marked in each.
    assert browser.value("document.querySelectorAll('.heatmaplayer .hm').length") == 6
    assert browser.value("document.querySelectorAll('.scatterlayer .points path').length") >= 6

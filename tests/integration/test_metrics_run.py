"""Prometheus scrapes a live run: every panel of the dashboard has data, alerts are evaluated, health is right."""

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from support.instance import LIVE, SIM_KEYS, SMALL, Instance

pytestmark = [pytest.mark.integration, pytest.mark.needs("metrics"), pytest.mark.timeout(180)]

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
METRICS = "[metrics]\nenabled = true\nport = 0\nper_symbol = 4\n"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)


def get(url):
    """(status, body) of a request; (0, "") where nothing listens yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def address_of(run):
    return f"http://127.0.0.1:{run.until(lambda status: status['metrics']['port'])['metrics']['port']}"


def sample(text, name):
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))


def queries():
    """(panel, query) of the dashboard."""
    dashboard = json.loads((DEPLOY / "grafana" / "arbshard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield (
                panel["title"],
                target["expr"].replace("$job", "arbshard").replace("$__rate_interval", "15s"),
            )


@contextmanager
def prometheus(folder, target):
    """Prometheus with the project's rules, scraping once per second; its address."""
    shutil.copy(DEPLOY / "prometheus" / "arbshard-alerts.yml", folder)
    settings = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    settings = settings.replace("10s", "1s").replace("127.0.0.1:9464", target.removeprefix("http://"))
    (folder / "prometheus.yml").write_text(settings)
    subprocess.run(
        ["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def asked(address, query):
    _, body = get(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    answer = json.loads(body)
    assert answer["status"] == "success", (query, answer)
    return answer["data"]["result"]


@needs_prometheus
def test_prometheus_has_data_for_every_panel_of_a_live_run(tmp_path):
    with Instance(tmp_path, LIVE + SMALL + METRICS) as run:
        run.start("--live", **SIM_KEYS)
        run.until_running()
        arbshard = address_of(run)
        with prometheus(tmp_path, arbshard) as address:
            run.wait_for(lambda: get(f"{address}/-/ready")[0] == 200)
            run.until(lambda status: status["portfolio"]["exits"] > 1, timeout_s=90)
            for panel, query in queries():
                found = partial(asked, address, query)
                run.wait_for(found, timeout_s=60, describe=lambda: (panel, query))  # noqa: B023 - called at once

            rules = json.loads(get(f"{address}/api/v1/rules")[1])["data"]["groups"][0]["rules"]
            assert {rule["health"] for rule in rules} == {"ok"}
            assert get(f"{arbshard}/health/ready")[0] == 200
            run.do("halt", "--flatten")
            run.wait_for(lambda: get(f"{arbshard}/health/ready")[0] == 503)
            assert get(f"{arbshard}/health/live")[0] == 200
            halted = 'ALERTS{alertname="ArbshardHalted", alertstate="firing"}'
            assert run.wait_for(lambda: asked(address, halted), timeout_s=60)

        run.until(lambda status: not status["portfolio"]["open"])  # nothing moves any more
        status, text = run.status(), get(f"{arbshard}/metrics")[1]
        portfolio, money = status["portfolio"], 'currency="KRW"'
        assert sample(text, "arbshard_entries_total") == portfolio["entries"] > 1
        realised = sample(text, f'arbshard_pnl{{{money},part="realised",since="run"}}')
        assert realised == float(portfolio["pnl"])
        assert sample(text, f"arbshard_equity{{{money}}}") == float(status["equity"]["equity"]) == realised
        run.stop()
    assert not run.leftovers()


@pytest.mark.nightly  # what trouble of the process costs is the same when it is killed
def test_a_port_in_use_costs_figures_only(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = SMALL + METRICS.replace("port = 0", f"port = {taken.getsockname()[1]}")
        with Instance(tmp_path, config, name="taken") as run:
            run.start()
            run.until_running()
            status = run.until(lambda status: status["metrics"]["trouble"])
            assert "metrics" in run.alerts()
            assert (status["state"], status["restarts"]) == ("running", 0)
            assert run.stop().code == 0
    assert not run.leftovers()


def test_a_killed_process_costs_figures_only(tmp_path):
    with Instance(tmp_path, SMALL + METRICS, name="killed") as run:
        run.start()
        run.until_running()
        assert sample(get(f"{address_of(run)}/metrics")[1], "arbshard_open_positions") >= 0
        pid = run.kill("metrics")
        run.until_replaced("metrics", pid)
        run.until(lambda status: status["metrics"]["pid"] != pid and status["metrics"]["port"])
        assert get(f"{address_of(run)}/health/live")[0] == 200
        status = run.status()
        assert (status["state"], status["restarts"], status["metrics"]["restarts"]) == ("running", 0, 1)
        assert run.stop().code == 0
    assert not run.leftovers()

"""The desk in a real browser, over a real run: what it shows, what operators do there, and how old values look."""

import json
import os
import signal
from contextlib import contextmanager

import pytest

from support.browser import chromium, opened
from support.instance import SMALL, Instance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed"),
]

WEB = "[web]\nenabled = true\nport = 0\n"
ROWS = "document.querySelectorAll('#grid-space .grid-row:not([hidden])').length"


@contextmanager
def desk(folder, config=SMALL + WEB):
    """A run with its desk, and a browser in front of it."""
    with Instance(folder, config) as run:
        run.start()
        run.until_running()
        url = run.until(lambda status: (status["web"] or {}).get("url"))["web"]["url"]
        with opened(url) as page:
            page.wait_for(f"{ROWS} > 3")
            yield run, page


def sign_in(run, page, person="anna"):
    page.click("#sign")
    page.write("dialog input[name=token]", (run.state / "web-operator.token").read_text().strip())
    page.write("dialog input[name=person]", person)
    page.click("dialog button[type=submit]")
    page.wait_for("!document.querySelector('#actions').hidden")


def signed(amount):
    """An amount as the page writes it."""
    rounded = int(float(amount) + (0.5 if float(amount) >= 0 else -0.5))
    return f"{'+' if rounded > 0 else '−'}{abs(rounded):,}" if rounded else "0"


def tile(page, name):
    return page.text(f"[data-tile={name}] b")


def carry_out(page, plan_holds):
    """Ask what will happen, confirm it, and return the answer."""
    page.click("dialog button[type=submit]")
    page.wait_for("!!document.querySelector('dialog .plan')")
    plan = page.text("dialog .plan")
    assert plan_holds in plan
    page.click("dialog button[type=submit]")
    page.wait_for("!!document.querySelector('dialog .answer, dialog .problem:not([hidden])')")
    answer = page.text("dialog .answer")
    assert answer, page.text("dialog")
    page.click("dialog .buttons button")
    return answer


def test_it_shows_what_status_shows_and_operators_act_there(tmp_path):
    with desk(tmp_path) as (run, page):
        run.until(lambda status: status["portfolio"]["exits"] > 1, timeout_s=90)
        assert page.text("#mode") == "SIMULATED"
        assert page.evaluate("document.title").startswith("SIMULATED · t runs")
        assert page.evaluate("document.querySelector('#icon').href").endswith("/icon-simulated.svg")
        assert page.evaluate("document.querySelector('#actions').hidden")
        refused = page.evaluate(
            "fetch('/api/act', {method: 'POST', body: JSON.stringify({action: 'halt', instance: 't'})})"
            ".then((answer) => answer.status)"
        )
        assert (refused, run.risk_note().halt) == (403, None)

        sign_in(run, page)
        page.click("[data-action=halt]")
        page.click("dialog input[name=flatten]")
        page.write("dialog input[name=reason]", "lunch")
        assert carry_out(page, "Nothing is entered any more until somebody resumes").startswith("halted")
        (halted,) = run.events("Halted")
        assert (halted["reason"], halted["by"]) == ("lunch", "anna, desk at 127.0.0.1")
        page.wait_for("document.querySelector('.health').innerText.includes('t is HALTED')")
        run.until(lambda status: not status["portfolio"]["open"])

        status = run.status()  # nothing moves any more
        shown = json.dumps(signed(status["portfolio"]["pnl"]))
        page.wait_for(f"document.querySelector('[data-tile=pnl] b').innerText === {shown}")
        equity, portfolio, lifetime = status["equity"], status["portfolio"], status["lifetime"]
        assert tile(page, "equity") == signed(equity["equity"])
        assert tile(page, "ledger") == signed(lifetime["pnl"])
        assert tile(page, "today") == signed(-float(equity["day_loss"]))
        assert tile(page, "trades") == f"{portfolio['entries']:,} / {portfolio['exits']:,}"
        assert f"fees {signed(-float(portfolio['fees']))}" in page.text("[data-tile=pnl]")
        assert page.text("[data-limit=portfolio_positions_max] .of") == "0 of 200"
        assert page.text("#pair-count") == f"({len(run.risk_note().entries)})"
        assert page.text("#positions-table") == "No position is open."
        for problem in status["problems"]:
            assert problem["text"] if isinstance(problem, dict) else problem in page.text("#health")

        page.click("[data-action=limits]")
        page.wait_for("!!document.querySelector('dialog select[name=key]')")
        page.evaluate("document.querySelector('dialog select[name=key]').value = 'portfolio_positions_max'")
        page.write("dialog input[name=value]", "150")
        assert "150" in carry_out(page, "portfolio_positions_max of all pairs changes from 200 to 150")
        page.wait_for(
            "document.querySelector('[data-limit=portfolio_positions_max] .of').innerText === '0 of 150'"
        )
        (changed,) = run.events("LimitsChanged")
        assert changed["by"] == "anna, desk at 127.0.0.1"

        page.click("[data-action=resume]")
        assert carry_out(page, "because of: lunch").startswith("resumed")
        page.wait_for("!document.querySelector('.health').innerText.includes('HALTED')")
        base = page.evaluate("document.querySelector('#grid-space .grid-row:not([hidden])').dataset.base")
        page.click("#grid-space .grid-row:not([hidden])")
        page.wait_for("document.querySelectorAll('#detail .book').length === 2")
        assert page.text("#detail h2").startswith(base)
        page.click("[data-action=move]")
        shard = next(pair.shard for pair in run_pairs(run) if pair.base == base)
        page.write("dialog input[name=symbols]", base)
        page.evaluate(f"document.querySelector('dialog input[name=shard]').value = {1 - shard}")
        assert f"move {base} to shard {1 - shard}" in carry_out(
            page, f"{base} (shard {shard}) to shard {1 - shard}"
        )
        run.wait_for(lambda: next(pair.shard for pair in run_pairs(run) if pair.base == base) == 1 - shard)
        assert "anna, desk at 127.0.0.1" in (run.state / "logs" / "supervisor.jsonl").read_text()
        assert [one for one in page.problems if "403" not in one] == []


def run_pairs(run):
    from arbshard.cli.shard_client import fetch_shards

    return fetch_shards(run.files).pairs


def test_a_killed_supervisor_makes_everything_old_at_once(tmp_path):
    with desk(tmp_path) as (run, page):
        beside = run.launch("web", "--name", "t", "--port", "0", "--config", str(run.config))
        out = tmp_path / "out-1.txt"
        url = run.wait_for(lambda: out.read_text().partition("the desk is at ")[2].partition(": ")[0])
        with opened(url) as other:
            other.wait_for(f"{ROWS} > 3")
            assert not page.evaluate("document.documentElement.classList.contains('is-old')")
            os.kill(run.pid, signal.SIGKILL)
            # The desk of the run ends with it, the one beside it says what has become of the run.
            other.wait_for("document.querySelector('.health').innerText.includes('the supervisor vanished')")
            assert other.evaluate("document.documentElement.classList.contains('is-gone')")
            page.wait_for("document.documentElement.classList.contains('is-old')")
            assert "everything below is OLD" in page.text("#old")
            assert page.evaluate("document.title").startswith("OLD · ")
        beside.terminate()
        assert beside.wait(20) == 0


def test_a_stopped_desk_is_seen_though_its_connection_stands(tmp_path):
    with desk(tmp_path) as (run, page):
        web = run.status()["web"]["pid"]
        os.kill(web, signal.SIGSTOP)
        try:
            page.wait_for("!document.querySelector('#old').hidden", timeout_s=60)
        finally:
            os.kill(web, signal.SIGCONT)
        page.wait_for("document.querySelector('#old').hidden", timeout_s=60)


@pytest.mark.nightly  # but for the sums the tests above show the same
def test_two_instances_are_added_up(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    root = {"ARBSHARD_RUN_ROOT": str(tmp_path / "root")}
    with (
        Instance(tmp_path / "a", name="one", environment=root) as one,
        Instance(tmp_path / "b", name="two", environment=root) as two,
    ):
        for run in (one, two):
            run.run_root = tmp_path / "root"
            run.start()
        beside = one.launch(
            "web", "--name", "one", "--name", "two", "--port", "0", "--state-dir", str(tmp_path / "s"),
        )  # fmt: skip
        out = next((tmp_path / "a").glob("out-1.txt"))
        url = one.wait_for(lambda: out.read_text().partition("the desk is at ")[2].partition(": ")[0])
        with opened(url) as page:
            page.wait_for("document.querySelectorAll('#grid-space em').length > 3", timeout_s=90)
            page.wait_for("document.querySelectorAll('.health.good, .health.warn, .health.bad').length === 2")
            page.wait_for("document.querySelector('#pair-count').innerText === '(16)'", timeout_s=60)
            assert page.text("[data-limit=portfolio_positions_max] span").startswith("Open positions (")
            os.kill(two.pid, signal.SIGKILL)
            page.wait_for(
                "document.querySelector('#left-out')?.innerText.startsWith('Without two: not running')"
            )
            page.click("#instances button:last-child")
            page.wait_for("document.querySelector('#pair-count').innerText === '(8)'")
            assert page.text("#health").startswith("one ")
        beside.terminate()
        assert beside.wait(20) == 0

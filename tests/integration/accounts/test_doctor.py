"""The doctor against the embedded exchanges: all well, and each check made to fail by what is really wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbshard.config import SimPermissions
from arbshard.data.listings import find_universe
from arbshard.doctor.checks import examine
from arbshard.doctor.probing import gather_facts
from arbshard.venues.keys import Keys

pytestmark = pytest.mark.integration


async def checks_of(world, config=None, keys=None):
    """(venue, check) → the worst verdict on it."""
    config = config or world.config
    universe = await find_universe(world.config)
    rank = {"ok": 0, "warning": 1, "fail": 2}
    found = {}
    for check in examine(config, await gather_facts(config, universe, keys or world.keys)):
        old = found.get((check.venue, check.name))
        if old is None or rank[check.verdict] > rank[old.verdict]:
            found[check.venue, check.name] = check
    return found


def failed(found):
    return {place for place, check in found.items() if check.verdict == "fail"}


def with_venue(config, venue, **changes):
    settings = replace(config.venues.get(venue), **changes)
    return replace(config, venues=replace(config.venues, **{venue: settings}))


async def test_all_is_well(world):
    found = await checks_of(world)
    assert failed(found) == set()
    assert {place for place, check in found.items() if check.verdict == "warning"} == {
        ("upbit", "no right to withdraw")
    }
    for venue in ("upbit", "binance"):
        names = {name for place, name in found if place == venue}
        assert names >= {
            "REST address", "market data stream", "private stream", "clock", "key", "right to trade",
            "no right to withdraw", "balances", "minimum order", "fees", "rate limit",
        }  # fmt: skip
    assert ("upbit", "ticks") in found


@pytest.mark.parametrize(("venue", "words"), [("upbit", "invalid_access_key"), ("binance", "-2015")])
async def test_a_wrong_key(world, venue, words):
    keys = {**world.keys, venue: Keys(venue, "nobody", "s" * 64)}
    found = await checks_of(world, keys=keys)
    assert failed(found) == {(venue, "key")}
    assert words in found[venue, "key"].found
    assert not any("s" * 8 in check.found for check in found.values())


async def test_a_wrong_secret(world):
    keys = {**world.keys, "binance": Keys("binance", "sim-binance-key", "s" * 64)}
    assert failed(await checks_of(world, keys=keys)) == {("binance", "key")}


async def test_a_key_that_may_withdraw(running):
    async with running(permissions=SimPermissions(can_withdraw=True)) as world:
        assert failed(await checks_of(world)) == {("binance", "no right to withdraw")}


async def test_a_key_that_may_not_trade(running):
    async with running(permissions=SimPermissions(can_trade=False)) as world:
        assert failed(await checks_of(world)) == {("upbit", "right to trade"), ("binance", "right to trade")}


@pytest.mark.parametrize(
    ("accounts", "venue"),
    [
        ({"quote_home": Decimal(1000)}, {"upbit"}),
        ({"quote_away": Decimal(1)}, {"binance"}),
        ({"coins_notional": Decimal(1000)}, {"upbit", "binance"}),
    ],
)
async def test_too_little_money(running, accounts, venue):
    async with running(**accounts) as world:
        assert failed(await checks_of(world)) == {(name, "balances") for name in venue}


@pytest.mark.parametrize("venue", ["upbit", "binance"])
@pytest.mark.parametrize("skew_ms", [8000, -8000])
async def test_a_clock_that_is_off(world, venue, skew_ms):
    await world.keep(venue, clock_skew={"times": 1, "ms_min": 0, "ms_max": 0, "skew_ms": skew_ms})
    assert failed(await checks_of(world)) == {(venue, "clock")}, (
        "we sign with the venue's time, so the rest goes well"
    )


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_fees_that_are_higher_than_configured(world, venue):
    found = await checks_of(world, with_venue(world.config, venue, buy_fee_bps=Decimal(1)))
    assert failed(found) == {(venue, "fees")}
    assert "buy_fee_bps" in found[venue, "fees"].advice


async def test_orders_that_are_too_small(world):
    sizing = replace(world.config.sizing, entry_notional_min=Decimal(3000))
    found = failed(await checks_of(world, replace(world.config, sizing=sizing)))
    assert found == {("upbit", "minimum order"), ("binance", "minimum order")}


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_nobody_there(world, venue):
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        config = with_venue(world.config, venue, rest_url=f"http://{nowhere}", ws_url=f"ws://{nowhere}")
        found = await checks_of(world, config)
    assert failed(found) >= {(venue, "REST address"), (venue, "market data stream")}
    assert nowhere in found[venue, "REST address"].found


async def test_a_name_that_is_none(world):
    config = with_venue(world.config, "upbit", rest_url="https://upbit.invalid")
    found = await checks_of(world, config)
    assert ("upbit", "REST address") in failed(found)


async def test_a_private_stream_that_is_elsewhere(world):
    url = world.config.venues.binance.ws_url
    found = await checks_of(world, with_venue(world.config, "binance", private_ws_url=f"{url}/stream"))
    assert failed(found) == {("binance", "private stream")}


async def test_maintenance(world):
    universe = await find_universe(world.config)  # the listing will be gone, too
    await world.keep("upbit", maintenance={"times": 1, "ms_min": 0, "ms_max": 0})
    checks = examine(world.config, await gather_facts(world.config, universe, world.keys))
    bad = {(check.venue, check.name): check.found for check in checks if check.verdict == "fail"}
    assert "503" in bad["upbit", "REST address"]
    assert ("upbit", "market data stream") in bad


def doctor(*arguments, cwd=None, **environ):
    return subprocess.run(
        [sys.executable, "-m", "arbshard", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=cwd,
        env={**os.environ, **environ},
    )


@pytest.fixture
def config_file(tmp_path):
    def write(text=""):
        path = tmp_path / "config.toml"
        path.write_text(f'name = "doctor-{os.getpid()}"\nmode = "live"\n[sim]\ncoins = 2\n{text}')
        return str(path)

    return write


def test_the_command_and_its_codes(config_file, tmp_path):
    root = {"ARBSHARD_RUN_ROOT": str(tmp_path / "run")}
    well = doctor("--config", config_file(), "--json", **root)
    assert well.returncode == 0, well.stderr
    report = json.loads(well.stdout)
    assert report["ok"] is True
    assert {check["venue"] for check in report["checks"]} == {"upbit", "binance", "machine"}
    secret = "e" * 64
    ill = doctor(
        "--config", config_file(), ARBSHARD_BINANCE_KEY="nobody", ARBSHARD_BINANCE_SECRET=secret, **root
    )
    assert ill.returncode == 1
    assert "FAIL" in ill.stdout
    assert secret not in ill.stdout + ill.stderr
    wrong = doctor("--config", config_file(), ARBSHARD_BINANCE_KEY="nobody", **root)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


def test_nobody_there_is_shown_as_a_table_too(config_file, tmp_path):
    nowhere = 'rest_url = "http://127.0.0.1:9"\nws_url = "ws://127.0.0.1:9"'
    path = config_file(
        f"[venues.upbit]\n{nowhere}\nbuy_fee_bps = 5\nsell_fee_bps = 5\n"
        f"[venues.binance]\n{nowhere}\nbuy_fee_bps = 10\nsell_fee_bps = 10"
    )
    public = tmp_path / "public.toml"
    public.write_text('data = "public"\n' + Path(path).read_text())
    keys = {
        f"ARBSHARD_{venue}_{part}": "x" * 40 for venue in ("UPBIT", "BINANCE") for part in ("KEY", "SECRET")
    }
    found = doctor("--config", str(public), "--json", ARBSHARD_RUN_ROOT=str(tmp_path / "run"), **keys)
    assert found.returncode == 1, found.stderr
    checks = json.loads(found.stdout)["checks"]
    assert {(check["venue"], check["name"]) for check in checks if check["verdict"] == "fail"} == {
        ("upbit", "REST address"),
        ("upbit", "market data stream"),
        ("binance", "REST address"),
        ("binance", "market data stream"),
        ("both", "markets"),
    }


def test_a_live_run_that_is_not_fit_does_not_start(config_file, tmp_path):
    """And leaves nothing behind."""
    arguments = ["--config", config_file("[venues.upbit]\nbuy_fee_bps = 1\nsell_fee_bps = 5"), "--live"]
    arguments += ["--duration", "5", "--state-dir", str(tmp_path / "state")]
    process = subprocess.Popen(
        [sys.executable, "-m", "arbshard", "run", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ARBSHARD_RUN_ROOT": str(tmp_path / "run")},
    )
    try:
        _, words = process.communicate(timeout=50)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    assert process.returncode == 2, words
    assert "upbit fees" in words.splitlines()[-1]
    assert not (tmp_path / "state" / "ledger.sqlite").exists()
    deadline = time.monotonic() + 60
    while (tmp_path / "run").exists() and any((tmp_path / "run").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)

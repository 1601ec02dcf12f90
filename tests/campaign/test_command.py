"""``arbshard campaign list``, ``show`` and the options of the command line."""

import re

import msgspec
import pytest
from typer.testing import CliRunner

from arbshard.campaign.campaign import AttemptLine, CampaignResult, new_folder, remove_old, write_result
from arbshard.campaign.facts import TradingFacts
from arbshard.campaign.file import CampaignFile, KeepConfig, campaign_files, config_of, load_campaign
from arbshard.campaign.verdict import could_not_run
from arbshard.cli import app
from arbshard.cli.campaign import with_options
from arbshard.errors import UsageError
from arbshard.ledger.lock import WriterLock
from arbshard.model.verdict import Verdict

TEXT = """
name = "mine"
about = "one of my own"
duration_s = 90.0
symbols = ["BTC", "ETH"]
shards = 1
[config.sim]
updates_per_s = 4.0
"""
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["campaign", *map(str, arguments)])


def result_of(folder, verdict, name="mine"):
    attempt = AttemptLine(str(folder / "attempt-1"), "", "", 90.0, 3, 3, "12.5")
    return CampaignResult(
        name=name, form="real", began_ms=NOW_MS, took_s=99.0, wanted_s=90.0, ran_s=90.0, folder=str(folder),
        verdict=verdict, attempts=(attempt,), anomalies=(), facts=TradingFacts(entries=3, exits=3),
    )  # fmt: skip


PASSED = Verdict("passed", ("3 entries",), ())
FAILED = Verdict("failed", ("0 positions were opened, 1 are wanted",), ())


def test_list_names_each_campaign_of_the_project_in_one_line():
    lines = run("list").output.splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["S0", "3", "min", "2", "symbols"],
        ["S1", "60", "min", "2", "symbols"],
        ["S2", "360", "min", "3", "symbols"],
        ["S3", "720", "min", "4", "symbols"],
    ]
    abouts = [load_campaign(path).about for path in campaign_files().values()]
    assert all(line.endswith(about) for about, line in zip(abouts, lines, strict=True))


def test_show_says_what_it_does_and_how_its_last_runs_went(file, tmp_path):
    root = tmp_path / "campaigns"
    for at_ms, verdict in (
        (NOW_MS, PASSED),
        (NOW_MS + 60_000, FAILED),
        (NOW_MS + 120_000, could_not_run("no")),
    ):
        with new_folder(root, at_ms, form="real") as folder:
            write_result(folder, result_of(folder, verdict))
    shown = run("show", file, "--state-dir", root)
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[:2] == ["mine: one of my own", "  90 s, BTC, ETH, 1 shards"]
    assert '"updates_per_s": 4.0' in shown.output
    assert [line.strip() for line in lines if line.startswith("  campaign mine: ")] == [
        "campaign mine: could not run: no",
        "campaign mine: failed: 0 positions were opened, 1 are wanted",
        "campaign mine: passed: 3 entries",
    ]


def test_show_wants_a_name_and_a_campaign_wants_only_one(file):
    assert "show: name a campaign" in str(run("show").exception)
    assert "'S1' is one too many" in str(run(file, "S1").exception)


def test_speed_multiplies_the_messages_and_leaves_the_duration():
    given = msgspec.toml.decode(TEXT, type=CampaignFile)
    changed = with_options(given, "mine.toml", None, None, None, 2.5)
    assert config_of(changed, "").sim.updates_per_s == 10.0
    assert changed.virtual.updates_per_s == 2.5 * given.virtual.updates_per_s
    assert (changed.duration_s, changed.symbols) == (90.0, ("BTC", "ETH"))
    assert given.config == {"sim": {"updates_per_s": 4.0}}


def test_speed_without_a_rate_in_the_file_multiplies_the_default():
    given = msgspec.structs.replace(msgspec.toml.decode(TEXT, type=CampaignFile), config={})
    usual = config_of(given, "").sim.updates_per_s
    assert config_of(with_options(given, "", None, None, None, 0.5), "").sim.updates_per_s == usual / 2


def test_duration_symbols_and_shards_of_the_command_line():
    given = msgspec.toml.decode(TEXT, type=CampaignFile)
    changed = with_options(given, "", 5.0, "SOL, XRP,", 2, None)
    assert (changed.duration_s, changed.symbols, changed.shards) == (5.0, ("SOL", "XRP"), 2)


@pytest.mark.parametrize(
    ("options", "more", "why"),
    [
        ((None, None, None, 0.0), "", "--speed 0: must be above 0"),
        ((None, None, None, 101.0), "", "--speed 101: must be above 0"),
        ((None, None, None, 2.0), "PUBLIC", "--speed: the messages of real exchanges come as they come"),
        (
            (-1.0, None, None, None),
            "",
            "options of the command line: duration_s: must be a number above 0",
        ),
        (
            (None, ",", None, None),
            "",
            "options of the command line: symbols: must be a list of at least 1 entry",
        ),
        (
            (None, None, 0, None),
            "",
            "options of the command line: shards: must be a whole number of at least 1",
        ),
        ((None, None, None, 99.0), "", "updates_per_s"),
    ],
)
def test_wrong_options_are_one_line(options, more, why):
    given = msgspec.toml.decode(TEXT, type=CampaignFile)
    if more:
        url = {"ws_url": "wss://x.test", "rest_url": "https://x.test"}
        venues = {"upbit": url, "binance": url}
        given = msgspec.structs.replace(given, config={"data": "public", "venues": venues})
    with pytest.raises(UsageError, match=re.escape(why)):
        with_options(given, "mine.toml", *options)


@pytest.fixture
def kept(tmp_path):
    """Five campaigns, a day apart, the newest one first; the third one failed and the last one was killed."""
    root = tmp_path / "campaigns"
    folders = []
    for age, verdict in enumerate((PASSED, PASSED, FAILED, PASSED, None)):
        with new_folder(root, NOW_MS - age * DAY_MS, form=("real", "virtual")[age % 2]) as folder:
            (folder / "attempt-1").mkdir()
            if verdict is not None:
                write_result(folder, result_of(folder, verdict))
        folders.append(folder)
    (root / "running.json").write_text("{}")
    (root / "notes-real").mkdir()
    (root / "20269999T000000-real").mkdir()
    return root, folders


def left(folders):
    return [folder.exists() for folder in folders]


def remove(kept, **keep):
    root, folders = kept
    lines = list(remove_old(root, folders[0], KeepConfig(**keep), NOW_MS))
    assert {path.name for path in root.iterdir()} >= {"running.json", "notes-real", "20269999T000000-real"}
    return lines


def test_old_campaigns_beyond_the_count_are_removed_and_failed_ones_named(kept):
    lines = remove(kept, count=2)
    assert left(kept[1]) == [True, True, False, False, False]
    assert lines == [
        f"{kept[1][2]} was removed: failed: 0 positions were opened, 1 are wanted; it was 2.0 days old",
        f"{kept[1][4]} was removed: a campaign that was killed, so it has no verdict; it was 4.0 days old",
        "1 old campaigns that had passed were removed ([keep]: 2, 90 days)",
    ]


def test_old_campaigns_beyond_the_age_are_removed(kept):
    remove(kept, days=2.5)
    assert left(kept[1]) == [True, True, True, False, False]


def test_with_room_for_all_nothing_is_removed(kept):
    assert remove(kept, count=5) == []
    assert all(left(kept[1]))


def test_the_newest_one_is_kept_whatever_its_age(kept):
    root, folders = kept
    list(remove_old(root, folders[0], KeepConfig(count=1, days=1.0), NOW_MS + 400 * DAY_MS))
    assert left(folders) == [True, False, False, False, False]


def test_a_campaign_that_goes_on_is_kept(kept):
    with new_folder(kept[0], NOW_MS - 9 * DAY_MS, form="virtual") as running:
        remove(kept, count=1)
        assert running.exists()
    remove(kept, count=1)
    assert not running.exists()


def test_a_campaign_whose_run_goes_on_without_it_is_kept(kept):
    ledger = kept[1][4] / "attempt-1" / "ledger.sqlite"
    ledger.touch()
    lock = WriterLock(ledger)
    try:
        remove(kept, count=1)
    finally:
        lock.release()
    assert left(kept[1]) == [True, False, False, False, True]


def test_a_verdict_of_another_version_is_named_too(kept):
    folder = kept[1][1]
    (folder / "verdict.json").write_text('{"verdict": 3}')
    assert any(
        line.startswith(f"{folder} was removed: its verdict cannot be read") for line in remove(kept, count=1)
    )

"""``arbshard ledger archive``, ``prove``, and the other commands on a ledger with archives, as typed."""

import csv
import gc
import io
import itertools
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta

import pytest

from arbshard.cli import main
from arbshard.errors import UsageError
from arbshard.ledger.archive import folder_of
from arbshard.ledger.backup import back_up, back_up_into
from arbshard.ledger.prove import prove
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.verify import verify
from support import world as w


@pytest.fixture
def world():
    """Two days with a round trip each, and an open position."""
    world = w.World()
    world.round_trip()
    world.now_ms += 86_400_000
    world.round_trip()
    world.open_position("ETH")
    world.stop()
    return world


@pytest.fixture
def ledger(world, tmp_path):
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """(exit code, stdout, stderr) of ``arbshard …`` on the folder's ledger."""

    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["arbshard", *arguments, "--state-dir", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    yield run
    gc.enable()


def test_archive_moves_everything_and_says_where_it_goes_on(world, ledger, call) -> None:
    last = len(world.events)
    code, out, err = call("ledger", "archive")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"{folder_of(ledger)}: events 1 to {last} are archived"
    assert second.startswith(f"{ledger}: goes on from event {last + 1}, ")
    assert verify(ledger).differences == ()


def test_before_a_date_and_keeping_days(world, ledger, call) -> None:
    assert call("ledger", "archive", "--before", "2020-01-01")[1] == (
        f"{ledger}: nothing to archive: no event of its period is so old\n"
    )
    day = world.now_ms - 3_600_000
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(day / 1000, UTC).isoformat()
    assert call("ledger", "archive", "--before", moment)[0] == 0
    with LedgerReader(ledger) as reader:
        assert 1 < reader.first_seq < len(world.events)
    assert call("ledger", "archive", "--keep-days", "0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--before", "soon"), "--before soon: not a date or time such as 2026-11-01"),
        (("--before", "2026-11-01", "--keep-days", "3"), "--before and --keep-days cannot be given together"),
    ],
)
def test_a_mistake_is_one_line(ledger, call, arguments, said) -> None:
    before = ledger.read_bytes()
    code, out, err = call("ledger", "archive", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("command", ["archive", "prove"])
def test_without_a_ledger(call, command) -> None:
    code, _, err = call("ledger", command)
    assert code == 2
    assert "there is no ledger at" in err


def test_prove_prints_a_line_a_link_and_ends_at_the_first_that_is_broken(ledger, call, close_at) -> None:
    middle = close_at(ledger, 20)
    last = close_at(ledger, 30)
    code, out, err = call("ledger", "prove")
    assert (code, err) == (0, "")
    one, two, three = out.splitlines()
    assert one.startswith(f"000001-1-{middle}.jsonl.xz: events 1 to {middle}, digest ")
    assert two.startswith(f"000002-{middle + 1}-{last}.jsonl.xz: events ")
    assert three.startswith("ledger.sqlite: events ")
    assert three.endswith(", open")
    assert max(map(len, out.splitlines())) <= 80
    (folder_of(ledger) / f"000001-1-{middle}.jsonl.xz").unlink()
    code, _, err = call("ledger", "prove")
    assert code == 1
    assert err.count("\n") == 1
    assert f"000001-1-{middle}.jsonl.xz: missing: 000002-" in err


def test_verify_says_what_it_did_not_look_at(ledger, call, close_at) -> None:
    close_at(ledger, 20)
    code, out, _ = call("ledger", "verify")
    assert code == 0
    assert "1 archived periods were not looked at: --archive verifies them too" in out
    code, out, _ = call("ledger", "verify", "--archive")
    assert code == 0
    assert "not looked at" not in out
    assert "000001-1-" in out


def test_info_shows_the_periods(world, ledger, call, close_at) -> None:
    cut = close_at(ledger, 20)
    out = call("ledger", "info")[1]
    assert f"archive        1  events 1 to {cut}, until" in out
    assert f"events      {len(world.events)} (" in out
    told = json.loads(call("ledger", "info", "--json")[1])
    assert (told["archives"], told["periods"][0]["last_seq"], told["events"]) == (1, cut, len(world.events))


def test_exports_and_trades_reach_over_archives(world, ledger, call, close_at) -> None:
    whole = call("ledger", "export", "--what", "fills")[1]
    trades = json.loads(call("trades", "--json")[1])
    close_at(ledger, 20)
    assert call("ledger", "export", "--what", "fills")[1] == whole
    assert len(list(csv.reader(io.StringIO(whole)))) == 11
    assert json.loads(call("trades", "--json")[1]) == trades
    assert len(trades) == 2
    since = trades[0]["closed_ms"] / 1000
    from datetime import UTC, datetime

    newest = call("trades", "--json", "--since", datetime.fromtimestamp(since, UTC).isoformat())[1]
    assert json.loads(newest) == trades[:1]
    code, _, err = call("trades", "--since", "soon")
    assert (code, "--since soon: not a date" in err) == (2, True)


def test_a_backup_takes_the_archives_along(ledger, call, close_at, tmp_path) -> None:
    close_at(ledger, 20)
    close_at(ledger, 30)
    target = tmp_path / "copies" / "monday.sqlite"
    target.parent.mkdir()
    code, out, err = call("ledger", "backup", str(target))
    assert (code, err) == (0, "")
    assert f"{folder_of(target)}: 2 archived periods" in out
    assert [link[1:] for link in prove(target)] == [link[1:] for link in prove(ledger)]
    assert verify(target).differences == ()
    code, _, err = call("ledger", "backup", str(target))
    assert (code, "exists already" in err) == (2, True)
    other = tmp_path / "copies" / "tuesday.sqlite"
    folder_of(other).mkdir()
    code, _, err = call("ledger", "backup", str(other))
    assert (code, "exists already" in err) == (2, True)
    assert not other.exists()


def test_a_backup_of_a_broken_chain_leaves_nothing(ledger, close_at, tmp_path) -> None:
    from arbshard.errors import LedgerError

    close_at(ledger, 20)
    (archive,) = folder_of(ledger).iterdir()
    archive.chmod(0o600)
    spoiled = bytearray(archive.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    archive.write_bytes(spoiled)
    target = tmp_path / "copy.sqlite"
    with pytest.raises(LedgerError):
        back_up(ledger, target)
    assert not target.exists()
    assert not folder_of(target).exists()


class TestSeriesOfBackups:
    """``--into``: named by date, bounded in number, with archives that are linked."""

    NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

    @pytest.fixture
    def folder(self, tmp_path):
        path = tmp_path / "backups"
        path.mkdir()
        return path

    @pytest.fixture
    def daily(self, ledger, folder):
        """Make the backups of so many further days; returns the last."""
        dates = itertools.count()

        def make(days, keep=3):
            for _ in range(days):
                made = back_up_into(ledger, folder, keep, self.NOON + timedelta(days=next(dates)))
            return made

        return make

    def test_the_newest_stay(self, daily, folder):
        last = daily(5)
        assert sorted(path.name for path in folder.iterdir()) == [
            f"ledger-2026110{day}T120000Z.sqlite" for day in (3, 4, 5)
        ]
        assert last.path == folder / "ledger-20261105T120000Z.sqlite"
        assert last.removed == ("ledger-20261102T120000Z",)
        assert verify(last.path).is_clean

    def test_archives_are_copied_once_and_outlive_the_backup_they_were_copied_for(
        self, ledger, close_at, daily, folder
    ):
        close_at(ledger, 20)
        daily(1)
        close_at(ledger, 30)
        last = daily(4, keep=2)
        archives = sorted(folder_of(last.path).iterdir())
        assert [path.stat().st_nlink for path in archives] == [2, 2]
        assert [link[1:] for link in prove(last.path)] == [link[1:] for link in prove(ledger)]
        assert len(list(folder.iterdir())) == 4

    def test_a_damaged_archive_of_the_backup_before_is_told_and_not_linked(
        self, ledger, close_at, daily, folder, call
    ):
        close_at(ledger, 20)
        (archive,) = folder_of(daily(1).path).iterdir()
        archive.chmod(0o600)
        spoiled = bytearray(archive.read_bytes())
        spoiled[len(spoiled) // 2] ^= 1
        archive.write_bytes(spoiled)
        code, _, err = call("ledger", "backup", "--into", str(folder))
        assert code == 0
        assert err.startswith(f"arbshard: the backup before is damaged: {archive}: ")
        (new,) = (path for path in folder.glob("*.sqlite") if "20261101" not in path.name)
        assert prove(new)

    def test_what_is_not_ours_stays_and_what_was_cut_off_goes(self, daily, folder):
        for name in ("ledger.sqlite", "ledger-20261101.sqlite", "notes.txt"):
            (folder / name).write_text("mine")
        (folder / ".ledger-20261001T120000Z.sqlite.partial").write_text("cut off")
        (folder / "ledger-20261001T120000Z.archive").mkdir()
        (folder / "ledger-20261101T110000Z.archive").mkdir()
        assert daily(1).removed == ("ledger-20261001T120000Z",)
        assert {path.name for path in folder.iterdir()} == {
            "ledger.sqlite",
            "ledger-20261101.sqlite",
            "notes.txt",
            "ledger-20261101T110000Z.archive",
            "ledger-20261101T120000Z.sqlite",
        }

    def test_a_failure_removes_nothing(self, daily, folder, monkeypatch):
        daily(2)
        before = sorted(folder.iterdir())
        usage = shutil.disk_usage(folder)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
        with pytest.raises(UsageError, match="1 MB are free on its disk and 200 MB are needed"):
            daily(3, keep=1)
        assert sorted(folder.iterdir()) == before

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "name either a new FILE or a folder with --into"),
            (("copy.sqlite", "--into", "."), "name either a new FILE or a folder with --into"),
            (("--into", "/no/such/place"), "/no/such/place: no such directory"),
        ],
    )
    def test_bad_arguments(self, ledger, call, arguments, said):
        code, out, err = call("ledger", "backup", *arguments)
        assert (code, out, err) == (2, "", f"arbshard: {said}\n")

"""Results on the disk: what was added is there again, whatever happened meanwhile."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.sweep import tasks as sweep_tasks
from arbshard.sweep.parts import cut
from arbshard.sweep.store import SweepRequest, opened, stored_request
from arbshard.sweep.tasks import failed, run_sent_task, run_task, source_digest, task_of
from support.sweep_rig import formula, troubled, write_tape

pytestmark = pytest.mark.needs("tape")


@pytest.fixture
def task(tmp_path):
    tape = write_tape(tmp_path / "tape")
    part = cut(tape, 2)[1]
    return task_of(tape, part, Config(), {"strategy.entry_bps": "30"}, 0)


def test_a_result_is_read_as_it_was_added(task, tmp_path):
    result = run_task(task, formula)._replace(pnl=Decimal("-123456789.123456789"))
    with opened(tmp_path / "out") as store:
        store.add(result)
    with opened(tmp_path / "out") as store:
        assert store.results == {task.key: result}
        assert not list(store.work_dir.iterdir())
    assert not (tmp_path / "out" / "work").exists()


def test_the_newest_result_of_a_task_counts(task, tmp_path):
    for result in (failed(task, "no room", 1.0), run_task(task, formula)):
        with opened(tmp_path / "out") as store:
            store.add(result)
    with opened(tmp_path / "out") as store:
        assert store.results[task.key].failure == ""


def test_what_a_kill_left_half_written_is_no_result(task, tmp_path):
    with opened(tmp_path / "out") as store:
        store.add(run_task(task, formula))
    (tmp_path / "out" / "results" / "00000000000000000001.partial").write_bytes(b"PAR1")
    with opened(tmp_path / "out") as store:
        assert len(store.results) == 1


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "1.parquet").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match=r"1\.parquet: cannot be read: .*remove it"), opened(tmp_path):
        pass


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    with (
        opened(tmp_path),
        pytest.raises(UsageError, match="another sweep is using it"),
        opened(tmp_path),
    ):
        pass


def test_a_full_disk_is_said_and_what_was_written_stays(task, tmp_path, small_disk, fill):
    folder = small_disk(1)
    with opened(folder) as store:
        store.add(run_task(task, formula))
        store.flush()
        taken = fill(folder)
        store.add(run_task(task._replace(delay_frames=1), formula))
        with pytest.raises(UsageError, match="results cannot be written: No space left"):
            store.flush()
        taken.unlink()
    with opened(folder) as store:
        assert len(store.results) == 2


def test_a_request_is_kept(tmp_path):
    request = SweepRequest(tape="/t", grid=("a=1",), search="random", trials=3, parts=(), seed=9)
    with opened(tmp_path) as store:
        store.keep_request(request)
    assert stored_request(tmp_path).grid == ("a=1",)
    with pytest.raises(UsageError, match="there is no sweep in"):
        stored_request(tmp_path / "other")


def test_a_task_is_known_by_tape_part_configuration_and_delay(task, tmp_path):
    part = replace(task.part, digest="other")
    config = replace(task.config, name="desk", state_dir="/elsewhere")
    changed = replace(config, strategy=replace(config.strategy, entry_bps=31.0))

    def key(part=task.part, config=task.config, delay=0):
        return task_of(tmp_path, part, config, {}, delay).key

    assert key() == task.key
    assert key(config=config) == task.key
    assert len({task.key, key(part=part), key(config=changed), key(delay=1)}) == 4


@pytest.mark.parametrize(
    ("entry_bps", "why"),
    [(32.0, "this part cannot be used"), (33.0, "ZeroDivisionError: by nothing (sweep_rig.py")],
)
def test_what_goes_wrong_in_a_task_is_its_result(task, entry_bps, why, tmp_path):
    config = replace(task.config, strategy=replace(task.config.strategy, entry_bps=entry_bps))
    found = run_task(task._replace(config=config), troubled, str(tmp_path))
    assert found.failure.startswith(why)
    assert [one.name for one in tmp_path.iterdir()] == ["tape"]


def test_another_tape_or_program_is_refused(task):
    part = replace(task.part, digest="0" * 32)
    assert "is not the tape that the sweep began with" in run_task(task._replace(part=part), formula).failure
    assert "the sweep needs 9.9" in run_task(task._replace(version="9.9"), formula).failure


def test_a_task_that_was_sent_has_the_result_that_it_has_here(task):
    found = run_sent_task(msgspec.json.encode(task), source_digest(), formula)
    assert found._replace(took_s=0.0) == run_task(task, formula)._replace(took_s=0.0)


def test_other_code_refuses_a_task_before_it_reads_it():
    """Its configuration may have other keys, and the complaint about them would hide the cause."""
    refusal = run_sent_task(b"a task of another version", "0123456789abcdef", formula)
    assert isinstance(refusal, str)
    assert f"source {source_digest()}" in refusal
    assert "the machine that began the sweep (source 0123456789abcdef)" in refusal
    assert "\n" not in refusal


def test_the_digest_of_the_source_is_that_of_every_file(tmp_path, monkeypatch):
    def digest_with(text):
        for name in ("arbshard/sweep", "supervisor"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "supervisor" / "run.py").write_text(text)
        monkeypatch.setattr(sweep_tasks, "__file__", str(tmp_path / "arbshard/sweep/tasks.py"))
        return source_digest.__wrapped__()

    assert digest_with("a = 1") == digest_with("a = 1")
    assert digest_with("a = 1") != digest_with("a = 2")
    monkeypatch.undo()
    assert Path(sweep_tasks.__file__).is_file()
    assert source_digest() == source_digest.__wrapped__()

"""Which files of a run directory are ours to remove."""

from pathlib import Path

import pytest

from arbshard.model.rundir import RunFiles, is_own_name
from arbshard.shm.doorbell import ShardFiles


def test_every_file_that_a_run_names_is_its_own():
    files = RunFiles(Path("/run"))
    shard = ShardFiles(files.dir, 12)
    paths = [value for key, value in vars(files).items() if key != "dir"]
    paths += [files.worker_page(12), *vars(shard).values(), files.dir / "budget-accounts"]
    endpoints = [
        getattr(files, name) for name, value in vars(RunFiles).items() if isinstance(value, property)
    ]
    assert len(endpoints) >= 5
    names = [path.name for path in paths] + [Path(endpoint).name for endpoint in endpoints]
    assert [name for name in names if not is_own_name(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "page-risk.former",
        "page-worker-3.former",
        ".page-risk.former.4711",
        "budget-worker-3",
        "sim-ca.pem",
        ".books.k3_x9a2b",
        ".universe.json.4711",
        ".page-worker-3.aaaaaaaa",
    ],
)
def test_unfinished_and_numbered_files_are_own(name):
    assert is_own_name(name)


@pytest.mark.parametrize(
    "name",
    ["thesis.txt", "ledger.sqlite", "ledger.sqlite-wal", "logs", ".bashrc", "books.txt", "ring-", "ring-a", "ring-1x",
     "page-", "xlock", "thesis.former", "page-.former",
     ".thesis.txt.4711", "..", ".books.A B", "lock", "page-worker-1\n"],
)  # fmt: skip
def test_files_of_others_are_not(name):
    assert not is_own_name(name)

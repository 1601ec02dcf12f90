"""The options by which CI makes sure that nothing is skipped, and that it is the wheel which is tested."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TESTS = Path(__file__).parent
EXAMPLES = """
import os, sys
import pytest

def test_that_bytecode_is_written():
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
    assert not sys.dont_write_bytecode

@pytest.mark.needs("nothing")
def test_that_needs_what_nobody_has():
    raise AssertionError("it must not run")

@pytest.mark.needs("json")
def test_that_needs_what_is_there():
    pass
"""


@pytest.fixture
def outcome(tmp_path):
    """Runs three examples below a copy of ``conftest.py``: exit code, and what was printed."""
    known = 'EXTRAS = {"nothing": "no_such_library", "json": "json"}\n'
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text() + known)
    (tmp_path / "test_examples.py").write_text(EXAMPLES)
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)

    def run(*options):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "-p",
            "no:cacheprovider",
            *options,
            "test_examples.py",
        ]
        # The run against the wheel has this set, and what is tested here is what happens without it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        environment["PYTHONPATH"] = str(TESTS)  # where the copy of conftest.py finds its helpers
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # as in many containers
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_missing_extra_is_named(outcome):
    code, said = outcome()
    assert code == 0, said
    assert "2 passed, 1 skipped" in said
    assert "the extra 'nothing' is not installed" in said


@pytest.mark.parametrize("workers", ["0", "1"])
def test_no_skips(outcome, workers):
    code, said = outcome("--no-skips", "-n", workers)
    assert code == 1, said
    assert "--no-skips: 1 skipped, the first is test_examples.py::test_that_needs_what_nobody_has" in said


def test_packages_that_are_not_installed_are_refused(outcome, tmp_path):
    """A folder of that name in the working directory, as the checkout has it, stands before the wheel."""
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor" / "__init__.py").write_text("")
    code, said = outcome("--installed")
    assert code == 4, said
    assert "--installed: " in said
    assert " is not below " in said

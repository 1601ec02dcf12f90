"""``scripts/check_subject.py``: which commit messages are accepted, and that the hooks need no download."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_subject.py"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_subject", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.find_fault


@pytest.mark.parametrize(
    "message",
    [
        "Add a limit for open intents",
        "A" * 65,
        "Add a limit\n\nBecause one was missing.\n# a comment of git",
        "# a comment of git\nAdd a limit\n",
        'Revert "Add a limit for open intents that has a very long subject indeed"',
        "fixup! Add a limit",
    ],
)
def test_accepts(check, message):
    assert check(message) is None


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("A" * 66, "the subject has 66 characters"),
        ("add a limit", "starts with a capital letter"),
        ("Add a limit.", "ends without a full stop"),
        ("Add a limit\nBecause one was missing.", "an empty line"),
        ("", "is empty"),
        ("\nAdd a limit", "is empty"),
        ("# only a comment", "is empty"),
    ],
)
def test_refuses_in_one_sentence(check, message, fault):
    found = check(message)
    assert fault in found
    assert "\n" not in found


def test_the_program_has_exit_codes(tmp_path):
    message = tmp_path / "COMMIT_EDITMSG"
    for text, code in (("Add a limit\n", 0), ("add\n", 1)):
        message.write_text(text)
        done = subprocess.run(
            [sys.executable, SCRIPT, message], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (code, code)


def test_every_hook_is_local_and_runs_from_the_virtual_environment():
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert "://" not in text
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    hooks = re.findall(r"- id: (\S+)", text)
    assert len(hooks) >= 6
    assert re.findall(r"language: (\S+)", text) == ["system"] * len(hooks)
    assert all(entry.startswith(".venv/bin/") for entry in re.findall(r"entry: (\S+)", text))

"""What the texts tell people to install: pinned files and this checkout, never our name from an index."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = (
    "README.md",
    "Makefile",
    "docs",
    "configs",
    "examples",
    "scripts",
    "arbshard",
    "supervisor",
    "perf",
    "tests",
)
KINDS = {".md", ".toml", ".py", ".sh", ".cfg", ".txt", ".example", ""}
NAMED = re.compile(r"pip3? install[^\n]*\barbshard\b")


def texts():
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and file.suffix in KINDS:
                yield file, file.read_text(encoding="utf-8", errors="replace")


PIP = "pip"
"""Apart from the rest of the line, so that this file itself has no such line."""


@pytest.mark.parametrize("line", [f"{PIP} install 'arbshard[live]'", f"{PIP}3 install -U arbshard==1"])
def test_the_pattern_finds_what_it_should(line):
    assert NAMED.search(line)


def test_no_text_installs_our_name_from_an_index():
    found = [
        f"{path.relative_to(ROOT)}: {NAMED.search(text)[0]}" for path, text in texts() if NAMED.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "name",
    ["requirements.lock", "requirements-live.lock", "requirements-ray.lock", "requirements-service.lock"],
)
def test_every_pin_has_hashes_and_no_file_names_an_index(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--index|--extra-index|--find-links", text)
    pins = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^#.*\n", "", text).strip(), flags=re.IGNORECASE)
    assert len(pins) > 30
    for pin in pins:
        assert re.match(r"[\w.-]+==[\w.+]+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_the_live_pins_are_those_of_the_tests_and_hold_all_that_is_needed():
    def pins(name):
        return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", (ROOT / name).read_text(), re.MULTILINE))

    full, live = pins("requirements.lock"), pins("requirements-live.lock")
    assert {name: full.get(name) for name in live} == live
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["live"], *extras["fast"], "setuptools", "wheel"]
    assert {re.match(r"[\w.-]+", one)[0].lower() for one in needed} <= live.keys()
    assert "pytest" not in live
    service = pins("requirements-service.lock")
    assert {name: full.get(name) for name in service} == service
    assert live.items() <= service.items()
    needed = [*extras["metrics"], *extras["analysis"], *extras["alerts"]]
    assert {re.match(r"[\w.-]+", one)[0].lower() for one in needed} <= service.keys()
    assert "pytest" not in service


def test_each_test_that_is_run_against_the_wheel_exists():
    listed = runpy.run_path(str(ROOT / "scripts" / "test_wheel.py"))["TESTS"]
    for name in listed:
        path, _, function = name.partition("::")
        file = ROOT / "tests" / path
        assert file.exists(), name
        assert not function or re.search(rf"^(async )?def {function}\(", file.read_text(), re.MULTILINE), name

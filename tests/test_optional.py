"""What is said where a library is missing."""

import re
import tomllib
from pathlib import Path

import pytest

from arbshard.errors import UsageError
from arbshard.optional import how_to_install, require_libraries

ROOT = Path(__file__).parent.parent


def test_all_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(
        "arbshard.optional.find_spec", lambda name: None if name in {"numpy", "nats"} else name
    )
    with pytest.raises(UsageError) as raised:
        require_libraries("it", "pyarrow", "numpy", "nats")
    assert str(raised.value) == "it needs numpy and nats, which are not installed: pip install numpy nats-py"


def test_what_is_to_be_installed_is_the_package_of_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {re.split(r"[^A-Za-z0-9-]", one)[0] for listed in extras.values() for one in listed}
    calls = re.findall(
        r"require_libraries\(([^)]*)\)", "".join(path.read_text() for path in ROOT.glob("arbshard/**/*.py"))
    )
    libraries = {name for call in calls for name in re.findall(r', "([a-z]+)"', call)}
    assert {"telegram", "nats", "pyarrow"} <= libraries
    for library in libraries:
        assert how_to_install(library).removeprefix("pip install ") in packages, library

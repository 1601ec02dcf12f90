"""``import arbshard``: its names, that it is cheap, and that docs and examples use nothing else."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import arbshard
from arbshard import api

ROOT = Path(__file__).resolve().parent.parent


def test_every_public_name_can_be_imported():
    for name in api.__all__:
        assert getattr(arbshard, name) is getattr(api, name)
    assert arbshard.__all__ is api.__all__
    assert list(api.__all__) == sorted(api.__all__)


def test_everything_that_api_imports_is_public():
    tree = ast.parse(Path(api.__file__).read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(api.__all__)


def test_other_names_are_refused():
    for name in ("Nope", "_private", "import_module"):
        with pytest.raises(AttributeError, match="'arbshard' has no attribute"):
            getattr(arbshard, name)
    with pytest.raises(ImportError, match="Nope"):
        exec("from arbshard import Nope")


def loaded_after(code: str) -> set[str]:
    """The modules that a new interpreter has imported after ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code", ["import arbshard", "from arbshard import sharding", "import arbshard.version"]
)
def test_importing_the_package_imports_nothing_heavy(code):
    assert not loaded_after(code) & {
        "arbshard.api",
        "arbshard.runner",
        "asyncio",
        "msgspec",
        "aiohttp",
        "sqlite3",
    }


def test_a_star_import_brings_the_public_names():
    code = "from arbshard import *; sys.modules.update({f'has_{name}': sys for name in dir()})"
    assert {f"has_{name}" for name in api.__all__} <= loaded_after(code)


PYTHON = [*sorted((ROOT / "examples").glob("*.py")), ROOT / "docs" / "library.md"]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_examples_and_docs_import_public_names_only(path):
    text = path.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]
    found = [
        (node.module, alias.name)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "arbshard"
        for alias in node.names
    ]
    assert found
    assert [(module, name) for module, name in found if module != "arbshard" or name not in api.__all__] == []


def test_the_page_lists_every_public_name():
    section = (ROOT / "docs" / "library.md").read_text().partition("## The public API")[2]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(api.__all__)

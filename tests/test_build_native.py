"""``make setup`` compiles the twin where it can, and otherwise says what is missing and tries again next time."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPILER = """
import sys
from pathlib import Path
assert any(option.startswith("-DSOURCE_CRC=") for option in sys.argv), sys.argv
Path(sys.argv[-1]).write_text("built")
"""


@pytest.fixture
def tree(tmp_path):
    for name in ("scripts/build_native.py", "arbshard/_native.c"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "compiler.py").write_text(COMPILER)
    return tmp_path


def build(tree, compiler):
    return subprocess.run(
        [sys.executable, tree / "scripts/build_native.py", tree / "stamp"],
        env={"CC": compiler},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


def test_a_compiler_that_is_installed_later_is_used_the_next_time(tree):
    twin = tree / f"arbshard/_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    twin.write_text("older")
    done = build(tree, str(tree / "no-compiler"))
    assert done.stdout.startswith("the hot path is not compiled, so a message costs more CPU: ")
    assert done.stdout.count("\n") == 1
    assert not (tree / "stamp").exists()
    assert not twin.exists()
    done = build(tree, f"{sys.executable} {tree / 'compiler.py'}")
    assert done.stdout == ""
    assert (tree / "stamp").exists()
    assert twin.read_text() == "built"
    assert {path.name for path in (tree / "arbshard").iterdir()} == {"_native.c", twin.name}

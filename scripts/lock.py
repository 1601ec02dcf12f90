"""Pin every dependency, with hashes, into the lock files; they name no package index.

Run through ``make lock``. The resolution is universal: one file serves every platform and Python >= 3.11,
and both ``pip install --require-hashes`` and ``uv pip install --require-hashes`` accept it.
"""

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FULL, LIVE = ROOT / "requirements.lock", ROOT / "requirements-live.lock"
HEADERS = {
    FULL: "# Made by `make lock` from pyproject.toml: what arbshard runs on and is tested with.\n",
    LIVE: "# Made by `make lock` from pyproject.toml: what arbshard needs to send real orders (docs/live.md).\n",
}


def main() -> int:
    """Write both files; returns the resolver's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    # Building arbshard itself must fetch nothing that is not pinned.
    base = [*project["build-system"]["requires"], "wheel", *project["project"]["dependencies"]]
    code = _lock(FULL, [*base, *extras["dev"]], ())
    # The same versions as in the tests: what is pinned there constrains what is pinned here.
    return code or _lock(LIVE, [*base, *extras["live"], *extras["fast"]], ("--constraints", str(FULL)))


def _lock(target: Path, wanted: Sequence[str], more: Sequence[str]) -> int:
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
    ]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", *more, "-"]
    made = subprocess.run(
        command, input="\n".join(wanted), capture_output=True, text=True, check=False, timeout=300
    )
    if made.returncode:
        sys.stderr.write(made.stderr)
        return made.returncode
    target.write_text(HEADERS[target] + made.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

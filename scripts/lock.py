"""Pin every dependency, with hashes, into requirements.lock; the file names no package index.

Run through ``make lock``. The resolution is universal: one file serves every platform and Python >= 3.11,
and both ``pip install --require-hashes`` and ``uv pip install --require-hashes`` accept it.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = "# Made by `make lock` from pyproject.toml: what arbshard runs on and is tested with.\n"


def main() -> int:
    """Write requirements.lock; returns the resolver's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        "wheel",
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
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
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "-"]
    made = subprocess.run(
        command, input="\n".join(wanted), capture_output=True, text=True, check=False, timeout=300
    )
    if made.returncode:
        sys.stderr.write(made.stderr)
        return made.returncode
    LOCK.write_text(HEADER + made.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

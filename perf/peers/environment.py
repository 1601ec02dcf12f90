"""Makes an environment for each peer, once, below ``perf/out/peers``. ``run`` and ``backtest`` use it."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PLACE = _HERE.parent / "out" / "peers"
_TIMEOUT_S = 400.0


class PeerUnavailable(Exception):
    """The peer cannot be measured here; the message says why."""


def ensure_environment(name: str, oldest: tuple[int, int] = (3, 11)) -> Path:
    """Return the interpreter of the peer's environment. Raises ``PeerUnavailable``.

    ``oldest`` is the oldest version of Python that the peer supports.
    """
    return environment_of(name, _HERE / f"requirements-{name}.txt", _PLACE / name, interpreter_of(oldest))


def interpreter_of(oldest: tuple[int, int]) -> str:
    """Return the interpreter that makes an environment for this or a later Python; empty for this one.

    Raises ``PeerUnavailable``.
    """
    if oldest <= sys.version_info[:2]:
        return ""
    names = [f"python3.{minor}" for minor in range(oldest[1], oldest[1] + 3)]
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/*/bin")]
    for path in (folder / name for name in names for folder in folders):
        if path.is_file():
            # A program of pyenv on the search path may exist and not work.
            tried = subprocess.run([str(path), "-c", ""], capture_output=True, timeout=60, check=False)
            if not tried.returncode:
                return str(path)
    raise PeerUnavailable(f"needs {' or '.join(names)}, and none of them was found")


def environment_of(name: str, requirements: Path, place: Path, maker: str = "") -> Path:
    """Return the interpreter of the environment at ``place``. Raises ``PeerUnavailable``.

    The environment is made when it is missing or its requirements have changed. ``maker`` is the
    interpreter that makes it; the current one when it is empty.
    """
    wanted = hashlib.blake2b(requirements.read_bytes() + sys.version.encode(), digest_size=8).hexdigest()
    python, made = place / "bin" / "python", place / "made"
    if python.exists() and made.exists() and made.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    print(f"making an environment for {name} (once) ...", file=sys.stderr, flush=True)
    _run([maker or sys.executable, "-m", "venv", str(place)], name)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    _run([str(python), *install, "-r", str(requirements)], name)
    made.write_text(wanted)
    return python


def _run(command: list[str], name: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{name} could not be installed within {_TIMEOUT_S:g} s") from error
    if ended.returncode:
        errors = [line for line in ended.stderr.strip().splitlines() if "WARNING" not in line]
        raise PeerUnavailable(f"{name} could not be installed: {errors[-1] if errors else ended.returncode}")

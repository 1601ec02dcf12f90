"""Build the wheel, install it without extras into an environment of its own, and run tests against it.

Run through ``make test-wheel``. It takes the way of a person who installs arbshard with nothing optional: no ccxt, no
picows. The versions are those of requirements.lock; trustme is installed as a tool of the tests, so that TLS is tried
here too. Tests that need an extra are skipped and name it.

Only what depends on the installation is run again: that every module can be imported, the rooms that use an extra or
do without it, and from the command line a few whole runs, TLS, streams and the library.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from os import environ
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "test_imports.py",
    "test_options.py",
    "accounts",
    "cli",
    "data",
    "doctor",
    "exchanges/binance/test_signing.py",
    "exchanges/test_tls.py",
    "exchanges/upbit/test_params.py",
    "execution/live",
    "runner",
    "venues",
    "integration/accounts/test_doctor.py",
    "integration/network/test_proxy.py",
    "integration/network/test_redirects.py",
    "integration/network/test_runs.py::test_with_tls_it_trades",
    "integration/network/test_runs.py::test_public_feeds_that_the_system_trusts",
    "integration/network/test_tls.py",
    "integration/test_library.py",
    "integration/test_run.py::test_a_run_enters_exits_and_leaves_nothing_behind",
    "integration/test_run.py::test_bad_input_is_one_line_and_exit_code_2",
    "integration/test_run.py::test_status_shows_a_healthy_run_a_second_one_is_refused_and_stop_ends_it",
    "integration/test_sim_exchanges.py",
    "integration/test_stream.py",
)
PIPX = "pipx==1.18.4"
PROCESS_MANAGER = "supervisor==4.3.0"
"""Another package of PyPI that is called ``supervisor``."""
_TIMEOUT_S = 3000.0


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code of the tests. ``arguments`` are handed to pytest."""
    with tempfile.TemporaryDirectory(prefix="arbshard-wheel-") as folder:
        work = Path(folder)
        wheel = _build(work)
        python = _install(work, wheel)
        tests = [f"{ROOT}/tests/{name}" for name in TESTS]
        command = [python, "-m", "pytest", "-c", f"{ROOT}/pyproject.toml", f"--rootdir={ROOT}", "--installed"]
        # The checkout may not be on the path, its folder of tests must be.
        command += [
            "--override-ini",
            f"pythonpath={ROOT}/tests",
            "-rs",
            "-p",
            "no:cacheprovider",
            *arguments,
            *map(str, tests),
        ]
        # Neither the folder that Python is started in nor that of a script may come before the installed wheel.
        code = subprocess.run(
            command, cwd=work, env={**environ, "PYTHONSAFEPATH": "1"}, check=False, timeout=_TIMEOUT_S
        ).returncode
        if code == 0:
            _try_pipx(work, wheel, python)
            _try_beside_the_process_manager(python)
        return code


def _try_pipx(work: Path, wheel: Path, python: str) -> None:
    """Install the wheel with pipx, trade for some seconds, and add an optional library. Raises ``SystemExit``."""
    _install_into(python, PIPX)
    home = work / "pipx"
    environment = {
        **environ,
        "PIPX_HOME": str(home),
        "PIPX_BIN_DIR": str(home / "bin"),
        "PIPX_MAN_DIR": str(home / "man"),
        "PIP_CONSTRAINT": str(work / "constraints.txt"),
        "UV_CONSTRAINT": str(work / "constraints.txt"),
        "ARBSHARD_RUN_ROOT": str(work / "run"),
        "ARBSHARD__STATE_DIR": str(work / "state"),
        "ARBSHARD__METRICS__ENABLED": "true",
        "ARBSHARD__METRICS__PORT": "0",
    }

    def call(*command: str) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=work, env=environment, check=False, timeout=900, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    arbshard = str(home / "bin" / "arbshard")
    pipx = (python, "-m", "pipx")
    _expect("pipx installs the wheel", call(*pipx, "install", str(wheel)), 0, "arbshard")
    run = (arbshard, "run", "--duration", "3", "--symbols", "BTC,ETH")
    _expect("metrics need their library", call(*run), 2, "prometheus_client")
    _expect("pipx adds it", call(*pipx, "inject", "arbshard", "prometheus-client"), 0, "prometheus-client")
    _expect("a run of pipx trades", call(*run), 0, "receive → decision")


def _try_beside_the_process_manager(python: str) -> None:
    """Install PyPI's process manager over arbshard: a command says so in one line. Raises ``SystemExit``."""
    _install_into(python, PROCESS_MANAGER)
    done = subprocess.run(
        [python, "-m", "arbshard", "status"], check=False, timeout=60, capture_output=True, text=True, cwd="/"
    )
    _expect("the other 'supervisor' is named", (done.returncode, done.stderr), 2, "PyPI's process manager")
    if done.stderr.count("\n") != 1:
        raise SystemExit(f"more than one line: {done.stderr}")


def _expect(what: str, found: tuple[int, str], code: int, said: str) -> None:
    """Raise ``SystemExit`` unless a command ended with ``code`` and printed ``said``."""
    if found[0] != code or said not in found[1]:
        raise SystemExit(
            f"FAILED: {what}: exit code {found[0]}, not {code}, or no '{said}' in: {found[1][-2000:]}"
        )
    print(f"passed: {what}")


def _install_into(python: str, package: str) -> None:
    """Install a tool beside the wheel. Raises ``subprocess.CalledProcessError``."""
    command = ["uv", "pip", "install", "--quiet", "--python", python]
    if not _has_uv():
        command = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, package], check=True, timeout=300)


def _build(work: Path) -> Path:
    """Build the wheel of a copy: setuptools would also pack what an earlier build left in the checkout."""
    source = work / "source"
    for name in ("arbshard", "supervisor", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    if _has_uv():
        command = ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
        command += ["--out-dir", str(work), str(source)]
    else:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--wheel-dir", str(work), str(source)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = work.glob("arbshard-*.whl")
    return wheel


def _install(work: Path, wheel: Path) -> str:
    """Make an environment with the wheel, its dependencies and the tools of tests; return its interpreter."""
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    constraints = work / "constraints.txt"
    constraints.write_text("\n".join(pin.strip() for pin in pins) + "\n")
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    tools = [one for one in dev if one.startswith(("pytest", "hypothesis", "trustme"))]
    place = work / "venv"
    python = str(place / "bin" / "python")
    if _has_uv():
        subprocess.run(
            ["uv", "venv", "--quiet", "--python", sys.executable, str(place)], check=True, timeout=120
        )
        command = ["uv", "pip", "install", "--quiet", "--python", python]
    else:
        venv.create(place, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, "--constraint", str(constraints), str(wheel), *tools], check=True, timeout=900)
    return python


def _has_uv() -> bool:
    """Return whether uv is installed; ``setup_env.sh`` decides by the same."""
    return shutil.which("uv") is not None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

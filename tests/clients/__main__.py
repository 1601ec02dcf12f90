"""`make clients`: public client libraries against `arbshard exchanges` and `arbshard replay`, each in an environment
of its own, made from the package index once and kept below ``tests/clients/out``.

Each client's script loads markets, reads books, trades, candles and tickers by REST and streams, and places, asks for
and cancels orders. One table says how many steps were well; the exit code is 1 when any failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from arbshard.config import SimConfig
from perf.peers.environment import PeerUnavailable, environment_of, interpreter_of
from tests.clients.tape import write_tape

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVERS = ("exchanges", "replay")
COINS = 6
_READY_S = 60.0
_CLIENT_S = 900.0


class Client(NamedTuple):
    """A library and its script."""

    name: str
    needs_ed25519: bool = False
    python: tuple[int, int] = (3, 11)
    """The oldest Python that it runs on."""


CLIENTS = (
    Client("ccxt"),
    Client("python_binance"),
    Client("binance_sdk"),
    Client("upbit_sdk"),
    Client("cryptofeed"),
    Client("nautilus", needs_ed25519=True, python=(3, 12)),
)


class Outcome(NamedTuple):
    """How a client did against one server."""

    client: str
    server: str
    passed: int
    failed: dict[str, str]
    """What went wrong, by step."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the clients; the exit code."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__.partition("\n\n")[0])
    names = [client.name for client in CLIENTS]
    parser.add_argument("--clients", nargs="+", choices=names, default=names, metavar="CLIENT")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS, metavar="SERVER")
    asked = parser.parse_args(arguments)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="arbshard-clients-") as place:
        folder = Path(place)
        if "replay" in asked.servers:
            write_tape(folder / "tape", COINS)
        for client in CLIENTS:
            if client.name not in asked.clients:
                continue
            try:
                requirements = HERE / f"requirements-{client.name}.txt"
                python = environment_of(
                    client.name, requirements, HERE / "out" / client.name, interpreter_of(client.python)
                )
            except PeerUnavailable as error:
                outcomes.append(Outcome(client.name, "-", 0, {"installation": str(error)}))
                continue
            for server in asked.servers:
                outcomes.append(_run(client, server, python, folder))
                print(_line(outcomes[-1]), file=sys.stderr, flush=True)
    _show(outcomes)
    return 1 if any(one.failed for one in outcomes) else 0


def _run(client: Client, server: str, python: Path, folder: Path) -> Outcome:
    passed, failed = 0, dict[str, str]()
    with (
        (folder / f"{client.name}-{server}.txt").open("w+") as errors,
        _served(server, client, folder) as given,
    ):
        command = [str(python), str(HERE / f"{client.name}_client.py")]
        try:
            ended = subprocess.run(
                command, input=json.dumps(given), stdout=subprocess.PIPE, stderr=errors, text=True,
                timeout=_CLIENT_S, check=False, cwd=folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            printed, end = _text(error.stdout), f"did not end within {_CLIENT_S:g} s"
        else:
            printed, end = ended.stdout, f"exit code {ended.returncode}" if ended.returncode else ""
        for line in printed.splitlines():
            if line.startswith('{"step"'):
                step = json.loads(line)
                if step["error"]:
                    failed[step["step"]] = step["error"]
                else:
                    passed += 1
        if end or not passed:
            failed["the script"] = f"{end or 'no step'}; {_last_line(errors)}"
    return Outcome(client.name, server, passed, failed)


@contextmanager
def _served(server: str, client: Client, folder: Path) -> Iterator[dict[str, dict[str, str]]]:
    """Start the exchanges or a replay; yields what the client's script is given."""
    accounts = SimConfig().accounts
    config, ready = folder / "config.toml", folder / "ready.json"
    pem = public = ""
    if client.needs_ed25519:
        pem, public = _ed25519()
    config.write_text(
        f"[sim]\ncoins = {COINS}\n[sim.accounts]\nbinance_ed25519_public = {json.dumps(public)}\n"
    )
    ready.unlink(missing_ok=True)
    played = ["replay", str(folder / "tape"), "--loop"] if server == "replay" else ["exchanges"]
    command = [sys.executable, "-m", "arbshard", *played, "--config", str(config), "--ready-file", str(ready)]
    with (folder / f"{server}.txt").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        try:
            end_s = time.monotonic() + _READY_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError(f"{server} did not start: {_last_line(log)}")
                time.sleep(0.05)
            found = json.loads(ready.read_text())
            yield {
                venue: {
                    "ws_url": found[venue]["ws_url"],
                    "rest_url": found[venue]["rest_url"],
                    "key": accounts.key_of(venue)[0],
                    "secret": accounts.key_of(venue)[1],
                    "ed25519_key": pem if venue == "binance" else "",
                }
                for venue in ("upbit", "binance")
            }
        finally:
            process.terminate()
            process.wait(20)


def _ed25519() -> tuple[str, str]:
    """(private, public) key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def _line(one: Outcome) -> str:
    return f"{one.client:<16} {one.server:<10} {one.passed:>3} ok {len(one.failed):>3} failed"


def _show(outcomes: Sequence[Outcome]) -> None:
    print(f"\n{'client':<16} {'against':<10} {'steps':>6} {'failed':>7}")
    for one in outcomes:
        print(f"{one.client:<16} {one.server:<10} {one.passed + len(one.failed):>6} {len(one.failed):>7}")
    for one in outcomes:
        for step, error in one.failed.items():
            print(f"  {one.client} against {one.server}: {step}: {error}")


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    lines = file.read().strip().splitlines()
    return lines[-1][:300] if lines else ""


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


if __name__ == "__main__":
    sys.exit(main())

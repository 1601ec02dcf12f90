"""The simulated exchanges as a process of their own: they outlive every kill, and their books are the truth."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec

from arbshard.config import SimConfig

VENUES = ("upbit", "binance")
_READY_S = 20.0


class Exchange:
    """Both venues, on free ports. ``close`` ends the process."""

    def __init__(self, folder: Path, config: SimConfig) -> None:
        self.config = config
        ready = folder / "sim.json"
        with (folder / "sim.stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "arbshard.exchanges",
                    "--settings", msgspec.json.encode(config).decode(),
                    "--ready-file", str(ready),
                    "--parent-pid", str(os.getpid()),
                ],
                stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        end_s = time.monotonic() + _READY_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.close()
                raise RuntimeError(f"no exchange: {(folder / 'sim.stderr').read_text()[-500:]}")
            time.sleep(0.05)
        said = json.loads(ready.read_text())
        self._token = said["token"]
        self.addresses: dict[str, dict[str, str]] = {venue: said[venue] for venue in VENUES}

    def environment(self) -> dict[str, str]:
        """The keys of its accounts, where a live run looks for them."""
        accounts = self.config.accounts
        return {
            "ARBSHARD_UPBIT_KEY": accounts.upbit_key,
            "ARBSHARD_UPBIT_SECRET": accounts.upbit_secret,
            "ARBSHARD_BINANCE_KEY": accounts.binance_key,
            "ARBSHARD_BINANCE_SECRET": accounts.binance_secret,
        }

    def books(self) -> dict[str, dict]:
        """Each venue's books of our account: opening, balances, orders with their fills."""
        return {venue: next(iter(self._call(venue, "/sim/accounts").values())) for venue in VENUES}

    def set_faults(self, faults: dict[str, dict]) -> None:
        """These and no others, on both venues."""
        for venue in VENUES:
            mine = {name: one for name, one in faults.items() if one.get("venue", venue) == venue}
            self._call(venue, "/sim/faults", {"clear": "all", "set": mine})

    def fault_counts(self) -> dict[str, int]:
        """How often each fault happened, over both venues."""
        counts: dict[str, int] = {}
        for venue in self._call(VENUES[0], "/sim/stats")["venues"].values():
            for name, number in venue["faults"].items():
                counts[name] = counts.get(name, 0) + number
        return counts

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def _call(self, venue: str, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(self.addresses[venue]["rest_url"] + path, data, headers)
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return json.load(reply)

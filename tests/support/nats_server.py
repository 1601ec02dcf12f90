"""A real NATS server with JetStream, which a test kills, stops, restarts and wipes."""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from support.ports import free_ports

PROGRAM = shutil.which("nats-server")
MISSING = "nats-server is not installed (apt-get install nats-server)"
USER, PASSWORD = "arbshard", "a-password-of-tests"
_WAIT_S = 20.0


class NatsServer:
    """One server; it keeps its port and, unless it is wiped, its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_ports()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert PROGRAM is not None
        self._folder.mkdir(exist_ok=True, parents=True)
        config = self._folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self._folder}/store", max_file_store: 64MB, max_memory_store: 64MB }}\n'
            f'authorization {{ user: {USER}, password: "{PASSWORD}" }}\n'
        )
        with (self._folder / "nats.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "--config", str(config)], stdout=log, stderr=log)
        deadline_s = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError("nats-server does not listen")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + _WAIT_S
        stopped = psutil.STATUS_STOPPED
        # Each of its threads stops by itself, which takes a moment on a busy machine.
        while psutil.Process(self.process.pid).status() != stopped and time.monotonic() < deadline_s:
            time.sleep(0.005)
        time.sleep(0.05)

    def wake(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Lose everything: kill it and remove its files. Start it again for an empty one."""
        self.kill()
        shutil.rmtree(self._folder / "store", ignore_errors=True)

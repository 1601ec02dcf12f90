"""Makes the children processes of the operating system: starts, watches and ends them. ``main`` uses it.

A process that is kept ready reports that on its stdout and waits for one line on its stdin: a worker for its shard,
risk for the term in which it leads. When stdin is closed instead, because the supervisor is gone, it ends. In a live
run the line before holds a worker's keys.
"""

import asyncio
import os
import signal
import subprocess
from contextlib import ExitStack
from typing import IO

import psutil

from arbshard.execution.live.keys import is_key_variable
from arbshard.secret import Secret, hidden_file
from supervisor.processes.child import ChildSpec

_STDERR_KEPT = 4096
_STDERR_READ = 65536
"""Size of a read in bytes, which empties the pipe: it holds no more."""


def child_environment() -> dict[str, str]:
    """Return the supervisor's environment without API keys: a process shows its environment as long as it lives."""
    kept = {name: value for name, value in os.environ.items() if not is_key_variable(name)}
    return {**kept, "PYTHONUNBUFFERED": "1"}


class StderrPipe:
    """Receives what one incarnation writes to stderr: a pipe, of which the supervisor keeps the end.

    A file would be lost on the very disk whose failure the child reports. The pipe needs no disk, and it never
    blocks a child: when it is full, because the supervisor does nothing, further output is lost. ``drain`` is called
    all the time, so that the pipe has room.
    """

    def __init__(self) -> None:
        """Open the pipe. Raises ``OSError`` when there is no descriptor left."""
        self._reader, self.writer = os.pipe()
        """``writer``: the child's stderr."""
        self._kept = bytearray()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)

    def hand_over(self) -> None:
        """Close our writing end, because the child has its own by now."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drain(self) -> None:
        """Read what was written since the last time."""
        if self._reader < 0:
            return
        try:
            some = os.read(self._reader, _STDERR_READ)
        except BlockingIOError:
            return
        self._kept += some
        del self._kept[:-_STDERR_KEPT]
        if not some:  # the child has ended, and nothing can come any more
            self._close_reader()

    def text(self) -> str:
        """Return the last 4 KB."""
        self.drain()
        return self._kept.decode(errors="replace").strip()

    def last_line(self) -> str:
        """Return the last line that is not empty; empty when there is none."""
        return next((line.strip() for line in reversed(self.text().splitlines()) if line.strip()), "")

    def close(self) -> None:
        """Stop reading; what was kept stays. May be called again."""
        self.drain()
        self.hand_over()
        self._close_reader()

    def _close_reader(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


class PosixProcess:
    """Is ``child.Process`` over ``subprocess.Popen``."""

    def __init__(self, process: "subprocess.Popen[bytes]", stderr: StderrPipe) -> None:
        self._process = process
        self._stderr = stderr

    @property
    def pid(self) -> int:
        """Return the process id; 0 once its end was seen."""
        return self._process.pid if self._process.returncode is None else 0

    def poll(self) -> int | None:
        """Return the exit code, None while it runs. This empties the pipe, too."""
        self._stderr.drain()
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended. Return False when it has not in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stderr_tail(self) -> str:
        """Return the last line it wrote to stderr."""
        return self._stderr.last_line()

    def stderr_text(self) -> str:
        """Return the end of what it wrote to stderr."""
        return self._stderr.text()

    def close(self) -> None:
        """Stop reading its stderr; what was read is kept."""
        self._stderr.close()


class PosixSpare(PosixProcess):
    """Is ``child.SpareProcess`` over stdin and stdout."""

    def __init__(self, process: "subprocess.Popen[bytes]", stderr: StderrPipe, keys: Secret | None) -> None:
        super().__init__(process, stderr)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._has_said_so = False
        if keys is not None:
            self._hand_over(keys)

    def is_ready(self) -> bool:
        """Return whether it has written to its stdout."""
        stdout = self._process.stdout
        if not self._has_said_so and stdout is not None and not stdout.closed:
            self._has_said_so = bool(stdout.read(1))
        return self._has_said_so

    def assign(self, *numbers: int) -> bool:
        """Write what it is to be to its stdin. Return False when it is dead."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{' '.join(map(str, numbers))}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        self._close_pipes()
        return True

    def close(self) -> None:
        """Close our ends of all its pipes."""
        self._close_pipes()
        super().close()

    def _hand_over(self, keys: Secret) -> None:
        assert self._process.stdin is not None
        try:
            keys.use_encoded(self._process.stdin.write)
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended already, which its owner notices

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was not read will never be


class PosixHost:
    """Is ``child.ProcessHost`` for the operating system.

    The kernel reports the end of a child (a pidfd) where it can; elsewhere children are only polled.
    """

    def __init__(self) -> None:
        self._exited = asyncio.Event()
        self._open: set[int] = set()
        self._loop: asyncio.AbstractEventLoop

    def spawn(self, spec: ChildSpec, epoch: int) -> PosixProcess:
        """Start a program. Raises ``OSError``."""
        with ExitStack() as files:
            hidden = None if spec.hands_over is None else hidden_file(spec.hands_over())
            stdin = subprocess.DEVNULL if hidden is None else files.enter_context(hidden)
            return PosixProcess(
                *_open(spec, epoch, stdin=stdin, stdout=None if spec.draws else subprocess.DEVNULL)
            )

    def spawn_spare(self, spec: ChildSpec) -> PosixSpare:
        """Start a program that waits for what it is to be. Raises ``OSError``."""
        keys = None if spec.hands_over is None else spec.hands_over()
        return PosixSpare(*_open(spec, 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE), keys)

    def notice_exit(self, pid: int) -> None:
        """Make ``wait_for_exit`` return when the child ``pid`` ends."""
        if not hasattr(os, "pidfd_open"):
            return  # this is not Linux: polling notices the end
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._exited.set()  # it has ended already, or there is no descriptor left: the caller must check
            return
        self._open.add(descriptor)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._on_exit, descriptor)

    async def wait_for_exit(self, timeout_s: float) -> None:
        """Wait until a child has ended, ``timeout_s`` at most."""
        # The time-out sets the event, too: ``asyncio.timeout`` would cancel and raise at every turn of an idle run.
        timer = asyncio.get_running_loop().call_later(timeout_s, self._exited.set)
        try:
            await self._exited.wait()
        finally:
            timer.cancel()
        self._exited.clear()

    def is_stopped(self, pid: int) -> bool:
        """Return whether a signal or a debugger holds the process."""
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except (psutil.Error, OSError):
            # It has ended, or there is no descriptor left to ask with: then its silence alone counts.
            return False

    def cpu_s(self, pid: int) -> float | None:
        """Return the seconds of CPU time that the process has used; None if it has ended or no descriptor is left."""
        try:
            times = psutil.Process(pid).cpu_times()
        except (psutil.Error, OSError):
            return None
        return float(times.user + times.system)

    def close(self) -> None:
        """Stop to notice exits. May be called again."""
        for descriptor in tuple(self._open):
            self._forget(descriptor)

    def _on_exit(self, descriptor: int) -> None:
        self._forget(descriptor)
        self._exited.set()

    def _forget(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        if not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
        os.close(descriptor)


def _open(
    spec: ChildSpec, epoch: int, *, stdin: int | IO[bytes], stdout: int | None
) -> "tuple[subprocess.Popen[bytes], StderrPipe]":
    """Start a program. Raises ``OSError`` when the system refuses; nothing is left open then."""
    stderr = StderrPipe()
    try:
        process = subprocess.Popen(
            spec.command(epoch),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr.writer,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
            env=child_environment(),
        )
    except OSError:
        stderr.close()
        raise
    stderr.hand_over()
    return process, stderr

"""Executes tasks in other processes: children of this one, or those of a Ray cluster.

A pool accepts as many tasks as it has room for. A process that dies costs its task, and another one is started.
"""

import logging
import multiprocessing
import os
import signal
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Protocol

import msgspec

from arbshard.errors import UsageError
from arbshard.optional import require_libraries
from arbshard.process import leave_ending_to_the_supervisor
from arbshard.sweep.tasks import (
    BacktestFunction,
    SweepTask,
    TaskResult,
    failed,
    run_sent_task,
    run_task,
    source_digest,
)

TASK_S_MAX = 3600.0
"""A task that takes longer than this, in seconds, has failed."""
RAY_TRIES = 4
"""How often Ray runs a task if its machine or process is lost."""
_JOIN_S = 5.0
_START_S_MAX = 120.0
"""Seconds in which a child must have started; they do not count for its task, as a busy machine is slow at this."""


class TaskPool(Protocol):
    """Carries out tasks side by side."""

    def room(self) -> int:
        """Return how many tasks it would begin now."""

    def submit(self, task: SweepTask) -> None:
        """Begin a task; call it only while there is room."""

    def wait(self, timeout_s: float) -> list[TaskResult]:
        """Return the tasks that have ended, after at most ``timeout_s``."""

    def close(self) -> None:
        """End everything, including tasks that are running."""


class LocalPool:
    """Manages spawned children of this process, each with one task at a time."""

    def __init__(
        self, jobs: int, function: BacktestFunction, work_dir: str, task_s_max: float = TASK_S_MAX
    ) -> None:
        """Run ``jobs`` children; backtests write below ``work_dir``, and ``task_s_max`` limits each task."""
        self._jobs = jobs
        self._given = (function, work_dir)
        self._task_s_max = task_s_max
        self._idle: list[_Child] = []
        self._busy: dict[Connection, tuple[_Child, SweepTask, float]] = {}
        """Child, task and deadline, by our end of the pipe."""

    def room(self) -> int:
        """Return how many children could be given a task."""
        return self._jobs - len(self._busy)

    def submit(self, task: SweepTask) -> None:
        """Send the task to an idle child, or to a new one."""
        if self._idle:
            child, allowed_s = self._idle.pop(), self._task_s_max
        else:
            child, allowed_s = _Child(*self._given), _START_S_MAX
        self._busy[child.connection] = (child, task, monotonic() + allowed_s)
        # A child that died while it was idle is found by ``wait``, like one that dies during a task.
        with suppress(OSError):
            child.connection.send(task)

    def wait(self, timeout_s: float) -> list[TaskResult]:
        """Return the tasks that have ended, in any order."""
        results = []
        for connection in wait(list(self._busy), timeout_s):
            assert isinstance(connection, Connection)
            child, task, _ = self._busy.pop(connection)
            try:
                result: TaskResult | None = connection.recv()
            except (EOFError, OSError):
                # The child's end of the pipe is closed, so it has ended or is about to end.
                results.append(failed(task, child.end(_JOIN_S), 0.0, child.name))
                continue
            if result is None:  # it has started, and the task begins now
                self._busy[connection] = (child, task, monotonic() + self._task_s_max)
            else:
                self._idle.append(child)
                results.append(result)
        for connection, (child, task, end_s) in list(self._busy.items()):
            if monotonic() > end_s:
                del self._busy[connection]
                child.end()
                results.append(failed(task, _too_long(self._task_s_max), self._task_s_max, child.name))
        return results

    def close(self) -> None:
        """End all children."""
        for child in (*self._idle, *(child for child, _, _ in self._busy.values())):
            child.end()
        self._idle.clear()
        self._busy.clear()


class _Child:
    """Manages one child process and our end of its pipe."""

    def __init__(self, function: BacktestFunction, work_dir: str) -> None:
        # Spawned, not forked: a backtest must begin like one in a process of its own.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function, work_dir), daemon=True)
        self._process.start()
        theirs.close()
        self.name = f"child {self._process.pid}"

    def end(self, patience_s: float = 0.0) -> str:
        """End the child if it does not end by itself within ``patience_s``; return why it ended."""
        self._process.join(patience_s)
        code = self._process.exitcode
        if code is None:
            self._process.terminate()
            self._process.join(_JOIN_S)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join(_JOIN_S)
        self.connection.close()
        if code is None:
            return "its process was ended"
        if code < 0:
            hint = " (the system may have been out of memory)" if -code == signal.SIGKILL else ""
            return f"its process was ended by {signal.Signals(-code).name}{hint}"
        return f"its process ended with exit code {code}"


def _serve(connection: Connection, function: BacktestFunction, work_dir: str) -> None:
    """Carry out tasks until the parent closes the pipe or is gone."""
    leave_ending_to_the_supervisor()
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            task: SweepTask = connection.recv()
            connection.send(run_task(task, function, work_dir))


def _too_long(limit_s: float) -> str:
    return f"it was ended after {limit_s:,.0f} s, the longest that a task may take"


class RayPool:
    """Runs tasks on the machines of a Ray cluster, each of which has the tape in the same folder."""

    def __init__(
        self,
        address: str | None,
        jobs: int | None,
        function: BacktestFunction,
        task_s_max: float = TASK_S_MAX,
    ) -> None:
        """Connect to ``address`` as ``ray.init`` does; None is the cluster of this machine, or a new one on it.

        ``jobs`` is the number of tasks side by side; None is one per core of the cluster. Raises ``UsageError``.
        """
        require_libraries("--on ray", "ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # arbshard sends no usage statistics
        import ray

        self._ray: Any = ray
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise UsageError(f"--on {address or 'ray'}: no Ray cluster could be used: {first}") from error
        self._jobs = jobs
        self._function = function
        self._task_s_max = task_s_max
        self._remote = ray.remote(num_cpus=1, max_retries=RAY_TRIES - 1)(run_sent_task)
        self._running: dict[Any, tuple[SweepTask, float]] = {}
        self._cores = 0
        self._count_cores()

    def room(self) -> int:
        """Return the room: one task for each core that the cluster has now; at least one, so that a lack
        is noticed.
        """
        cores = max(1, self._cores)
        return min(cores, self._jobs or cores) - len(self._running)

    def submit(self, task: SweepTask) -> None:
        """Hand the task to the cluster."""
        sent = msgspec.json.encode(task)
        self._running[self._remote.remote(sent, source_digest(), self._function)] = (task, monotonic())

    def wait(self, timeout_s: float) -> list[TaskResult]:
        """Return what has ended. A task whose machine is lost is begun again elsewhere, a few times."""
        self._count_cores()
        if not self._running:
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0.0)
        if not ended:
            ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        results = []
        for reference in ended:
            task, began_s = self._running.pop(reference)
            try:
                # A result on a machine that was lost is computed again meanwhile.
                answer: TaskResult | str = self._ray.get(reference, timeout=self._task_s_max)
            except self._ray.exceptions.RayError as error:
                # The last line of a traceback is the one that says what went wrong.
                lines = (str(error) or type(error).__name__).strip().splitlines()
                answer = f"{type(error).__name__}: {lines[-1]}"
            if isinstance(answer, str):
                answer = failed(task, answer, monotonic() - began_s, "ray")
            results.append(answer)
        for reference, (task, began_s) in list(self._running.items()):
            if (took_s := monotonic() - began_s) > self._task_s_max:
                del self._running[reference]
                self._ray.cancel(reference, force=True)
                results.append(failed(task, _too_long(self._task_s_max), took_s, "ray"))
        return results

    def close(self) -> None:
        """Cancel running tasks, and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()

    def _count_cores(self) -> None:
        self._cores = int(self._ray.cluster_resources().get("CPU", 0))


def pool_of(
    where: str, jobs: int | None, function: BacktestFunction, work_dir: str, task_s_max: float = TASK_S_MAX
) -> TaskPool:
    """Return the pool that ``--on`` names: ``local``, ``ray``, or an address such as ``ray://host:10001``."""
    if where == "local":
        return LocalPool(jobs or os.cpu_count() or 1, function, work_dir, task_s_max)
    if where == "ray" or where.startswith("ray://"):
        return RayPool(None if where == "ray" else where, jobs, function, task_s_max)
    raise UsageError(f"--on {where}: must be local, ray, or the address of a Ray cluster as ray://HOST:10001")

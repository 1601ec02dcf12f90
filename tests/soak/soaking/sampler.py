"""Looks at processes once a second. Used by ``soak``."""

import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from soaking.judge import Sample


class Sampler:
    """Keeps what it saw, by process name."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: where the shared memory is, if it is to be looked at."""
        self._folder = folder
        self._began_s = time.monotonic()
        self.samples: dict[str, list[Sample]] = {}
        self.shared: list[tuple[int, int]] = []
        """(bytes, files) of the shared memory."""

    def look(self, processes: Mapping[str, psutil.Process]) -> None:
        """Sample each. Raises ``RuntimeError`` when one has ended."""
        at_s = time.monotonic() - self._began_s
        for name, process in processes.items():
            try:
                with process.oneshot():
                    sample = Sample(
                        at_s, process.pid, process.memory_info().rss, process.num_fds(), process.num_threads()
                    )
            except psutil.NoSuchProcess as error:
                raise RuntimeError(f"{name} has ended") from error
            self.samples.setdefault(name, []).append(sample)
        if self._folder is not None:
            sizes = [path.stat().st_size for path in self._folder.iterdir()]
            self.shared.append((sum(sizes), len(sizes)))

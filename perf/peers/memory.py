"""Reads how much memory a peer has needed. It uses the standard library only."""

from pathlib import Path


def peak_memory_mb() -> float:
    """Return the most memory that this program has had resident, in MB, as ``arbshard.process`` does.

    ``getrusage`` does not tell it: there, a program begins with the peak of the process that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

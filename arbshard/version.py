"""The version of arbshard, as in ``pyproject.toml``; in a file of its own, because reading it must import nothing."""

__version__ = "0.1.0"

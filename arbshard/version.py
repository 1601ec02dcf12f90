"""Defines the version of arbshard, as in ``pyproject.toml``, in its own file because reading it must
import nothing.
"""

__version__ = "0.1.0"

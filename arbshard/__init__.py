"""Contains arbshard, a multi-process, sharded engine for cross-exchange crypto arbitrage.

The names of ``arbshard.api`` are the public Python API, which ``from arbshard import ArbitrageLiveRunner`` uses.
Everything else may change from one version to the next. ``api`` is imported at the first use of one of its names,
because the command line and the child processes import ``arbshard`` as well, and have to start quickly.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arbshard.api import *  # noqa: F403 - api has __all__
else:

    def __getattr__(name: str) -> object:
        """Return a name of ``api``. Raises ``AttributeError`` for any other."""
        from importlib import import_module
        from importlib.util import find_spec

        is_private = name.startswith("_") and name not in ("__all__", "__version__")
        # `from arbshard import wire` asks here before it imports the module, and must not import the whole API.
        if not is_private and find_spec(f"arbshard.{name}") is None:
            api = import_module("arbshard.api")
            if name == "__all__" or name in api.__all__:
                return getattr(api, name)
        raise AttributeError(f"module 'arbshard' has no attribute {name!r}")

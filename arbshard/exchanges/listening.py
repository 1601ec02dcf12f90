"""Binds the ports of the simulated exchanges before anything is served, and names the setting of every failure.

``exchanges`` uses it.
"""

import errno
import socket

from arbshard.errors import ConfigError


def listen(setting: str, host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ``ConfigError``, which names the setting, when the port cannot be opened."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError("sim.host", f"{host!r} cannot be resolved") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(setting, f"{host}:{port} is already in use") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError("sim.host", f"{host!r} is not an address of this machine") from error
        raise ConfigError(setting, f"{host}:{port} cannot be opened: {error.strerror}") from error
    return listener


def authority(listener: socket.socket) -> str:
    """Return ``host:port`` as a client can connect to it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a wildcard cannot be called
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

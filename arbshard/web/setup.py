"""What the desk needs before it serves: its socket, the two tokens, TLS, and the addresses it is reached at.

An address that other computers reach is refused without both tokens and TLS.
"""

import ipaddress
import os
import secrets
import socket
import ssl
import stat
from pathlib import Path
from typing import NamedTuple

from arbshard.config.web import WebConfig
from arbshard.errors import UsageError
from arbshard.private_files import open_private
from arbshard.secret import Secret
from arbshard.web.access import DeskAccess

OPERATOR_TOKEN = "web-operator.token"  # noqa: S105 - the name of a file
_TOKEN_MIN = 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class DeskAddress(NamedTuple):
    """Where the desk listens, and who may use it."""

    listener: socket.socket
    tls: ssl.SSLContext | None
    access: DeskAccess
    url: str
    token_file: Path
    """The operator's token."""

    def sentence(self) -> str:
        """Say where it is, and how a person gets the right to act there."""
        who = (
            "whoever reaches this address may look"
            if self.access.viewing_is_open
            else "looking needs the viewer's token"
        )
        return f"the desk is at {self.url}: {who}; acting needs the token in {self.token_file}"


def open_desk(config: WebConfig, state_dir: Path) -> DeskAddress:
    """Return an open desk. ``state_dir``: where the operator's token is, unless the configuration says so.

    Raises ``UsageError`` for what a person must change.
    """
    tls = _tls(config)
    if not is_own_computer(config.host):
        _check_exposed(config)
    viewer = (
        _read_token("viewer_token_file", Path(config.viewer_token_file)) if config.viewer_token_file else None
    )
    token_file = (
        Path(config.operator_token_file) if config.operator_token_file else state_dir / OPERATOR_TOKEN
    )
    if not config.operator_token_file:
        _make_token(token_file)
    operator = _read_token("operator_token_file", token_file)
    listener = _listen(config.host, config.port)
    port = listener.getsockname()[1]
    scheme = "https" if tls is not None else "http"
    names = ["127.0.0.1", "localhost", "[::1]"] if is_own_computer(config.host) else []
    names += [config.host if ":" not in config.host else f"[{config.host}]", *config.names]
    usual = 443 if tls is not None else 80
    origins = [f"{scheme}://{name}:{port}".lower() for name in names]
    origins += [f"{scheme}://{name}".lower() for name in names] if port == usual else []
    access = DeskAccess(frozenset(origins), operator, viewer, cookie=f"arbshard-desk-{port}")
    url = f"{scheme}://{config.names[0] if config.names else names[0]}:{port}/"
    return DeskAddress(listener, tls, access, url, token_file)


def is_own_computer(host: str) -> bool:
    """Return whether only this computer reaches ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_exposed(config: WebConfig) -> None:
    needed = {
        "viewer_token_file": config.viewer_token_file,
        "operator_token_file": config.operator_token_file,
        "certificate": config.certificate,
        "key": config.key,
        "names": config.names,
    }
    missing = [f"web.{name}" for name, value in needed.items() if not value]
    if missing:
        raise UsageError(
            f"web.host = {config.host}: other computers reach this address, so both tokens, TLS and the names by "
            f"which browsers reach it are needed; missing: {', '.join(missing)}"
        )


def _tls(config: WebConfig) -> ssl.SSLContext | None:
    if not config.certificate and not config.key:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.certificate, config.key or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"web.certificate = {config.certificate}: cannot be used with its key: {error}"
        ) from error
    return context


def _make_token(path: Path) -> None:
    """Write a token if there is none yet."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open_private(path, "x") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
    except FileExistsError:
        return  # another desk has made it in the same moment
    except OSError as error:
        raise UsageError(f"{path}: the operator's token cannot be written: {error.strerror}") from error


def _read_token(key: str, path: Path) -> Secret:
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise UsageError(f"web.{key} = {path}: other users can read the file: chmod 600 it")
            token = Secret(file.read(4096))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"web.{key} = {path}: cannot be read: {error}") from error
    if len(token) < _TOKEN_MIN:
        raise UsageError(f"web.{key} = {path}: the token must have {_TOKEN_MIN} characters at least")
    return token


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # The standard library adds to the system's words what it tried, except for names that are not found.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise UsageError(f"web.host = {host}, web.port = {port}: cannot be listened on: {reason}") from error

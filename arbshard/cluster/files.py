"""Keeps what an agent must remember over its restarts: its promise, and commands that wait for a leader."""

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from arbshard.cluster.terms import Promise
from arbshard.errors import RunDirError
from arbshard.ledger.file import sync_directory

PROMISE_FILE = "cluster-vote.json"
KEPT_FILE = "cluster-kept.json"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file in one piece, and return when it has reached the disk. Raises ``OSError``."""
    _write(path, content, sync=os.fsync)
    sync_directory(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one piece that need not outlive the machine. Raises ``OSError``."""
    _write(path, content, sync=lambda _: None)


def _write(path: Path, content: bytes, sync: Callable[[int], None]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            sync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


class PromiseFile:
    """Keeps the promise of this host's voter."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROMISE_FILE

    def load(self) -> Promise:
        """Return the promise; one of no term when there is none yet.

        Raises ``RunDirError`` for a damaged file: a host that has forgotten its promise could vote twice in one term.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Promise)
        except FileNotFoundError:
            return Promise()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RunDirError(
                f"{self._path}: cannot be read: {error}. Stop all hosts of the cluster before you remove it"
            ) from error

    def save(self, promise: Promise) -> None:
        """Store the promise; it is on the disk when this returns. Raises ``OSError``."""
        write_durably(self._path, msgspec.json.encode(promise))


class KeptCommands:
    """Keeps commands that could not be delivered, with their request ids, in the order in which they were given."""

    LIMIT = 16
    """Largest number of commands that are kept."""

    def __init__(self, folder: Path) -> None:
        """Read what an earlier agent has left. Raises ``RunDirError``."""
        self._path = folder / KEPT_FILE
        self._kept: dict[bytes, tuple[bytes, str]] = {}
        try:
            rows = msgspec.json.decode(self._path.read_bytes(), type=list[tuple[str, str, str]])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RunDirError(f"{self._path}: cannot be read: {error}") from error
        self._kept = {_bytes(name): (_bytes(payload), text) for name, payload, text in rows}

    @property
    def payloads(self) -> Mapping[bytes, bytes]:
        """Return what is kept, by request id."""
        return {name: payload for name, (payload, _) in self._kept.items()}

    @property
    def texts(self) -> tuple[str, ...]:
        """Return what is kept, for people."""
        return tuple(text for _, text in self._kept.values())

    def __contains__(self, request_id: bytes) -> bool:
        return request_id in self._kept

    def has_room_for(self, request_id: bytes) -> bool:
        """Return whether a command may be kept: fewer than ``LIMIT`` are, or it is one of them."""
        return request_id in self._kept or len(self._kept) < self.LIMIT

    def add(self, request_id: bytes, payload: bytes, text: str) -> None:
        """Keep a command for which there is room. Raises ``OSError``."""
        assert self.has_room_for(request_id), request_id
        self._save({**self._kept, request_id: (payload, text)})

    def remove(self, request_id: bytes) -> None:
        """Forget a command, because it was delivered. Raises ``OSError``."""
        self._save({name: one for name, one in self._kept.items() if name != request_id})

    def _save(self, kept: dict[bytes, tuple[bytes, str]]) -> None:
        rows = [(_text(name), _text(payload), text) for name, (payload, text) in kept.items()]
        write_durably(self._path, msgspec.json.encode(rows))
        self._kept = kept


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)

"""A local HTTP server that gets messages, as apprise's ``json://`` sends them, and counts what is fetched."""

import http.server
import json
import socket
import threading
from types import TracebackType
from typing import Any, Self


class Receiver:
    """Listens from ``with`` on, or between ``open`` and ``close``, always at the same port."""

    def __init__(self, status: int = 200) -> None:
        self.got: list[dict[str, Any]] = []
        self.fetched: list[str] = []
        """Paths, each time that one was fetched."""
        self._status = status
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    @property
    def titles(self) -> list[str]:
        """Titles of all messages, those inside of combined ones included."""
        found = []
        for message in self.got:
            inside = [line[2:] for line in message["message"].splitlines() if line.startswith("- arbshard ")]
            found += inside or [message["title"]]
        return [title.partition(": ")[2] for title in found]

    def open(self) -> None:
        """Listen."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver._status == 200:
                    receiver.got.append(json.loads(body))
                self.send_response(receiver._status)
                self.end_headers()

            def do_GET(self) -> None:
                receiver.fetched.append(self.path)
                self.send_response(receiver._status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Refuse connections. May be called again."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

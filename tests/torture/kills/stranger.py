"""A host that no order may ever reach: the fault ``redirect`` sends calls to it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

_REPLY = b'{"status":"FILLED","state":"done","orderId":1,"executedQty":"1","executed_volume":"1"}'


class Stranger:
    """Listens on an address of its own, notes every request, and answers that the order was filled."""

    def __init__(self) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            heard: ClassVar[list[str]] = requests

            def answer(self) -> None:
                # The path may carry a signature, so only the method is kept.
                self.heard.append(self.command)
                self.send_response(200)
                self.send_header("Content-Length", str(len(_REPLY)))
                self.end_headers()
                self.wfile.write(_REPLY)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_DELETE(self) -> None:
                self.answer()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="stranger", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

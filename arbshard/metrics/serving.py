"""Answers ``/metrics``, ``/health/live`` and ``/health/ready`` over HTTP. It needs prometheus-client."""

import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from typing_extensions import override

from arbshard.metrics.health import HealthAnswer, is_alive, is_ready
from arbshard.status.model import Status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CONNECTIONS_MAX = 16
"""Connections that are served at the same time; further ones are closed at once."""
_TIMEOUT_S = 10.0
_HEALTH: dict[str, Callable[[Status | None], HealthAnswer]] = {
    "/health/live": is_alive,
    "/health/ready": is_ready,
}


class MetricsServer(ThreadingMixIn, WSGIServer):
    """One thread for each connection, of which there are at most so many."""

    daemon_threads = True

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._free = BoundedSemaphore(_CONNECTIONS_MAX)
        self.answered = self.failures = 0

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            self.answered += 1
            super().process_request(request, client_address)
        else:
            self.failures += 1
            self.shutdown_request(request)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that has gone away is no error of ours; everything else was answered with 500 before.
        self.failures += not isinstance(sys.exception(), ConnectionError | TimeoutError)


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_S

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted and not logged: one every few seconds for months."""


def serve_metrics(
    host: str, port: int, registry: CollectorRegistry, read_status: Callable[[], Status | None]
) -> MetricsServer:
    """Return a server that listens and whose ``serve_forever`` answers. Raises ``OSError`` for an address in use."""
    server = make_server(
        host, port, _application(make_wsgi_app(registry), read_status), MetricsServer, _Handler
    )
    assert isinstance(server, MetricsServer), server
    return server


def _application(metrics: "WSGIApplication", read_status: Callable[[], Status | None]) -> "WSGIApplication":
    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _plain(start_response, HTTPStatus.METHOD_NOT_ALLOWED)
        if path == "/metrics":
            return metrics(environ, start_response)
        if path in _HEALTH:
            found = _HEALTH[path](read_status())
            status = HTTPStatus.OK if found.is_well else HTTPStatus.SERVICE_UNAVAILABLE
            start_response(_line(status), [("Content-Type", "application/json")])
            return [found.body]
        return _plain(start_response, HTTPStatus.NOT_FOUND)

    return answer


def _plain(start_response: "StartResponse", status: HTTPStatus) -> Iterable[bytes]:
    start_response(_line(status), [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{_line(status)}; there are /metrics, /health/live and /health/ready\n".encode()]


def _line(status: HTTPStatus) -> str:
    return f"{status.value} {status.phrase}"

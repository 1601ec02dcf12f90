"""A server with TLS under an authority of the test's own, every client that connects to venues, and whole runs."""

import json
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from support import reach as reaching
from support.exchanges import exchanges_in
from support.instance import Instance


@pytest.fixture(scope="session")
def reach_program():
    return reaching.__file__


CLIENTS = [
    "websockets",
    pytest.param("picows", marks=pytest.mark.needs("fast")),
    "rest",
    "signed",
]


def pytest_generate_tests(metafunc):
    """``client`` is every client, ``receiver`` those for streams."""
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", CLIENTS)
    if "receiver" in metafunc.fixturenames:
        metafunc.parametrize("receiver", CLIENTS[:2])


class Authority:
    """Issues certificates; ``ca_file`` is what those who trust it are given."""

    def __init__(self, folder):
        import trustme

        self._authority = trustme.CA()
        self.ca_file = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def context(self, *hosts, expired=False):
        now = datetime.now(UTC)
        certificate = self._authority.issue_cert(
            *hosts,
            not_before=now - timedelta(days=30),
            not_after=now + timedelta(days=-1 if expired else 30),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def _stream(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("hello")
    await socket.close()
    return socket


async def _json(request):
    await request.read()
    return web.json_response({"serverTime": 1})


@pytest.fixture(scope="session")
def serving():
    """Serves a WebSocket at ``/ws`` and JSON at every other address; yields the port."""

    @asynccontextmanager
    async def serve(context=None, host="127.0.0.1"):
        app = web.Application()
        app.router.add_get("/ws", _stream)
        app.router.add_route("*", "/{path:.*}", _json)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, 0, ssl_context=context)
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    return serve


class Place(Instance):
    """An instance whose runs leave a summary."""

    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())

    def begin(self, *arguments: str, **environment: str) -> None:
        """A run that goes on until it is stopped."""
        self.start("--summary", str(self.folder / "summary.json"), *arguments, **environment)

    def run_to_its_end(self, *arguments, **environment):
        """Exit code, summary, and what was printed."""
        done = self.run("--summary", str(self.folder / "summary.json"), *arguments, **environment)
        return done.code, self.summary(), done.out + done.err


@pytest.fixture
def place(tmp_path):
    """Builds one from the text of a configuration."""
    made = []

    def build(config):
        made.append(Place(tmp_path, config))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def exchanges(tmp_path):
    """Starts simulated exchanges that are no part of a run; what is in their ready file."""
    with exchanges_in(tmp_path, coins=4) as start:
        yield start

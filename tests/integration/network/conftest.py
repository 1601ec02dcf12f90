"""A server with TLS under an authority of the test's own, and every client that connects to venues."""

import importlib.util
import ssl
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

REACH = Path(__file__).with_name("reach.py")


@pytest.fixture(scope="session")
def reaching():
    """``reach.py`` as a module."""
    name = "arbshard_test_reach"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REACH)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def reach(reaching):
    return reaching.reach


@pytest.fixture(scope="session")
def reach_program():
    return str(REACH)


CLIENTS = [
    "websockets",
    pytest.param("picows", marks=pytest.mark.needs("fast")),
    "rest",
    pytest.param("signed", marks=pytest.mark.needs("live")),
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

"""A proxy in the environment: hosts elsewhere are reached through it by every client, loopback never."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from support.reach import reach

pytestmark = [pytest.mark.integration, pytest.mark.needs("tls")]

NAME = "venue.test"
"""No such host exists: whoever reaches it has gone through the proxy, which knows it as this machine."""


class Proxy:
    """A small HTTP proxy: tunnels by CONNECT, and forwards plain requests."""

    def __init__(self):
        self.asked = []
        self.authorisations = []
        self.refuses = False

    async def serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n")[0].split(" ")
            self.asked.append((method, target))
            self.authorisations += [
                line.partition(": ")[2]
                for line in head.split("\r\n")
                if line.lower().startswith("proxy-auth")
            ]
            if self.refuses:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                return
            where = target if method == "CONNECT" else urlsplit(target).netloc
            name, _, port = where.rpartition(":")
            assert name == NAME, f"{name} needs no proxy"
            there, back = await asyncio.open_connection("127.0.0.1", int(port))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                back.write(head.replace(f"http://{where}", "", 1).encode())
            try:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            finally:
                back.close()
        finally:
            writer.close()


async def _pump(reader, writer):
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@pytest.fixture
async def proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    one = Proxy()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("http_proxy", one.address)
    monkeypatch.setenv("https_proxy", one.address)
    try:
        yield one
    finally:
        server.close()
        await server.wait_closed()


async def test_other_hosts_through_it(client, proxy, authority, serving):
    async with serving(authority.context(NAME)) as port:
        assert await reach(client, f"{NAME}:{port}", authority.ca_file) == ""
        assert proxy.asked == [("CONNECT", f"{NAME}:{port}")]


async def test_the_venue_is_verified_through_it_too(client, proxy, authority, serving):
    async with serving(authority.context("another.test")) as port:
        why = await reach(client, f"{NAME}:{port}", authority.ca_file)
    assert "CERTIFICATE_VERIFY_FAILED" in why


async def test_without_tls(receiver, proxy, serving):
    async with serving() as port:
        assert await reach(f"{receiver}+plain", f"{NAME}:{port}") == ""
        assert proxy.asked == [("CONNECT", f"{NAME}:{port}")]


async def test_rest_without_tls(proxy, serving):
    async with serving() as port:
        assert await reach("rest+plain", f"{NAME}:{port}") == ""
        assert proxy.asked == [("GET", f"http://{NAME}:{port}/api/v3/time")]


async def test_its_name_and_password(client, proxy, authority, serving, monkeypatch):
    monkeypatch.setenv("https_proxy", proxy.address.replace("//", "//me:s3cret@"))
    async with serving(authority.context(NAME)) as port:
        assert await reach(client, f"{NAME}:{port}", authority.ca_file) == ""
    assert proxy.authorisations == ["Basic bWU6czNjcmV0"]


async def test_one_that_refuses(client, proxy, authority):
    proxy.refuses = True
    why = await reach(client, f"{NAME}:1", authority.ca_file)
    assert "403" in why
    assert len(proxy.asked) == 1


async def test_loopback_never(client, proxy, authority, serving):
    async with serving(authority.context("127.0.0.1")) as port:
        assert await reach(client, f"127.0.0.1:{port}", authority.ca_file) == ""
    assert proxy.asked == []


async def test_hosts_that_no_proxy_names(client, proxy, authority, monkeypatch):
    monkeypatch.setenv("no_proxy", NAME)
    assert await reach(client, f"{NAME}:1", authority.ca_file) != ""
    assert proxy.asked == []


async def test_one_of_another_kind_is_said(client, proxy, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    why = await reach(client, f"{NAME}:1")
    assert why.startswith("https_proxy in the environment: venue.test can only be reached through a proxy")

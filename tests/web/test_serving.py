"""The server over real sockets: who gets what, and that nothing from another site gets through."""

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.config.web import WebConfig
from arbshard.model.risk_note import NO_NOTE
from arbshard.model.rundir import RunFiles
from arbshard.web import serving, view
from arbshard.web.board import DeskBoard
from arbshard.web.serving import DeskServer
from arbshard.web.setup import open_desk
from arbshard.wire import operator_client
from arbshard.wire.messages import Done, Halt
from support.made_status import made_status
from support.world import make_universe

VIEWER = "viewer-token-0123456789"


class Reader:
    """Stands in for the reader of an instance."""

    def __init__(self, name, folder):
        self.name, self.board = name, DeskBoard()
        self.watched = self.opened = frozenset()
        self.universe, self.note, self.config = make_universe("BTC", "ETH"), NO_NOTE, Config()
        self.status = made_status()
        self.files = RunFiles(folder)
        self.reads = 0

    def read(self):
        self.reads += 1
        self.board.put("head", view.head_of(replace(self.status, uptime_s=1.0)))
        self.board.put("facts", {"reads": self.reads})

    def gaps_of(self, base):
        return [(1, 2.5)] if base == "BTC" else []


@pytest.fixture
def desk(tmp_path):
    @asynccontextmanager
    async def made(**changes):
        address = open_desk(WebConfig(port=0, **changes), tmp_path)
        reader, over = Reader("desk", tmp_path), asyncio.Event()
        server = DeskServer([reader], address, SystemClock())
        task = asyncio.create_task(server.serve(over.is_set))
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            try:
                yield Desk(server, reader, browser, address)
            finally:
                over.set()
                await asyncio.wait_for(task, 10)

    return made


class Desk:
    """A browser in front of a server."""

    def __init__(self, server, reader, browser, address):
        self.server, self.reader, self.browser = server, reader, browser
        self.url = address.url.rstrip("/")
        self.token = address.token_file.read_text().strip()

    async def ask(self, method, path, body=None, **headers):
        given = {"Origin": self.url, **headers}
        given = {name: value for name, value in given.items() if value is not None}
        async with self.browser.request(method, self.url + path, json=body, headers=given) as answer:
            assert "DeskAccess-Control-Allow-Origin" not in answer.headers
            kind = answer.headers["Content-Type"]
            return answer.status, await answer.json() if kind.startswith(
                "application/json"
            ) else await answer.text()

    async def sign_in(self, token=None, person="anna"):
        status, _ = await self.ask("POST", "/api/session", {"token": token or self.token, "person": person})
        return status, (await self.ask("GET", "/api/session"))[1]

    async def stream(self, **headers):
        return await self.browser.ws_connect(
            self.url + "/api/stream", headers={"Origin": self.url, **headers}
        )


async def test_the_page_brings_all_it_needs_and_runs_nothing_else(desk):
    async with desk() as one:
        for path in ("/", "/desk.js", "/desk.css", "/icon-live.svg"):
            async with one.browser.get(one.url + path) as answer:
                text = await answer.text()
                assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "://" not in text.replace("http://www.w3.org/", "").replace('"wss" : "ws"}://', "")
        assert (await one.ask("GET", "/etc/passwd"))[0] == 404


async def test_an_unknown_host_gets_nothing_at_all(desk):
    async with desk() as one:
        for path in ("/", "/api/session", "/desk.js"):
            assert (await one.ask("GET", path, Host="evil.example"))[0] == 421
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await one.stream(Host="evil.example")
        assert one.server.counts.refused == 4


async def test_an_action_without_an_answer_names_no_socket_and_what_to_do(desk, monkeypatch):
    monkeypatch.setattr(operator_client, "_RISK_TIMEOUT_MS", 100)
    async with desk() as one:
        _, session = await one.sign_in()
        body = {"action": "halt", "instance": "desk"}
        status, said = await one.ask("POST", "/api/act", body, **{"X-Arbshard-Proof": session["proof"]})
        assert (status, said) == (
            504,
            {
                "error": "it is not known whether this was carried out: risk has not answered within 0.1 s; look at "
                "the desk before you repeat it"
            },
        )


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1:1"])
async def test_no_request_of_another_site_changes_or_reads_anything(desk, origin):
    async with desk() as one:
        _, session = await one.sign_in()
        proof = {"X-Arbshard-Proof": session["proof"]}
        body = {"action": "halt", "instance": "desk"}
        for path, given in (("/api/session", {"token": one.token}), ("/api/plan", body), ("/api/act", body)):
            assert (await one.ask("POST", path, given, Origin=origin, **proof))[0] == 403
        assert (await one.ask("DELETE", "/api/session", Origin=origin))[0] == 403
        headers = {} if origin is None else {"Origin": origin}
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await one.browser.ws_connect(one.url + "/api/stream", headers=headers)
        site = {"Sec-Fetch-Site": "cross-site"}
        assert (await one.ask("GET", "/api/session", **site))[0] == 403


async def test_acting_needs_the_right_and_the_proof(desk, monkeypatch):
    sent = []
    monkeypatch.setattr(
        "arbshard.web.actions.send_command",
        lambda files, command, by: sent.append((command, by)) or Done("halted"),
    )
    body = {"action": "halt", "instance": "desk", "reason": "lunch"}
    async with desk() as one:
        for path in ("/api/plan", "/api/act", "/api/limits", "/api/inventory"):
            assert (await one.ask("POST", path, body))[0] == 403
        status, session = await one.sign_in()
        assert (status, session["right"], session["person"]) == (200, "operator", "anna")
        assert (await one.ask("POST", "/api/act", body))[0] == 403
        assert (await one.ask("POST", "/api/act", body, **{"X-Arbshard-Proof": "wrong"}))[0] == 403
        assert sent == []
        proof = {"X-Arbshard-Proof": session["proof"]}
        status, plan = await one.ask("POST", "/api/plan", body, **proof)
        assert (status, plan["text"].startswith("Nothing is entered any more")) == (200, True)
        assert sent == []
        assert await one.ask("POST", "/api/act", body, **proof) == (200, {"text": "halted"})
        assert sent == [(Halt("lunch", flatten=False), "anna, desk at 127.0.0.1")]
        assert (one.server.counts.actions, one.server.counts.refused) == (1, 6)
        await one.ask("DELETE", "/api/session")
        assert (await one.ask("POST", "/api/act", body, **proof))[0] == 403
        assert len(sent) == 1


async def test_viewers_look_and_do_not_act(desk, tmp_path):
    path = tmp_path / "viewer"
    path.write_text(VIEWER)
    path.chmod(0o600)
    async with desk(viewer_token_file=str(path)) as one:
        _, session = await one.ask("GET", "/api/session")
        assert session == {"right": "none", "proof": "", "person": "", "instances": [], "token_file": ""}
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await one.stream()
        assert (await one.sign_in("wrong-token-0123456789"))[0] == 403
        _, session = await one.sign_in(VIEWER)
        assert (session["right"], session["proof"]) == ("viewer", "")
        stream = await one.stream()
        assert "desk" in (await stream.receive_json(timeout=10))["instances"]
        assert (await one.ask("POST", "/api/act", {"action": "halt", "instance": "desk"}))[0] == 403
        await stream.close()


async def test_wrong_tokens_are_slowed_down(desk):
    async with desk() as one:
        answers = [(await one.sign_in("wrong-token-0123456789"))[0] for _ in range(7)]
        assert answers == [403] * 5 + [429] * 2


async def test_instances_are_read_only_while_somebody_looks(desk, monkeypatch):
    monkeypatch.setattr(serving, "EVERY_S", 0.01)
    async with desk() as one:
        await asyncio.sleep(0.1)
        assert one.reader.reads == 0
        stream = await one.stream()
        first = await stream.receive_json(timeout=10)
        assert first["instances"]["desk"]["sections"]["head"]["name"] == "desk"
        second = await stream.receive_json(timeout=10)
        assert set(second["instances"]["desk"]["sections"]) == {"facts"}  # only what has changed
        assert one.server.counts.viewers == 1
        await stream.close()
        async with asyncio.timeout(10):
            while one.server.counts.viewers:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        reads = one.reader.reads
        await asyncio.sleep(0.1)
        assert one.reader.reads == reads


async def test_what_a_browser_shows_is_watched_and_a_pair_it_opens_has_its_gaps(desk, monkeypatch):
    monkeypatch.setattr(serving, "EVERY_S", 0.01)
    async with desk() as one:
        stream = await one.stream()
        await stream.send_json({"watch": {"desk": ["BTC", "ETH"], "other": ["X"]}, "open": ["desk", "BTC"]})
        async with asyncio.timeout(10):
            while "gaps" not in (message := await stream.receive_json()):
                pass
            assert message == {"gaps": {"instance": "desk", "base": "BTC", "points": [[1, 2.5]]}}
            while one.reader.opened != {"BTC"} or one.reader.watched != {"BTC", "ETH"}:
                await stream.receive_json()
        await stream.send_str("nonsense")
        async with asyncio.timeout(10):
            while not stream.closed:
                with suppress(TypeError):
                    await stream.receive_json()
        assert stream.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_what_is_wrong_is_said_in_one_line(desk, monkeypatch):
    async with desk() as one:
        _, session = await one.sign_in()
        proof = {"X-Arbshard-Proof": session["proof"]}
        for body, status, why in (
            ({"action": "nothing", "instance": "desk"}, 400, "no action of the desk"),
            ({"action": "halt", "instance": "other"}, 409, "does not show an instance named 'other'"),
            ({"action": "close", "instance": "desk", "symbols": ["XRP"]}, 409, "XRP is not traded"),
        ):
            found, answer = await one.ask("POST", "/api/plan", body, **proof)
            assert (found, why in answer["error"]) == (status, True)
        monkeypatch.setattr(serving, "plan_of", lambda *_: 1 / 0)
        found, answer = await one.ask("POST", "/api/plan", {"action": "halt", "instance": "desk"}, **proof)
        assert (found, answer["error"]) == (500, "a defect of the desk; its log says more")
        assert one.server.counts.failures == 1


@pytest.mark.needs("tls")
async def test_beyond_this_computer_both_tokens_and_tls_are_in_force(desk, tmp_path):
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("certificate", "key", "viewer", "operator")}
    issued.cert_chain_pems[0].write_to_path(files["certificate"])
    issued.private_key_pem.write_to_path(files["key"])
    for name in ("viewer", "operator"):
        files[name].write_text(f"{name}-token-0123456789")
        files[name].chmod(0o600)
    settings = {
        "host": "0.0.0.0",
        "names": ("localhost",),
        "certificate": str(files["certificate"]),
        "key": str(files["key"]),
        "viewer_token_file": str(files["viewer"]),
        "operator_token_file": str(files["operator"]),
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with desk(**settings) as one:
        assert one.url.startswith("https://localhost:")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), cookie_jar=aiohttp.CookieJar(unsafe=True)
        ) as one.browser:
            assert (await one.ask("GET", "/api/session"))[1]["right"] == "none"
            assert (await one.ask("GET", "/", Host="127.0.0.1"))[0] == 421
            _, session = await one.sign_in()
            assert session["right"] == "operator"
            (cookie,) = one.browser.cookie_jar
            assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Strict")
            stream = await one.stream()
            assert "desk" in (await stream.receive_json(timeout=10))["instances"]
            await stream.close()
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as plain, plain.get(one.url.replace("https", "http")):
                pass


@asynccontextmanager
async def connected(one, *lines):
    """A connection on which only ``lines`` of a request are sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(one.url.rpartition(":")[2]))
    try:
        writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def sign_in_head(one, length):
    host = one.url.removeprefix("http://")
    return (
        "POST /api/session HTTP/1.1", f"Host: {host}", f"Origin: {one.url}", f"Content-Length: {length}", ""
    )  # fmt: skip


@pytest.mark.parametrize("lines", [(), ("GET / HTTP/1.1", "Host: 127.0.0.1")], ids=["nothing", "half"])
async def test_a_connection_without_a_whole_request_is_closed(desk, monkeypatch, lines):
    monkeypatch.setattr(serving, "EVERY_S", 0.01)
    monkeypatch.setattr(serving, "_IDLE_NS", 50_000_000)
    async with desk() as one, connected(one, *lines) as (reader, _):
        stream = await one.stream()  # it is answered all the time, so it stays
        assert await asyncio.wait_for(reader.read(), 10) == b""
        for _ in range(20):
            await stream.receive_json(timeout=10)
        await stream.close()


async def test_of_too_many_connections_the_longest_idle_ones_are_closed(desk, monkeypatch):
    monkeypatch.setattr(serving, "EVERY_S", 0.01)
    monkeypatch.setattr(serving, "_CONNECTIONS_MAX", 2)
    async with desk() as one, connected(one) as (first, _):
        await asyncio.sleep(0.1)
        async with connected(one), connected(one):
            assert await asyncio.wait_for(first.read(), 10) == b""


async def test_a_body_that_does_not_come_is_refused(desk, monkeypatch):
    monkeypatch.setattr(serving, "_BODY_S", 0.05)
    async with desk() as one, connected(one, *sign_in_head(one, 100)) as (reader, _):
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)


async def test_requests_that_wait_for_their_bodies_do_not_pass_the_pause(desk):
    body = b'{"token": "wrong-token-0123456789"}'
    async with desk() as one, AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(connected(one, *sign_in_head(one, len(body)))) for _ in range(12)
        ]
        await asyncio.sleep(0.1)
        for _, writer in streams:
            writer.write(body)
        answers = [await asyncio.wait_for(reader.readline(), 10) for reader, _ in streams]
        assert [b" 403 " in line for line in answers].count(True) == 5
        assert [b" 429 " in line for line in answers].count(True) == 7


async def test_a_stream_ends_with_its_session(desk, monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "EVERY_S", 0.01)
    path = tmp_path / "viewer"
    path.write_text(VIEWER)
    path.chmod(0o600)
    async with desk(viewer_token_file=str(path)) as one:
        await one.sign_in(VIEWER)
        stream = await one.stream()
        await stream.receive_json(timeout=10)
        await one.ask("DELETE", "/api/session")
        async with asyncio.timeout(10):
            while not stream.closed:
                await stream.receive()
        assert stream.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_browsers_that_answer_nothing_do_not_hold_the_end_up(desk, monkeypatch):
    monkeypatch.setattr(serving, "_CLOSING_S", 0.5)
    async with AsyncExitStack() as stack, desk() as one:
        for _ in range(3):
            await stack.enter_async_context(silent_stream(one))
        async with asyncio.timeout(10):
            while one.server.counts.viewers < 3:
                await asyncio.sleep(0.01)
        # What opened the desk waits ten seconds for its end.


def silent_stream(one):
    """A browser that opens the stream and then says nothing any more."""
    return connected(
        one,
        "GET /api/stream HTTP/1.1",
        f"Host: {one.url.removeprefix('http://')}",
        f"Origin: {one.url}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "",
    )

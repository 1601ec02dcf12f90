"""Only hosts of the cluster file get a connection, the server knows which one it is, and nothing waits unbounded."""

import asyncio
import socket

import pytest
import zmq
from msgspec.structs import replace
from structlog.testing import capture_logs

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.errors import TransportError, UsageError
from arbshard.secret import Secret
from arbshard.wire.envelope import HostReply, join, join_reply, pack
from arbshard.wire.links import (
    LINK_BYTES_MAX,
    HostChannel,
    HostClient,
    HostLinks,
    HostListener,
    HostServer,
    require_ports,
)
from arbshard.wire.serve import ReplyServer
from support.ports import free_ports


class Hosts:
    """Makes the links of hosts that share a cluster file."""

    def __init__(self, *names, **settings):
        self.secrets = {}
        hosts = {}
        for name in names:
            public, secret = zmq.curve_keypair()
            self.secrets[name] = Secret(secret.decode())
            hosts[name] = HostConfig("127.0.0.1", public.decode(), free_ports(3))
        self.config = ClusterConfig("demo", hosts, ("nats://127.0.0.1:4222",), **settings)
        self._opened = []

    def links(self, name, **changes):
        links = HostLinks(replace(self.config, host=name, **changes), self.secrets[name])
        self._opened.append(links)
        return links

    def endpoint(self, name):
        return self.config.hosts[name].follow_endpoint

    def close(self):
        for links in self._opened:
            links.close()


@pytest.fixture
async def hosts():
    made = Hosts("a", "b", "c", lease_ms=300)
    yield made
    made.close()


class Echo:
    def __init__(self, links, endpoint):
        self.got, self.routes = [], []
        self.server = HostServer(links, endpoint, self.receive)

    def receive(self, route, host, message):
        self.got.append((host, message))
        self.routes.append(route)
        self.server.send(route, b"re: " + message)


async def test_a_server_knows_which_host_has_sent_each_message(hosts, until):
    echo = Echo(hosts.links("a"), hosts.endpoint("a"))
    answers = {}
    for name in ("b", "c"):
        heard = answers[name] = []
        client = HostClient(hosts.links(name), "a", hosts.endpoint("a"), heard.append)
        await until(lambda client=client, name=name: client.send(name.encode()))
    await until(lambda: all(answers.values()))
    assert sorted(echo.got) == [("b", b"b"), ("c", b"c")]
    assert answers == {"b": [b"re: b"], "c": [b"re: c"]}


async def test_a_key_that_is_not_in_the_cluster_file_is_refused_and_counted(hosts, until):
    links = hosts.links("a")
    echo = Echo(links, hosts.endpoint("a"))
    strangers = Hosts("a", "b")
    # It knows the server's public key, and the server does not know it.
    strangers.config.hosts["a"] = hosts.config.hosts["a"]
    try:
        client = HostClient(strangers.links("b"), "a", hosts.endpoint("a"), lambda _: None)
        await until(lambda: links.refused)
        assert not client.send(b"let me in")
        assert echo.got == []
        (line,) = links.refusals
        assert line.startswith("a host at 127.0.0.1 is refused: its key is not one of a host")
    finally:
        strangers.close()


@pytest.mark.parametrize("changes", [{"shards": 9}, {"lease_ms": 900}, {"replication": "async"}])
async def test_a_host_with_another_cluster_file_is_not_heard_and_named(hosts, until, changes):
    links = hosts.links("a")
    echo = Echo(links, hosts.endpoint("a"))
    other = HostClient(hosts.links("b", **changes), "a", hosts.endpoint("a"), lambda _: None)
    same = HostClient(hosts.links("c", samples_hz=9), "a", hosts.endpoint("a"), lambda _: None)
    with capture_logs() as logged:
        await until(lambda: other.send(b"vote for me") and same.send(b"hello") and links.refused > 2)
    await until(lambda: echo.got)
    assert {host for host, _ in echo.got} == {"c"}
    (line,) = links.refusals
    assert line.startswith("host b is refused: its cluster file differs")
    assert [one["who"] for one in logged if one["event"] == "a host is refused"] == ["host b"]


async def test_so_many_refused_hosts_are_named_and_no_more(hosts):
    links = hosts.links("a")
    for number in range(100):
        links.refuse(f"a host at 10.0.0.{number}", "why")
    assert (links.refused, len(links.refusals)) == (100, 16)


async def test_a_message_of_another_form_is_counted(hosts, until):
    echo = Echo(hosts.links("a"), hosts.endpoint("a"))
    client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
    await until(lambda: client.send(b"hello"))
    client._socket.send(b"short")
    client._socket.send_multipart((b"two frames", b"of them"))
    await until(lambda: echo.server.bad == 2)
    echo.server._socket.send_multipart((echo.routes[0], b"two", b"frames"))
    await until(lambda: client.bad == 1)


async def test_a_peer_without_encryption_is_not_heard(hosts, until):
    links = hosts.links("a")
    echo = Echo(links, hosts.endpoint("a"))
    plain = zmq.Context.instance().socket(zmq.DEALER)
    try:
        plain.setsockopt(zmq.LINGER, 0)
        plain.connect(hosts.endpoint("a"))
        plain.send(b"in clear")
        client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
        await until(lambda: client.send(b"hello"))
        await until(lambda: echo.got)
        await asyncio.sleep(0.05)
        assert echo.got == [("b", b"hello")]
    finally:
        plain.close()


async def test_a_server_with_another_key_gets_nothing(hosts):
    """A program that answers at the leader's address without its secret key cannot read what is sent."""
    impostor = Hosts("a")
    impostor.config.hosts["b"] = hosts.config.hosts["b"]
    try:
        echo = Echo(impostor.links("a"), hosts.endpoint("a"))
        client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
        for _ in range(20):
            assert not client.send(b"secret")
            await asyncio.sleep(0.01)
        assert echo.got == []
    finally:
        impostor.close()


async def test_nothing_is_queued_for_a_host_that_is_not_there(hosts, until):
    client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
    assert not client.send(b"one")
    assert client.unsent == 1
    echo = Echo(hosts.links("a"), hosts.endpoint("a"))
    await until(lambda: client.send(b"two"))
    await until(lambda: echo.got)
    assert echo.got == [("b", b"two")]


async def test_a_message_to_a_host_that_has_gone_is_counted(hosts, until):
    routes = []
    server = HostServer(hosts.links("a"), hosts.endpoint("a"), lambda route, *_: routes.append(route))
    client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
    await until(lambda: client.send(b"hello"))
    await until(lambda: routes)
    client.close()
    await until(lambda: not server.send(routes[0], b"still there?"))
    assert server.unsent == 1


async def test_a_host_that_does_not_read_fills_a_bounded_queue(hosts, until):
    routes = []
    server = HostServer(
        hosts.links("a"), hosts.endpoint("a"), lambda route, *_: routes.append(route), high_water=8
    )
    client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None, high_water=8)
    await until(lambda: client.send(b"hello"))
    await until(lambda: routes)
    client._reader.close()  # it reads no more, and its connection lives
    sent = 0
    while sent < 1000 and server.send(routes[0], bytes(1_000_000)):
        sent += 1
    assert 8 <= sent < 1000


async def test_a_message_beyond_the_limit_closes_the_connection(hosts, until):
    echo = Echo(hosts.links("a"), hosts.endpoint("a"))
    client = HostClient(hosts.links("b"), "a", hosts.endpoint("a"), lambda _: None)
    await until(lambda: client.send(bytes(LINK_BYTES_MAX + 1)))
    await until(lambda: (client.send(b"small"), echo.got)[1])  # some may be lost with the connection
    assert set(echo.got) == {("b", b"small")}


async def test_requests_of_another_host_are_answered_many_at_a_time(hosts, until, endpoint):
    own_endpoint = endpoint
    links = hosts.links("a")
    endpoint = hosts.config.hosts["a"].requests_endpoint
    listener = HostListener(links, endpoint, 7)
    server = ReplyServer(
        own_endpoint,
        lambda batch: [b"re: " + one for one in batch],
        listeners=(listener,),
    )
    server.start(lambda error: pytest.fail(str(error)))
    replies = []
    channel = HostChannel(hosts.links("b"), "a", endpoint, replies.append)
    channel.connect()
    try:

        def is_sent(number):
            try:
                channel.send(b"id-%d" % number, b"%d" % number)
            except TransportError:
                return False
            return True

        await until(lambda: is_sent(0))
        for number in range(1, 50):
            assert is_sent(number)
        await until(lambda: len(replies) >= 50)
        assert sorted(replies) == sorted(HostReply(b"id-%d" % one, b"re: %d" % one) for one in range(50))
    finally:
        channel.drop()
        channel.drop()
        server.close()


async def test_a_dropped_channel_begins_anew(hosts, until):
    endpoint = hosts.config.hosts["a"].requests_endpoint
    listener = HostListener(hosts.links("a"), endpoint, 7)
    got = []
    listener.start(lambda: got.extend(listener.receive(10)))
    replies = []
    channel = HostChannel(hosts.links("b"), "a", endpoint, replies.append)

    def is_sent(name):
        try:
            channel.send(name, b"")
        except TransportError:
            return False
        return True

    await until(lambda: is_sent(b"first"))
    await until(lambda: got)
    channel.drop()
    got[0].reply(b"too late")
    await until(lambda: is_sent(b"second"))
    await until(lambda: len(got) == 2)
    got[1].reply(b"in time")
    await until(lambda: replies)
    assert replies == [HostReply(b"second", b"in time")]
    assert got[1].host == "b"
    got[1].hand_over(b"before it is safe", 12)
    await until(lambda: len(replies) == 2)
    assert replies[1] == HostReply(b"second", b"before it is safe", 7, 12)
    channel.drop()
    listener.close()


async def test_an_invalid_reply_is_given_as_none(hosts, until):
    routes, replies = [], []
    links = hosts.links("a")
    server = links.bind(hosts.endpoint("a"), high_water=10)
    channel = HostChannel(hosts.links("b"), "a", hosts.endpoint("a"), replies.append)

    def is_sent():
        try:
            channel.send(b"id", b"")
        except TransportError:
            return False
        return True

    await until(is_sent)
    await until(lambda: server.poll(0))
    routes.append(server.recv_multipart()[0])
    server.send_multipart((routes[0], b"no envelope"))
    server.send_multipart((routes[0], *pack(b"id", b"payload")))
    server.send_multipart((routes[0], join(b"id", b"payload")))
    server.send_multipart((routes[0], join_reply(HostReply(b"id", b"payload", 3, 9))))
    await until(lambda: len(replies) == 4)
    assert replies == [None, None, None, HostReply(b"id", b"payload", 3, 9)]
    channel.drop()
    server.close()


async def test_an_address_that_is_not_known_is_an_error_with_its_name(hosts):
    links = hosts.links("a")
    with pytest.raises(TransportError, match=r"tcp://nowhere\.invalid:7400: there is no such address"):
        links.bind("tcp://nowhere.invalid:7400", high_water=1)
    with pytest.raises(TransportError, match="cannot bind"):
        links.bind("tcp://192.0.2.1:7400", high_water=1)


async def test_a_name_is_bound_by_its_address(hosts):
    port = free_ports(1)
    bound = hosts.links("a").bind(f"tcp://localhost:{port}", high_water=1)
    assert bound.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").endswith(b":%d" % port)
    bound.close()


class TestPorts:
    """Ports are tried before a run begins: two of the three are needed only while the host leads."""

    def config(self, address="127.0.0.1", port=0):
        made = HostConfig(address, "k" * 40, port or free_ports(3))
        return ClusterConfig("demo", {"a": made}, ("nats://127.0.0.1:4222",), host="a")

    def test_free_ones_stay_free(self):
        config = self.config()
        require_ports(config)
        require_ports(config)

    @pytest.mark.parametrize("taken", [0, 1, 2])
    def test_one_that_is_taken_is_named(self, taken):
        config = self.config()
        port = config.own.port
        with socket.socket() as other:
            other.bind(("127.0.0.1", port + taken))
            other.listen()
            with pytest.raises(UsageError) as caught:
                require_ports(config)
        assert str(caught.value) == (
            f"hosts.a.port of the cluster file: host a needs the ports {port} to {port + 2} of 127.0.0.1, and "
            f"{port + taken} cannot be used: Address already in use"
        )

    def test_the_address_of_another_machine(self):
        with pytest.raises(
            UsageError, match=r"192\.0\.2\.1 is not an address of this machine; start host a on"
        ):
            require_ports(self.config("192.0.2.1"))

    def test_a_name_that_is_not_known(self):
        with pytest.raises(UsageError, match=r"^hosts\.a\.address of the cluster file: .*no such address"):
            require_ports(self.config("nowhere.invalid"))

"""Keeps the cluster's leases and its universe in NATS: two KV buckets of JetStream.

``NatsStore`` connects to one server after the other until one answers, makes buckets that are missing, and watches
them. A connection that fails, hangs, or whose buckets are gone is given up as a whole and begun anew with the next
server, so that there is one way to a working state. Every wait is bounded, and nothing here raises: a write that
fails is counted and returns None, because NATS decides nothing that safety rests on.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from itertools import cycle

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from arbshard.cluster.store import BUCKETS, StoredEntry
from arbshard.config.cluster import ClusterConfig
from arbshard.config.cluster_file import HostKeys
from arbshard.log import get_logger

_CONNECT_S = 2.0
"""How long it may take to connect, to open the buckets and to read them, in seconds."""
_AGAIN_S, _AGAIN_MAX_S = 0.05, 1.0
"""Pause between two tries to connect, in seconds: the first one, and the longest."""
_CLOSE_S = 0.5
_HEARTBEAT_MIN_S = 0.1
"""Shortest interval at which a server says that nothing has changed, in seconds."""
_REPLICAS_MAX = 5
_CHANGED_MEANWHILE = (10071, 10164)
"""JetStream's codes for a write over a revision that is not the newest one."""
_EXISTS = 10058
"""JetStream's code for a stream that exists with other settings."""
_FAILURES = (OSError, nats.errors.Error, TimeoutError, ValueError)


class NatsStore:
    """Is a ``LeaseStore`` at NATS."""

    def __init__(
        self,
        cluster: ClusterConfig,
        keys: HostKeys,
        on_entry: Callable[[StoredEntry], None],
        on_state: Callable[[bool], None],
    ) -> None:
        """Prepare. ``on_entry`` gets each entry when it is read, ``on_state`` whether there is a connection."""
        self._name = cluster.name
        self._servers = cluster.nats
        self._keys = keys
        self._on_entry = on_entry
        self._on_state = on_state
        self._replicas = min(len(cluster.nats), _REPLICAS_MAX)
        lease_s = cluster.lease_ms / 1000
        self._write_s = lease_s / 2
        self._heartbeat_s = max(lease_s / 2, _HEARTBEAT_MIN_S)
        self._silent_s = 2 * lease_s + self._heartbeat_s
        self._jetstream: JetStreamContext | None = None
        self._end: asyncio.Future[str] | None = None
        self._known: dict[str, set[str]] = {bucket: set() for bucket in BUCKETS}
        """The keys that were read or written, by bucket."""
        self.trouble = "there was no connection yet"
        self.connections = 0
        """Number of connections on which the buckets could be read."""
        self.failures = 0
        """Number of reads that were not answered, and of writes of which it is not known whether they were done."""

    @property
    def is_connected(self) -> bool:
        """Return whether the store can be reached, as far as is known."""
        return self._jetstream is not None

    async def run(self) -> None:
        """Keep connected, and report every entry as it changes, until this is cancelled."""
        pause_s = _AGAIN_S
        reported: dict[str, str] = {}
        for server in cycle(self._servers):
            before = self.connections
            try:
                why = await self._serve(server)
            except _FAILURES as error:
                why = str(error) or type(error).__name__
            # ``trouble`` may state the same already: the library reports an error before it raises it.
            if self.connections > before or why != reported.get(server):
                get_logger().warning("NATS cannot be used", server=server, why=why)
            self.trouble = reported[server] = why
            pause_s = _AGAIN_S if self.connections > before else min(2 * pause_s, _AGAIN_MAX_S)
            await asyncio.sleep(pause_s)

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int | None:
        """Write over revision ``expected``; see ``LeaseStore``."""
        headers = {} if expected is None else {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(expected)}
        return await self._write(bucket, key, value, headers)

    async def read(self, bucket: str, key: str) -> None:
        """Report what is at ``key`` now; see ``LeaseStore``."""
        if self._jetstream is not None:
            await self._read(self._jetstream, bucket, key)

    async def _write(self, bucket: str, key: str, value: bytes, headers: dict[str, str]) -> int | None:
        jetstream = self._jetstream
        if jetstream is None:
            return None
        subject = f"{self._subjects(bucket)}{key}"
        try:
            done = await jetstream.publish(subject, value, headers=dict(headers))
        except nats.js.errors.NoStreamResponseError:
            self.failures += 1
            self._give_up(f"the bucket {bucket} is gone")
        except nats.js.errors.APIError as error:
            if error.err_code in _CHANGED_MEANWHILE:
                await self._read(jetstream, bucket, key)  # it is not what this host has seen
            else:
                self.failures += 1
                self.trouble = f"{bucket}: {error.description}"
        except _FAILURES:
            self.failures += 1
        else:
            self._known[bucket].add(key)
            return done.seq
        return None

    async def _read(self, jetstream: JetStreamContext, bucket: str, key: str) -> None:
        try:
            found = await jetstream.get_last_msg(self._stream(bucket), f"{self._subjects(bucket)}{key}")
        except nats.js.errors.NotFoundError:
            self._on_entry(StoredEntry(bucket, key, 0, None))
        except _FAILURES:
            self.failures += 1
        else:
            is_gone = "KV-Operation" in (found.headers or {})
            value = None if is_gone else found.data or b""
            self._on_entry(StoredEntry(bucket, key, found.seq or 0, value))

    async def _serve(self, server: str) -> str:
        """Use one connection until it fails. Return why it did. Raises one of ``_FAILURES`` when it never worked."""
        client = Client()
        loop = asyncio.get_running_loop()
        end: asyncio.Future[str] = loop.create_future()
        self._end = end
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._connect(client, server)
                jetstream = client.jetstream(timeout=self._write_s)
                watches = [await self._watch(client, jetstream, bucket) for bucket in BUCKETS]
                for watch in watches:
                    await watch.whole
            self._report_missing(watches)
            self._jetstream = jetstream
            self.connections += 1
            self.trouble = ""
            get_logger().info("NATS is connected", server=server)
            self._on_state(True)
            while not end.done():
                await asyncio.wait((end,), timeout=self._heartbeat_s)
                if any(loop.time() - watch.seen_s > self._silent_s for watch in watches):
                    self._give_up(f"it has been silent for {self._silent_s:g} s")
            return await end
        finally:
            was_connected = self._jetstream is not None
            self._jetstream = self._end = None
            if was_connected:
                self._on_state(False)
            await _close(client)

    async def _connect(self, client: Client, server: str) -> None:
        async def closed() -> None:
            self._give_up("the connection has ended")

        async def failed(error: Exception) -> None:
            self.trouble = str(error) or type(error).__name__

        await client.connect(
            servers=[server],
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=1,
            connect_timeout=int(_CONNECT_S),
            closed_cb=closed,
            error_cb=failed,
            name=f"arbshard {self._name}",
            tls=ssl.create_default_context() if server.startswith("tls:") else None,
            user=self._keys.nats_user or None,
            password=self._keys.nats_password.use(str) or None,
        )

    async def _watch(self, client: Client, jetstream: JetStreamContext, bucket: str) -> "_BucketWatch":
        """Return a watch of ``bucket``, which is made if it is missing."""
        stream = self._stream(bucket)
        try:
            await jetstream.add_stream(
                api.StreamConfig(
                    name=stream,
                    subjects=[f"{self._subjects(bucket)}>"],
                    max_msgs_per_subject=1,
                    num_replicas=self._replicas,
                    discard=api.DiscardPolicy.NEW,
                    deny_delete=True,
                    allow_rollup_hdrs=True,
                )
            )
        except nats.js.errors.BadRequestError as error:
            if error.err_code != _EXISTS:
                raise
        watch = _BucketWatch(bucket, self._subjects(bucket), self._on_entry, self._give_up)
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=watch.receive)
        found = await jetstream.add_consumer(
            stream,
            api.ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
                filter_subject=f"{self._subjects(bucket)}>",
                ack_policy=api.AckPolicy.NONE,
                idle_heartbeat=self._heartbeat_s,
                inactive_threshold=10 * self._silent_s,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        delivered = found.delivered.consumer_seq if found.delivered is not None else 0
        watch.begin((found.num_pending or 0) + delivered)
        return watch

    def _report_missing(self, watches: "Sequence[_BucketWatch]") -> None:
        """Report the keys that the store had on the connection before, and has lost."""
        for watch in watches:
            for key in self._known[watch.bucket] - watch.keys:
                self._on_entry(StoredEntry(watch.bucket, key, 0, None))
            self._known[watch.bucket] = watch.keys

    def _give_up(self, why: str) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(why)

    def _stream(self, bucket: str) -> str:
        return f"KV_{self._name}-{bucket}"

    def _subjects(self, bucket: str) -> str:
        return f"$KV.{self._name}-{bucket}."


class _BucketWatch:
    """Reports the entries of a bucket as the server sends them."""

    def __init__(
        self,
        bucket: str,
        subjects: str,
        on_entry: Callable[[StoredEntry], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self.bucket = bucket
        self._subjects = subjects
        self._on_entry = on_entry
        self._on_failure = on_failure
        self._serial = 0
        loop = asyncio.get_running_loop()
        self._now_s = loop.time
        self.seen_s = loop.time()
        """When the server last sent something, by the loop's clock."""
        self.whole: asyncio.Future[None] = loop.create_future()
        """Is done when all that was stored at first has been reported."""
        self.keys: set[str] = set()

    def begin(self, pending: int) -> None:
        """Note that ``pending`` entries are stored."""
        if not pending:
            self._end_first_part()

    async def receive(self, message: Msg) -> None:
        """Report an entry; a message without one says that nothing has changed."""
        self.seen_s = self._now_s()
        if not message.subject.startswith(self._subjects):
            return
        about = message.metadata
        self._serial += 1
        if about.sequence.consumer != self._serial:
            self._on_failure(f"{self.bucket}: a message was lost")
            return
        key = message.subject.removeprefix(self._subjects)
        is_gone = "KV-Operation" in (message.headers or {})
        self.keys.add(key)
        revision = about.sequence.stream
        self._on_entry(StoredEntry(self.bucket, key, revision, None if is_gone else message.data))
        if about.num_pending == 0:
            self._end_first_part()

    def _end_first_part(self) -> None:
        if not self.whole.done():
            self.whole.set_result(None)


async def _close(client: Client) -> None:
    """Close the connection, whatever state it is in."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
    except _FAILURES as error:
        get_logger().info("the connection to NATS was not closed in order", why=str(error))

"""Targets: our own messages on their way, by decoders, envelopes and bus; and a venue's frames on theirs to slots."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import zmq

from arbshard.errors import ProtocolError
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base.market import ControlFrame, Venue
from arbshard.venues.registry import get_venue
from arbshard.wire import control, messages, order_events, unix
from arbshard.wire.bus import Publisher, Subscriber
from arbshard.wire.envelope import REPLY_BYTES_MAX, VERSION, pack, unpack
from arbshard.wire.sockets import open_socket
from fuzzing import corpus
from fuzzing import messages as made
from fuzzing.target import Target, require
from supervisor.feeds.fanout import VenueFanout

_SEED = 7
_WAIT_S = 5.0
_SLOT_BYTES = 8192


class Decoders:
    """Every decoder of ``wire`` gets every payload: a message or ``ProtocolError``."""

    blind = 0.5
    name = "message decoders"

    def __init__(self) -> None:
        rng = Random(_SEED)
        self.corpus = [
            *made.risk_payloads(rng), *made.risk_answers(rng), *made.control_payloads(rng),
            *made.order_events_of(rng),
        ]  # fmt: skip
        self._decoders: tuple[tuple[str, Callable[[bytes], object], Callable[..., bytes]], ...] = (
            ("request", messages.decode_request, messages.encode),
            ("reply", messages.decode_reply, messages.encode),
            ("command", messages.decode_command, messages.encode),
            ("answer to a command", messages.decode_command_reply, messages.encode),
            ("order", control.decode_order, control.encode),
            ("answer to an order", control.decode_answer, control.encode),
            ("order event", order_events.decode, order_events.encode),
        )

    def __call__(self, case: bytes) -> str:
        """What it is taken for; what was decoded can be said again, and is then the same."""
        outcome = "refused"
        for kind, decode, encode in self._decoders:
            try:
                found = decode(case)
            except ProtocolError as error:
                require(len(str(error)) <= len(case) + 500, "a long story")
                continue
            outcome = kind
            said = encode(found)
            require(encode(decode(said)) == said, f"another {kind} when it is said again")
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class Envelopes:
    """A stream of messages cut anywhere, and the frames of a request."""

    blind = 0.5
    name = "envelopes"

    def __init__(self) -> None:
        rng = Random(_SEED)
        payloads = made.risk_payloads(rng, 2)
        single = [unix.encode(rng.randbytes(rng.choice((1, 16, 64))), payload) for payload in payloads]
        self.corpus: Sequence[bytes] = [*single, *(b"".join(rng.choices(single, k=4)) for _ in range(20))]
        self._rng = rng

    def __call__(self, case: bytes) -> str:
        """The same whether it comes whole or in pieces; ``ValueError`` for what cannot be messages."""
        whole = self._read([case])
        cuts = sorted(self._rng.randrange(len(case) + 1) for _ in range(3))
        begins, ends = [0, *cuts], [*cuts, len(case)]
        pieces = [case[begin:end] for begin, end in zip(begins, ends, strict=True)]
        cut = self._read(pieces)
        require(whole[1] == cut[1], "cut otherwise, read otherwise")
        # What stood before the garbage is only told when it came earlier.
        require(whole[0] == cut[0] or whole[1], "other messages when cut otherwise")
        for frames in (
            [case],
            [VERSION, case[:8], case],
            [VERSION, case, b""],
            [case[:4], b"id", case],
            pieces,
        ):
            found = unpack(frames)
            require(found is None or pack(*found) == list(frames), "unpacked what was not packed")
        return "broken off" if whole[1] else f"{min(len(whole[0]), 5)} messages"

    def _read(self, pieces: Sequence[bytes]) -> tuple[list[tuple[bytes, bytes] | None], bool]:
        reader, found = unix.Messages(REPLY_BYTES_MAX), []
        for piece in pieces:
            try:
                found += reader.feed(piece)
            except ValueError:
                return found, True
        return found, False

    def close(self) -> None:
        """Nothing is held."""


class BusTarget:
    """A subscriber of a publisher that says anything, over a real socket; and a publisher that is told anything."""

    blind = 0.5
    name = "bus"

    def __init__(self) -> None:
        rng = Random(_SEED)
        self.corpus = [*made.order_events_of(rng, 5), *corpus.upbit_frames()[:10], b"connected", b""]
        self._stack = ExitStack()
        place = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="arbfuzz-"))
        loud, own = f"ipc://{place}/loud.ipc", f"ipc://{place}/own.ipc"
        self._loud = open_socket(zmq.XPUB, loud, bind=True, high_water=4096)
        self._stack.callback(self._loud.close)
        self._subscriber = self._stack.enter_context(Subscriber(loud, (b"",)))
        require(self._loud.poll(_WAIT_S * 1000, zmq.POLLIN) != 0, "the subscription did not come")
        self._loud.recv()
        self._publisher = self._stack.enter_context(Publisher(own))
        self._teller = open_socket(zmq.XSUB, own, bind=False, high_water=4096)
        self._stack.callback(self._teller.close)
        self._rng = rng
        self._sequence = 0
        self._bad = 0

    def __call__(self, case: bytes) -> str:
        """One message with the case somewhere in it; every message is taken or counted."""
        self._sequence += 1
        number = self._sequence.to_bytes(8, "little")
        frames = self._rng.choice(
            (
                [case], [b"venue.upbit", number, case], [case[:20], number, b"connected"], [b"beat", case[:8], b""],
                [b"beat", case], [b"book.0.", number, b"\x00" * 4, case], [case, case, case], [b"", b""],
            )
        )  # fmt: skip
        self._loud.send_multipart(frames)
        is_good = len(frames) >= 2 and len(frames[1]) == 8
        self._bad += not is_good
        taken = 0
        deadline_s = time.monotonic() + _WAIT_S
        before = self._subscriber.bad
        while taken + self._subscriber.bad - before == 0 and time.monotonic() < deadline_s:
            found = self._subscriber.drain()
            taken += len(found)
            require(
                all([one.topic, *one.parts] == [frames[0], *frames[2:]] for one in found), "another message"
            )
            if not found and self._subscriber.bad == before:
                time.sleep(0.0001)
        require(taken == int(is_good), "a message too many or too few")
        require(self._subscriber.bad == self._bad, "not counted")
        self._tell(case)
        return "taken" if is_good else "bad"

    def _tell(self, case: bytes) -> None:
        """Subscriptions are read, whatever a subscriber sends."""
        kind = self._rng.choice((b"\x01", b"\x00", b"\x02", b""))
        self._teller.send_multipart([kind + case[:200], *([case] if self._rng.random() < 0.2 else [])])
        self._publisher.pump()
        self._publisher.publish(case[:50], case)

    def close(self) -> None:
        """The sockets, and what was counted."""
        self._stack.close()


class Recorder:
    """Stands between fanout and feed, and counts what was written."""

    def __init__(self, books: BooksWriter) -> None:
        self._books = books
        self.written = 0
        self.last: tuple[int, bytes] | None = None

    def write(self, slot: int, frame: bytes, received_ns: int) -> None:
        """See ``BooksWriter``."""
        self._books.write(slot, frame, received_ns)
        self.written += 1
        self.last = slot, frame

    def set_live(self, slot: int, live: bool) -> None:
        """See ``BooksWriter``."""
        self._books.set_live(slot, live=live)


class FanoutTarget:
    """One venue's frames on their way to their slots."""

    blind = 0.5

    def __init__(self, venue: Venue, frames: Sequence[bytes], symbols: Sequence[str]) -> None:
        self.name = f"{venue.name} fanout"
        self.corpus = [*frames, frames[0] + b" " * _SLOT_BYTES]
        self._stack = ExitStack()
        place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="arbfuzz-")))
        writer = self._stack.enter_context(
            BooksWriter.create(place / "books", len(symbols), _SLOT_BYTES, epoch=1)
        )
        self._reader = self._stack.enter_context(BooksReader.attach(place / "books"))
        notifiers = [self._stack.enter_context(ShardNotifier.create(place, shard)) for shard in range(2)]
        self._books = Recorder(writer)
        self._control: list[ControlFrame] = []
        targets = {symbol: (slot, (slot % 2,)) for slot, symbol in enumerate(symbols)}
        self._fanout = VenueFanout(venue, targets, self._books, notifiers, self._control.append)
        self._controls = 0
        self._now_ns = 1

    def __call__(self, case: bytes) -> str:
        """In a slot, heard as control, or refused: each counted, and no fourth way."""
        self._now_ns += 1
        self._control.clear()
        before = self._fanout.refused, self._books.written
        self._fanout(case, self._now_ns)
        self._controls += len(self._control)
        refused, written = self._fanout.refused, self._books.written
        require(
            self._fanout.frames == written + self._controls + refused,
            f"{self._fanout.frames} frames, {written} written, {self._controls} heard, {refused} refused",
        )
        if written != before[1]:
            assert self._books.last is not None
            slot, frame = self._books.last
            found = self._reader.read(slot)
            require(
                found is not None and found[1:] == (self._now_ns, True, frame), "another frame in the slot"
            )
            return "written"
        return self._control[0].kind.value if self._control else "refused"

    def close(self) -> None:
        """Unmap everything."""
        self._stack.close()


def _upbit_fanout() -> FanoutTarget:
    symbols = ("KRW-BTC", "KRW-ETH", "KRW-USDT", "KRW-MOSS")
    return FanoutTarget(get_venue("upbit"), corpus.upbit_frames(), symbols)


def _binance_fanout() -> FanoutTarget:
    return FanoutTarget(get_venue("binance"), corpus.binance_frames(), ("BTCUSDT", "ETHUSDT"))


MAKERS: dict[str, Callable[[], Target]] = {
    Decoders.name: Decoders,
    Envelopes.name: Envelopes,
    BusTarget.name: BusTarget,
    "upbit fanout": _upbit_fanout,
    "binance fanout": _binance_fanout,
}
"""By name; each makes its sockets and files anew."""

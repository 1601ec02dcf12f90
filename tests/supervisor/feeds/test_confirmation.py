"""Quiet books: what signs of life confirm, and for how long, and what REST finds out. On virtual time."""

import asyncio
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.config import DataConfig
from arbshard.errors import VenueUnavailable
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import get_venue
from supervisor.feeds.confirmation import BookConfirmation
from supervisor.feeds.fanout import VenueFanout
from support import virtual_time as v

S = 1_000_000_000
QUALITY = DataConfig()
SLOTS = {"AUSDT": 1, "BUSDT": 3, "FXUSDT": 0}


def book(number, bid=100.0):
    """A book as Binance's stream and REST show it."""
    bids = [[f"{bid - level:.2f}", "1.0"] for level in range(5)]
    asks = [[f"{bid + 1 + level:.2f}", "1.0"] for level in range(5)]
    return {"lastUpdateId": number, "bids": bids, "asks": asks}


class Connection:
    """A connection that carries all markets, alive until ``died_ns``."""

    def __init__(self, world):
        self.world = world
        self.is_alive = True
        self.answers_pings = True
        self.pings = 0
        self.died_ns = 0
        self.counts = dict.fromkeys(SLOTS, 0)
        self.again = []
        self.renewed = 0
        self.lane = world.fanout.lane(lambda _: None)
        self.lane.attach(SLOTS)

    @property
    def symbols(self):
        return tuple(SLOTS)

    def alive_ns(self, now_ns):
        return now_ns if self.is_alive else self.died_ns

    def die(self):
        self.is_alive, self.died_ns = False, self.world.clock.monotonic_ns()

    def ping(self, now_ns, pause_ns):
        self.pings += 1
        if self.answers_pings:
            self.died_ns = now_ns

    def frames_received(self, symbol):
        return self.counts[symbol]

    def ask_again(self, symbol):
        self.again.append(symbol)
        self.world.on_remedy(symbol)

    def renew(self):
        self.renewed += 1

    def say(self, symbol, content):
        self.counts[symbol] += 1
        stream = {"stream": f"{symbol.lower()}@depth20@100ms", "data": content}
        self.lane(json.dumps(stream, separators=(",", ":")).encode(), self.world.clock.monotonic_ns())


class Notifier:
    def push(self, slot):
        pass


class Looked:
    """The slots, and which of them were looked at."""

    def __init__(self, books, looked):
        self.books = books
        self.looked = looked

    def times(self, slot):
        self.looked.append(slot)
        return self.books.times(slot)

    def confirm(self, slot, at_ns):
        self.books.confirm(slot, at_ns)


class World:
    """One venue: what its markets truly look like, what its stream tells, and what confirms the slots."""

    def __init__(self, folder, quality=QUALITY):
        self.clock = v.LoopClock()
        self.books = BooksWriter.create(folder / "books", 8, epoch=1)
        self.reader = BooksReader.attach(folder / "books")
        targets = {symbol: (slot, (0,)) for symbol, slot in SLOTS.items()}
        venue = get_venue("binance")
        self.fanout = VenueFanout(
            venue, targets, self.books, [Notifier()], lambda _: None, lambda slot: self.reader.read(slot)[3]
        )
        self.truth = {symbol: book(1) for symbol in SLOTS}
        self.connection = Connection(self)
        self.groups = [(self.connection,)]
        self.asked = []
        self.alerts = []
        self.answer = None
        self.on_remedy = lambda symbol: None
        self.confirmation = BookConfirmation(
            self.fanout, lambda: self.groups, self.books, self.reader.read, quality, 0, "https://b", 20, self.clock,
            self.fetch, self.alerts.append,
        )  # fmt: skip
        self.tasks = [
            asyncio.ensure_future(self.confirmation.run()),
            asyncio.ensure_future(self.confirmation.ask()),
        ]
        for symbol in SLOTS:
            self.connection.say(symbol, self.truth[symbol])
        self.began_ns = self.clock.monotonic_ns()

    async def fetch(self, address):
        symbol = address.partition("symbol=")[2].partition("&")[0]
        self.asked.append((self.clock.monotonic_ns(), symbol))
        await asyncio.sleep(0.05)
        if self.answer is not None:
            return self.answer(symbol)
        return Answer(200, json.dumps(self.truth[symbol]).encode())

    def attend(self, *symbols):
        self.confirmation.attend(frozenset(SLOTS[symbol] for symbol in symbols))

    def age_s(self, symbol):
        """How long ago the book was last known to be the newest, as an exit sees it."""
        return (self.clock.monotonic_ns() - max(self.books.times(SLOTS[symbol]))) / S

    async def worst_age_s(self, symbol, seconds):
        worst = 0.0
        for _ in range(int(seconds * 20)):
            await asyncio.sleep(0.05)
            worst = max(worst, self.age_s(symbol))
        return worst

    def check(self):
        for task in self.tasks:
            assert not task.done(), task.exception()

    def close(self):
        self.check()
        self.reader.close()
        self.books.close()


def on(folder, work, **more):
    """Run ``work`` in a world of its own."""

    async def whole():
        world = World(folder, **more)
        try:
            return await work(world)
        finally:
            world.close()

    return v.run(whole())


def test_signs_of_life_confirm_a_quiet_book_for_a_while_and_no_longer(tmp_path):
    """Nothing is open there, so REST is not asked; the book is usable until ``quiet_confirm_s`` and not after."""

    async def work(world):
        assert await world.worst_age_s("AUSDT", 8) <= 0.5
        await asyncio.sleep(0.5 + 1.6)
        assert world.age_s("AUSDT") > 1.5
        received_ns, confirmed_ns = world.books.times(SLOTS["AUSDT"])
        assert confirmed_ns - received_ns == 8.5 * S  # plus the greatest age: ``quiet_confirm_s``
        assert world.books.times(SLOTS["FXUSDT"])[1] - received_ns == 5 * S
        assert world.asked == []
        world.connection.say("AUSDT", book(2))
        assert await world.worst_age_s("AUSDT", 8) <= 0.5

    on(tmp_path, work)


def test_no_sign_of_life_confirms_nothing(tmp_path):
    async def work(world):
        world.connection.die()
        await asyncio.sleep(5)
        assert world.books.times(SLOTS["AUSDT"])[1] <= world.began_ns

    on(tmp_path, work)


def test_without_new_signs_of_life_no_slot_is_looked_at_but_of_what_is_open(tmp_path):
    async def work(world):
        world.connection.answers_pings = False
        await asyncio.sleep(1)
        world.connection.die()
        await asyncio.sleep(1)
        looked = []
        world.confirmation._books = Looked(world.books, looked)
        await asyncio.sleep(1)
        assert looked == []
        world.attend("AUSDT")
        await asyncio.sleep(1)
        assert set(looked) == {SLOTS["AUSDT"]}

    on(tmp_path, work)


def test_a_new_connection_vouches_for_a_market_once_it_has_brought_it(tmp_path):
    async def work(world):
        world.connection.counts["AUSDT"] = 0
        await asyncio.sleep(3)
        assert world.books.times(SLOTS["AUSDT"])[1] == 0
        assert world.books.times(SLOTS["BUSDT"])[1] > 0

    on(tmp_path, work)


def test_a_market_that_is_down_is_not_confirmed(tmp_path):
    async def work(world):
        world.attend("AUSDT")
        world.fanout.mark_down(["AUSDT"])
        await asyncio.sleep(3)
        assert world.books.times(SLOTS["AUSDT"])[1] == 0
        assert world.asked == []

    on(tmp_path, work)


def test_rest_confirms_what_may_have_to_be_left(tmp_path):
    """A market that is silent for minutes stays usable, by a call every five seconds."""

    async def work(world):
        world.attend("AUSDT")
        assert await world.worst_age_s("AUSDT", 120) <= 0.5
        assert {symbol for _, symbol in world.asked} == {"AUSDT"}
        assert 20 <= len(world.asked) <= 24
        assert world.confirmation.confirmed == len(world.asked)
        assert (world.confirmation.dead, world.alerts, world.connection.again) == (0, [], [])
        assert world.fanout.writes("AUSDT") == 1  # nothing was written: no worker decodes the same book again
        world.attend()
        before = len(world.asked)
        await asyncio.sleep(30)
        assert len(world.asked) == before

    on(tmp_path, work)


def test_pings_are_sent_only_where_something_is_open(tmp_path):
    async def work(world):
        world.connection.die()
        await asyncio.sleep(5)
        assert world.connection.pings == 0
        world.attend("AUSDT")
        await asyncio.sleep(1)
        worst_s = await world.worst_age_s("AUSDT", 60)
        assert worst_s <= 1.5
        assert 30 <= world.connection.pings <= 80
        assert len(world.asked) <= 14

    on(tmp_path, work)


def test_without_signs_of_life_rest_alone_keeps_a_book_usable(tmp_path):
    """Neither frames nor answers to pings: REST is asked about every second, so that both books are good at once."""

    async def work(world):
        world.connection.answers_pings = False
        world.connection.die()
        world.attend("AUSDT", "BUSDT")
        await asyncio.sleep(3)
        for symbol in ("AUSDT", "BUSDT"):
            assert await world.worst_age_s(symbol, 30) <= 1.5
        assert len(world.asked) <= 4 * 63  # the budget: a quarter of what the venue's poller may ask
        gaps = [later[0] - earlier[0] for earlier, later in zip(world.asked, world.asked[1:], strict=False)]
        assert min(gaps) >= 0.25 * S

    on(tmp_path, work)


def test_a_dead_stream_is_found_counted_and_begun_anew(tmp_path):
    """The venue stops one market without a word, while the connection and the others go on."""

    async def work(world):
        world.attend("AUSDT", "FXUSDT")
        world.truth["AUSDT"] = book(50, bid=97.0)
        await asyncio.sleep(5.5)
        frame = world.reader.read(SLOTS["AUSDT"])[3]
        assert get_venue("binance").decode(frame, 1).best_bid == 97.0  # it is left at the true price
        assert world.confirmation.dead == 0  # its frame might just be under way
        await asyncio.sleep(2.5)
        assert (world.confirmation.dead, world.connection.again) == (1, ["AUSDT"])
        assert len(world.alerts) == 1
        assert "AUSDT" in world.alerts[0]
        for number in range(51, 60):
            world.truth["AUSDT"] = book(number, bid=97.0 - number)
            await asyncio.sleep(0.5)
        assert await world.worst_age_s("AUSDT", 5) <= 1.5  # by REST alone
        assert world.connection.renewed == 1
        await asyncio.sleep(120)
        assert world.confirmation.dead == 1
        assert len(world.connection.again) <= 5  # the pauses grow
        world.connection.say("AUSDT", book(70))
        await asyncio.sleep(20)
        asked = len([1 for _, symbol in world.asked if symbol == "AUSDT"])
        await asyncio.sleep(20)
        assert len([1 for _, symbol in world.asked if symbol == "AUSDT"]) - asked <= 5

    on(tmp_path, work)


def test_a_frame_that_is_merely_late_accuses_nobody(tmp_path):
    async def work(world):
        world.attend("AUSDT")
        world.truth["AUSDT"] = book(50, bid=97.0)
        await asyncio.sleep(5.5)
        world.connection.say("AUSDT", book(50, bid=97.0))
        await asyncio.sleep(4)
        assert (world.confirmation.dead, world.alerts, world.connection.again) == (0, [], [])
        assert await world.worst_age_s("AUSDT", 20) <= 0.5

    on(tmp_path, work)


def test_signs_of_life_confirm_nothing_of_a_suspected_stream(tmp_path):
    """REST has shown a newer book and answers no more: the connection lives, and the book is not confirmed."""

    async def work(world):
        world.attend("AUSDT")
        world.truth["AUSDT"] = book(50, bid=97.0)
        await asyncio.sleep(5.5)
        shown_ns = world.books.times(SLOTS["AUSDT"])[0]
        world.answer = lambda _: Answer(503, b"")
        await asyncio.sleep(30)
        assert max(world.books.times(SLOTS["AUSDT"])) <= shown_ns + S
        assert world.confirmation.dead == 1

    on(tmp_path, work)


def test_a_book_whose_asks_alone_differ_is_another_book(tmp_path):
    async def work(world):
        world.attend("AUSDT")
        world.truth["AUSDT"] = {**book(50), "asks": book(50, bid=105.0)["asks"]}
        await asyncio.sleep(6)
        assert world.confirmation.confirmed == 0
        frame = world.reader.read(SLOTS["AUSDT"])[3]
        assert get_venue("binance").decode(frame, 1).best_ask == 106.0

    on(tmp_path, work)


def test_a_frame_that_comes_while_rest_is_asked_settles_it(tmp_path):
    """The answer is older than the frame, and that is no failure to pause for."""

    async def work(world):
        old = world.truth["AUSDT"]

        def answer(symbol):
            world.connection.say(symbol, book(2))
            return Answer(200, json.dumps(old).encode())

        world.answer = answer
        world.attend("AUSDT")
        await asyncio.sleep(16)
        assert len(world.asked) == 3
        assert (world.confirmation.confirmed, world.confirmation.last_error) == (0, "")

    on(tmp_path, work)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: Answer(500, b""), "HTTP 500"),
        (lambda _: Answer(200, b"{}"), "bad_shape"),
        (lambda _: Answer(200, json.dumps({**book(9), "bids": []}).encode()), "no book that can be compared"),
        (lambda _: Answer(200, json.dumps(book(0, bid=90.0)).encode()), "an older book"),
        (lambda _: Answer(200, json.dumps(book(1, bid=90.0)).encode()), "another book of the same number"),
        (lambda _: Answer(429, b"", {"retry-after": "3"}), "429"),
        (None, "lost"),
    ],
)
def test_what_rest_does_not_show_is_not_confirmed(tmp_path, answer, why):
    """Neither is it written, and it is asked for again after pauses that grow."""

    async def work(world):
        def fails(symbol):
            if answer is None:
                raise VenueUnavailable("no way")
            return answer(symbol)

        world.answer = fails
        world.attend("AUSDT")
        await asyncio.sleep(60)
        assert world.age_s("AUSDT") > 49
        assert world.books.times(SLOTS["AUSDT"])[1] - world.began_ns <= 8.5 * S
        assert world.confirmation.confirmed == world.confirmation.dead == 0
        assert world.fanout.writes("AUSDT") == 1
        assert why in world.confirmation.last_error
        assert len(world.asked) <= 12
        world.answer = None
        await asyncio.sleep(40)
        assert world.confirmation.confirmed >= 1
        assert await world.worst_age_s("AUSDT", 20) <= 1.5

    on(tmp_path, work)


def test_one_refused_market_does_not_spoil_the_others(tmp_path):
    async def work(world):
        world.answer = lambda symbol: (
            Answer(400, b"") if symbol == "BUSDT" else Answer(200, json.dumps(world.truth[symbol]).encode())
        )
        world.attend("AUSDT", "BUSDT")
        assert await world.worst_age_s("AUSDT", 60) <= 1.5
        assert world.age_s("BUSDT") > 40

    on(tmp_path, work)


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 7.0),
        st.sampled_from(["frame", "change", "die", "live", "rest off", "rest on", "attend", "leave", "down"]),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=STEPS, quiet_s=st.sampled_from([0.0, 1.0, 4.0, 10.0]))
def test_nothing_is_confirmed_that_nobody_has_shown(tmp_path_factory, steps, quiet_s):
    """Whatever happens: a confirmation is never later than a sign of life or a REST answer, and those of signs of
    life end, with the greatest age of a book, ``quiet_confirm_s`` after a frame or an answer.
    """

    async def work(world):
        number, frame_ns = 1, world.began_ns
        rest_works, shown = True, []

        def answer(symbol):
            if not rest_works:
                raise VenueUnavailable("off")
            if symbol == "AUSDT":
                shown.append(world.asked[-1][0])
            return Answer(200, json.dumps(world.truth[symbol]).encode())

        world.answer = answer

        def check():
            received_ns, confirmed_ns = world.books.times(SLOTS["AUSDT"])
            rest_ns = max(shown, default=0)
            if confirmed_ns <= received_ns:
                return
            life_ns = world.clock.monotonic_ns() if world.connection.is_alive else world.connection.died_ns
            proof_ns = max(frame_ns, rest_ns)
            reach_ns = max(int(quiet_s * S) - 1.5 * S, 0)
            assert confirmed_ns <= max(rest_ns, min(life_ns, proof_ns + reach_ns))

        for pause_s, what in steps:
            for _ in range(math.ceil(pause_s / 0.25)):
                await asyncio.sleep(0.25)
                check()
            number += 1
            if what == "frame":
                world.truth["AUSDT"] = book(number, bid=100.0 + number)
                world.connection.say("AUSDT", world.truth["AUSDT"])
                frame_ns = world.clock.monotonic_ns()
            elif what == "change":  # the stream does not tell
                world.truth["AUSDT"] = book(number, bid=100.0 + number)
            elif what == "die" and world.connection.is_alive:
                world.connection.die()
            elif what == "live":
                world.connection.is_alive = True
            elif what.startswith("rest"):
                rest_works = what == "rest on"
            elif what in ("attend", "leave"):
                world.attend(*(["AUSDT"] if what == "attend" else []))
            elif what == "down":
                world.fanout.mark_down(["AUSDT"])

    folder = tmp_path_factory.mktemp("books")
    on(folder, work, quality=DataConfig(quiet_confirm_s=quiet_s))

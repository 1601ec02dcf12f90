"""The compiled twin does what the Python code does, whatever it is given."""

import gc
import json
import mmap
import weakref
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard import native
from arbshard.errors import FrameError
from arbshard.model.book import BookTop
from arbshard.shm.layout import HEADER_BYTES
from arbshard.shm.pages import BUCKETS, NS_MAX, bucket_of
from arbshard.venues.binance import market as binance
from arbshard.venues.frame import PlainTopReader
from arbshard.venues.upbit import market as upbit
from fuzzing.mutator import mutated
from support import frames
from support.effort import effort

pytestmark = pytest.mark.skipif(
    not native.IS_BUILT, reason="without a compiler there is no twin, and none is needed"
)

VENUES = [
    (
        upbit.Upbit(),
        upbit._usual_symbol,
        upbit._route_by_ends,
        upbit._usual_top,
        PlainTopReader(*upbit._TOP).read,
    ),
    (
        binance.Binance(),
        binance._usual_symbol,
        binance._route_by_ends,
        binance._usual_top,
        PlainTopReader(*binance._TOP).read,
    ),
]
DEPTH = json.dumps(
    {
        "stream": "btcusdt@depth20@100ms",
        "data": {
            "lastUpdateId": 160,
            "bids": [[f"{94_500 - n / 100:.8f}", f"{0.4 + n / 9:.8f}"] for n in range(20)],
            "asks": [[f"{94_501 + n / 100:.8f}", f"{0.5 + n / 7:.8f}"] for n in range(20)],
        },
    },
    separators=(",", ":"),
).encode()
CORPUS = [
    [row.frame for row in frames.upbit_rows()],
    [*(row.frame for row in frames.binance_rows()), *[DEPTH] * 400],
]
UPBIT = b'{"ty":"orderbook","cd":"KRW-BTC","tms":1,"obu":[{"ap":%b,"bp":%b,"as":%b,"bs":%b}],"lv":0}'
BINANCE = b'{"stream":"btcusdt@depth20@100ms","data":{"bids":[["%b","%b"]],"asks":[["%b","%b"]]}}'


def memory(words):
    return native.Memory(mmap.mmap(-1, words * 8), True)


@pytest.mark.parametrize("venue", [0, 1], ids=["upbit", "binance"])
def test_frames_have_the_same_market_and_top_whole_or_mutated(venue):
    codec, symbol, symbol_plainly, top, top_plainly = VENUES[venue]
    rng = Random(7)
    corpus = CORPUS[venue]
    found = 0
    for frame in [*corpus, *(mutated(rng.choice(corpus), corpus, rng) for _ in range(effort(6_000, 60_000)))]:
        assert symbol(frame) == symbol_plainly(frame)
        read = top(frame, 5)
        assert read == top_plainly(frame, 5)
        if read is not None:
            found += 1
            assert codec.top_of_book(frame, 5) == read
    assert found > effort(1_500, 15_000)


numbers = st.floats(min_value=1e-12, max_value=1e12).flatmap(
    lambda number: st.sampled_from([repr(number), f"{number:.8f}", f"{number:.17g}", f"{number:.3e}"])
)
texts = st.one_of(numbers, st.from_regex(rb"[0-9.eE+\-]{1,24}", fullmatch=True).map(bytes.decode))


@given(st.lists(texts, min_size=4, max_size=4))
def test_numbers_are_read_to_the_last_bit(given_texts):
    parts = tuple(text.encode() for text in given_texts)
    for number, form in enumerate((UPBIT, BINANCE)):
        frame = form % parts
        assert VENUES[number][3](frame, 5) == VENUES[number][4](frame, 5)


pieces = st.sampled_from(
    [
        *(
            b'{"ty":"orderbook","cd":"KRW-BTC"',
            b'{"stream":"btcusdt@depth20","data":{',
            b'"obu":[',
            b'{"ap":',
        ),
        *(
            b',"bp":',
            b',"as":',
            b',"bs":',
            b"}",
            b"]",
            b'"bids":[',
            b'"asks":[',
            b'["',
            b'","',
            b'"]',
            b",",
            b" ",
        ),
        *(b"1", b"2.5", b"01", b"-1", b"1e3", b"0", b"1.", b"1e999", b'"lv":0}', b"]}}", b"\0"),
    ]
)


@given(st.lists(pieces, max_size=40), st.integers(min_value=0, max_value=1))
def test_frames_of_any_pieces_have_the_same_top(given_pieces, number):
    """Most pieces stand where they belong, so that both often read the whole frame."""
    usual = UPBIT % (b"2.5", b"1", b"3e-1", b"4") if number == 0 else BINANCE % (b"1", b"2", b"1.75", b"3")
    middle = len(usual) // 2
    loose = b"".join(given_pieces)
    for frame in (usual[:middle] + loose + usual[middle:], usual[:30] + loose + usual[30:], loose):
        assert VENUES[number][3](frame, 5) == VENUES[number][4](frame, 5)


@pytest.mark.parametrize("number", [0, 1], ids=["upbit", "binance"])
def test_a_usual_frame_with_any_piece_replaced_has_the_same_top(number):
    rng = Random(3)
    usual = UPBIT % (b"2.5", b"1", b"3e-1", b"4") if number == 0 else BINANCE % (b"1", b"2", b"1.75", b"3")
    found = 0
    for _ in range(20_000):
        begin = rng.randrange(len(usual))
        end = begin + rng.randrange(4)
        put = bytes(rng.choice(b'0123456789.eE+-,:{}[]" ') for _ in range(rng.randrange(4)))
        frame = usual[:begin] + put + usual[end:]
        read = VENUES[number][3](frame, 5)
        assert read == VENUES[number][4](frame, 5), frame
        found += read is not None
    assert found > 2_000


def test_the_best_prices_of_usual_frames_are_read():
    assert VENUES[0][3](UPBIT % (b"2.5", b"1", b"3e-1", b"4.25"), 9) == BookTop(1.0, 4.25, 2.5, 0.3, 9)
    assert VENUES[1][3](BINANCE % (b"1.50000000", b"2", b"1.75", b"0.001"), 9) == BookTop(
        1.5, 2.0, 1.75, 0.001, 9
    )


@pytest.mark.parametrize(
    "frame",
    [
        *(
            BINANCE % parts
            for parts in (
                (b"nan", b"1", b"2", b"1"),
                (b"inf", b"1", b"2", b"1"),
                (b"-1", b"1", b"2", b"1"),
                (b"01", b"1", b"2", b"1"),
                (b"1.", b"1", b"2", b"1"),
                (b"1", b"0", b"2", b"1"),
                (b"2", b"1", b"1", b"1"),
                (b"1", b"1", b"1e999", b"1"),
                (b"1", b'1","1', b"2", b"1"),
                (b"", b"1", b"2", b"1"),
            )
        ),
        b"",
        b"{",
        BINANCE[:-1],
    ],
)
def test_what_is_unusual_is_left_to_the_decoder(frame):
    assert VENUES[1][3](frame, 1) is None


def test_durations_fall_into_the_same_buckets():
    raw = mmap.mmap(-1, (BUCKETS + 2) * 8)
    cells = native.Cells(native.Memory(raw, True))
    rng = Random(1)
    special = [0, 1, 15, 16, 17, -1, -(2**40), NS_MAX - 1, NS_MAX, NS_MAX + 1, 2**62]
    durations = special + [rng.getrandbits(rng.randrange(1, 45)) for _ in range(5_000)]
    counts = [0] * BUCKETS
    for ns in durations:
        cells.record(0, ns)
        counts[bucket_of(ns)] += 1
    with memoryview(raw) as view, view.cast("Q") as words:
        *buckets, total, longest = words.tolist()
    assert buckets == counts
    assert (total, longest) == (sum(max(ns, 0) for ns in durations) % 2**64, 2**62)


def test_what_was_released_is_not_touched_any_more():
    one = memory(HEADER_BYTES // 8 + 8)
    ring, cells, slots = native.Ring(one, 8), native.Cells(one), native.Slots(one, 0, 1, 64, True)
    notifier = native.Notifier(one, 8, one, lambda: None)
    one.release()
    one.release()
    for call in (
        ring.drain,
        ring.behind,
        lambda: ring.park(memory(64)),
        lambda: cells.add(1),
        lambda: cells.record(0, 1),
        lambda: slots.read(0),
        lambda: slots.write(0, b"x", 1),
        lambda: notifier.push(1),
        lambda: native.Cells(one),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.parametrize(
    "make",
    [
        lambda one: native.Ring(one, 64),
        lambda one: native.Ring(one, 3),
        lambda one: native.Ring(one, 0),
        lambda one: native.Slots(one, 0, 1, 1024, False),
        lambda one: native.Slots(one, 0, 2**60, 64, False),
        lambda one: native.Slots(one, 0, 0, 2**63 - 1, False),
        lambda one: native.Slots(one, 4, 1, 64, False),
        lambda one: native.Slots(one, -8, 1, 64, False),
        lambda one: native.Notifier(one, 64, one, print),
        lambda one: native.Notifier(one, 8, memory(8), print),
        lambda one: native.Cells(native.Memory(b"12345678", False)),
        lambda one: native.Slots(native.Memory(bytes(128), False), 0, 1, 64, True),
    ],
)
def test_what_does_not_fit_the_mapping_is_refused(make):
    with pytest.raises(ValueError, match=r"small|power|slots|read"):
        make(memory(HEADER_BYTES // 8 + 8))


def test_a_mapping_whose_words_are_not_aligned_is_refused():
    with pytest.raises(ValueError, match="not aligned"):
        native.Memory(memoryview(mmap.mmap(-1, 64))[1:], True)


def test_a_twin_of_another_state_of_the_source_is_not_used(monkeypatch, tmp_path):
    checksum = crc32(native._SOURCE.read_bytes())
    assert native.is_built_from(checksum)
    assert not native.is_built_from(checksum + 1)
    monkeypatch.setattr(native, "_SOURCE", tmp_path / "missing.c")
    assert not native.is_built_from(checksum)


def test_what_is_not_there_is_refused():
    one = memory(HEADER_BYTES // 8 + 8)
    slots, cells = native.Slots(one, 0, 2, 64, True), native.Cells(one)
    for slot in (-1, 2, 2**70):
        with pytest.raises(IndexError):
            slots.read(slot)
        with pytest.raises(IndexError):
            slots.write(slot, b"x", 1)
    for cell in (-1, 40, 2**70):
        with pytest.raises(IndexError):
            cells.add(cell)
    with pytest.raises(IndexError):
        cells.record(0, 1)  # there is no room for a histogram
    with pytest.raises(FrameError, match="oversize: 65 bytes"):
        slots.write(0, bytes(65), 1)
    with pytest.raises(FrameError, match="empty: 0 bytes"):
        slots.write(0, b"", 1)
    for wrong in (lambda: slots.write(0, b"x"), cells.add, lambda: slots.write("0", b"x", 1)):
        with pytest.raises(TypeError):
            wrong()
    assert slots.read(0) is None


def test_a_market_is_asked_for_once_and_a_wrong_name_never_counts():
    asked = []

    def resolve(name):
        asked.append(name)
        return name.decode() if name != b"bad" else None

    router = native.Router(b'{"s":"', (b"}", b"]"), resolve)
    assert [router.route(b'{"s":"%b"}' % name) for name in (b"a", b"a", b"bad", b"bad")] == [
        "a",
        "a",
        None,
        None,
    ]
    assert asked == [b"a", b"bad", b"bad"]
    assert [router.route(frame) for frame in (b'{"s":"a"', b'{"s":"a', b'{"t":"a"}', b"")] == [None] * 4


def test_objects_that_refer_to_each_other_are_collected():
    class Owner:
        def __init__(self):
            one = memory(HEADER_BYTES // 8 + 8)
            self.notifier = native.Notifier(one, 8, one, self.wake)
            self.router = native.Router(b"a", (b"b",), self.wake)

        def wake(self, *_):
            pass

    gone = weakref.ref(Owner())
    gc.collect()
    assert gone() is None

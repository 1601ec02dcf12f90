"""A recording, step by step."""

from msgspec.structs import replace

from arbshard.data.recorded import RecordedMarketDataProvider


async def test_it_plays_in_order_and_keeps_the_newest(make):
    a, b = make.home_book(received_ns=100), make.away_book(received_ns=200)
    c = make.home_book(30, received_ns=300)
    provider = RecordedMarketDataProvider([a, ("BTCUSDT", b), c])
    await provider.start()
    assert (provider.now_ns, provider.next_ns, provider.exhausted) == (100, 100, False)
    assert not provider.is_live("KRW-BTC")
    assert await provider.changes(0) == {"KRW-BTC"}
    assert provider.is_live("KRW-BTC")
    assert provider.get_latest_snapshot("KRW-BTC") is a
    assert provider.next_ns == 200
    assert provider.step() == "BTCUSDT"
    assert provider.step() == "KRW-BTC"
    assert provider.exhausted
    assert (provider.now_ns, provider.next_ns) == (300, 300)
    assert provider.step() is None
    assert provider.latest_snapshots == {"KRW-BTC": c, "BTCUSDT": b}
    assert await provider.changes(0) == {"KRW-BTC", "BTCUSDT"}
    assert await provider.changes(0) == frozenset()
    await provider.stop()


async def test_records_are_read_only_as_they_are_needed(make):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield make.home_book(received_ns=len(taken))

    provider = RecordedMarketDataProvider(endless())
    for _ in range(5):
        provider.step()
    assert len(taken) == 6  # one ahead, to know the end


async def test_a_bad_record_is_counted_and_not_trusted(make):
    good = make.home_book(received_ns=1)
    crossed = replace(good, bids=good.asks, asks=good.bids, received_ns=2)
    empty = replace(good, bids=(), received_ns=3)
    provider = RecordedMarketDataProvider([good, crossed, empty, replace(good, received_ns=4)])
    provider.step()
    provider.step()
    assert provider.is_bad("KRW-BTC")
    assert provider.get_latest_snapshot("KRW-BTC") is good
    provider.step()
    assert sum(n for name, n in provider.counters.items() if name.startswith("bad_upbit_")) == 2
    provider.step()
    assert not provider.is_bad("KRW-BTC")


async def test_time_does_not_go_back(make):
    provider = RecordedMarketDataProvider([make.home_book(received_ns=500), make.away_book(received_ns=400)])
    provider.step()
    assert provider.next_ns == 500
    provider.step()
    assert provider.now_ns == 500
    assert provider.counters["unordered"] == 1


async def test_wall_time_is_the_first_books(make):
    book = replace(make.home_book(received_ns=5_000_000), exchange_ms=1_700_000_000_005)
    assert RecordedMarketDataProvider([book]).wall_offset_ms == 1_700_000_000_000
    assert RecordedMarketDataProvider([make.home_book()]).wall_offset_ms == 0


async def test_an_empty_recording_has_ended():
    provider = RecordedMarketDataProvider([])
    assert (provider.exhausted, provider.step(), provider.next_ns) == (True, None, 0)

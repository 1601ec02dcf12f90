"""Prepares the frames of each stream: they are made once per market, in a few versions, and split at the
stamp.

``replay`` joins the pieces. The text is that of the embedded exchanges, so the bytes are those of the real
protocol. Prices are constant and sizes change, so that no gap arises to trade on and no client has to
delete a level.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from arbshard.config import SimConfig
from arbshard.exchanges.binance import frames as binance
from arbshard.exchanges.book import SimSide
from arbshard.exchanges.coins import coin_table
from arbshard.exchanges.market import GeneratedMarket
from arbshard.exchanges.prices import FX_START
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.upbit import frames as upbit
from arbshard.exchanges.world import FX_SYMBOL, SimWorld
from arbshard.exchanges.wsframe import WsFrame
from perf.stamp import BASE

VERSIONS = 4
UPBIT_LEVELS = 15
"""The most levels in a frame of Upbit, whatever depth a client asks for."""
BINANCE_LEVELS = 20
CHANGES = 12
"""Levels whose size differs between two versions."""
IDS_PER_EVENT = 2 * BINANCE_LEVELS
"""Update ids of a diff event: it sets every level, and each level uses one."""
FIRST_ID = 10**9
"""Start of the update ids; they have ten digits for as long as any run lasts."""
_MARK = str(BASE)
_FIRST_MARK, _LAST_MARK = "1111111111", "2222222222"

Plain = tuple[tuple[bytes, bytes], ...]
"""The versions of a frame, each as the bytes before the stamp and those behind it."""
Diff = tuple[tuple[bytes, bytes, bytes, bytes], ...]
"""The versions of a diff event: the bytes before the first id, between the ids, up to the stamp, and behind it."""


class Place(NamedTuple):
    """Is one market in the order of sending."""

    venue: str
    market: GeneratedMarket
    price: float
    """Price around which the frames are made, in the quote currency."""


def settings_of(config: SimConfig) -> SimConfig:
    """Return ``config`` with as many levels as frames have, so that they set each level of a snapshot."""
    return SimConfig(
        seed=config.seed,
        regime="calm",
        coins=config.coins,
        updates_per_s=config.updates_per_s,
        depth=BINANCE_LEVELS,
        host=config.host,
        upbit_port=config.upbit_port,
        binance_port=config.binance_port,
    )


def places_of(world: SimWorld, coins: int) -> tuple[Place, ...]:
    """Return every market in the order of sending: FX first, then the two venues in turn."""
    places = [Place("upbit", world.upbit[FX_SYMBOL], FX_START)]
    for coin in coin_table(coins):
        places.append(Place("upbit", world.upbit[f"KRW-{coin.base}"], coin.price_usdt * FX_START))
        places.append(Place("binance", world.binance[f"{coin.base}USDT"], coin.price_usdt))
    return tuple(places)


@contextmanager
def _marked(side: SimSide, text: str) -> Iterator[None]:
    """Put ``text`` in the place of the best size while the block makes a frame."""
    kept = side.amounts[0]
    side.amounts[0] = text
    try:
        yield
    finally:
        side.amounts[0] = kept


class FrameMaker:
    """Makes the frames of every subscribed stream, each of them once."""

    def __init__(self, places: Mapping[tuple[str, str], Place], now_ms: int) -> None:
        """Take the places by venue and symbol; ``now_ms`` is the exchange time that all frames carry."""
        self._places = places
        self._now_ms = now_ms
        self._plain: dict[tuple[str, SharedStream], Plain] = {}
        self._diff: dict[tuple[str, SharedStream], Diff] = {}

    def plain(self, venue: str, stream: SharedStream) -> Plain | None:
        """Return the versions of a stream of whole books; None when ``stream`` is of another kind."""
        if stream.kind not in ("orderbook", "depth"):
            return None
        made = self._plain.get((venue, stream))
        if made is None:
            made = self._plain[venue, stream] = tuple(self._versions(venue, stream))
        return made

    def diff(self, venue: str, stream: SharedStream) -> Diff | None:
        """Return the versions of a diff stream; None when ``stream`` is of another kind."""
        if stream.kind != "diff":
            return None
        made = self._diff.get((venue, stream))
        if made is None:
            made = self._diff[venue, stream] = tuple(self._diff_versions(venue, stream))
        return made

    def _versions(self, venue: str, stream: SharedStream) -> Iterator[tuple[bytes, bytes]]:
        _, market, price = self._places[venue, stream.symbol]
        for _ in range(VERSIONS):
            market.book.step(price, CHANGES)
            head, tail = self._frame(venue, market, stream).split(_MARK.encode())
            yield head, tail

    def _diff_versions(self, venue: str, stream: SharedStream) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
        _, market, price = self._places[venue, stream.symbol]
        for _ in range(VERSIONS):
            market.book.step(price, CHANGES)
            head, rest = self._frame(venue, market, stream).split(_FIRST_MARK.encode())
            middle, rest = rest.split(_LAST_MARK.encode())
            levels, tail = rest.split(_MARK.encode())
            yield head, middle, levels, tail

    def _frame(self, venue: str, market: GeneratedMarket, stream: SharedStream) -> bytes:
        """Return one whole WebSocket message, with the mark in the place of the stamp."""
        bids = market.book.bids
        if venue == "upbit":
            levels = min(stream.depth, UPBIT_LEVELS)
            with _marked(bids, _MARK):
                payload = upbit.orderbook(market, levels, stream.form, "REALTIME", self._now_ms)
            return WsFrame(payload, binary=True).wire(0)
        levels = stream.depth or BINANCE_LEVELS
        with _marked(bids, f"{_MARK}.00000000"):
            is_diff = stream.kind == "diff"
            text = self._diff_text(market) if is_diff else binance.depth(market.book, levels)
        return WsFrame(binance.wrap(stream, text), binary=False).wire(0)

    def _diff_text(self, market: GeneratedMarket) -> str:
        bids, asks = (
            ",".join(f'["{p}","{q}"]' for p, q in zip(side.prices, side.amounts, strict=True))
            for side in (market.book.bids, market.book.asks)
        )
        return (
            f'{{"e":"depthUpdate","E":{self._now_ms},"s":"{market.symbol}",'
            f'"U":{_FIRST_MARK},"u":{_LAST_MARK},"b":[{bids}],"a":[{asks}]}}'
        )

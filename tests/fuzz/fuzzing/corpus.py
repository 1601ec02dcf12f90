"""Good frames and bodies by what they are, in the form that exchanges send, simulated ones included. Bytes only."""

import json

from arbshard.config import SimConfig
from arbshard.exchanges.binance import frames as binance
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.upbit import frames as upbit
from arbshard.exchanges.world import SimWorld
from support import frames

_KEPT = 60
NOW_MS = 1_795_000_000_000
COINS = 3


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _world() -> SimWorld:
    world = SimWorld(SimConfig(coins=COINS, seed=3))
    for _ in range(3):
        for place in range(len(world.places)):
            world.step(place)
    return world


def upbit_frames() -> list[bytes]:
    """All that its public WebSocket says, in every format."""
    rows = frames.upbit_rows()
    found = [row.frame for row in rows[:: max(len(rows) // _KEPT, 1)]]
    world = _world()
    for market in world.upbit.values():
        for form in ("SIMPLE", "DEFAULT"):
            found += [upbit.orderbook(market, depth, form, "REALTIME", NOW_MS) for depth in (1, 15, 30)]
            found.append(upbit.orderbook(market, 15, form, "SNAPSHOT", NOW_MS))
            found += [upbit.ticker(market, form, "REALTIME", NOW_MS)]
            found += [upbit.trade(market, form, "REALTIME", NOW_MS)] if market.prints else []
        found.append(upbit.orderbook(market, 1, "SIMPLE_LIST", "REALTIME", NOW_MS))
    found += [
        b'{"status":"UP"}',
        _dump({"error": {"name": "WRONG_FORMAT", "message": "Format is wrong."}}),
        _dump(
            {
                "method": "LIST_SUBSCRIPTIONS",
                "result": [{"type": "orderbook", "codes": ["KRW-BTC"]}],
                "ticket": "t",
            }
        ),
    ]
    return found


def _partials(world: SimWorld) -> list[bytes]:
    """Partial depth, at several moments: the frames that matter most."""
    found = []
    for _ in range(8):
        for place in range(len(world.places)):
            world.step(place)
        for market in world.binance.values():
            for depth in (5, 20):
                name = f"{market.symbol.lower()}@depth{depth}@100ms"
                stream = SharedStream(market.symbol, "depth", depth, False, binance.COMBINED, name)
                found.append(binance.wrap(stream, binance.depth(market.book, depth)))
    return found


def binance_frames() -> list[bytes]:
    """All that its public streams say."""
    rows = frames.binance_rows()
    world = _world()
    found = [row.frame for row in rows[:: max(len(rows) // _KEPT, 1)]]
    for market in world.binance.values():
        ticker = SharedStream(
            market.symbol, "bookTicker", 0, False, binance.COMBINED, f"{market.symbol.lower()}@bookTicker"
        )
        found.append(binance.wrap(ticker, binance.book_ticker(market)))
    found += _partials(world)
    found += [
        b'{"result":null,"id":1}',
        b'{"error":{"code":2,"msg":"Invalid request"},"id":"x"}',
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1795000000000}}',
        b'{"event":{"e":"serverShutdown","E":1795000000000}}',
    ]
    return found


def binance_updates() -> list[bytes]:
    """Differential depth events."""
    return [row.frame for row in frames.binance_rows() if b'"depthUpdate"' in row.frame][:_KEPT]


def binance_depths() -> list[bytes]:
    """Bodies of ``/api/v3/depth``."""
    bodies = [row.body[:4_000] for row in frames.binance_depths()]
    whole = [binance.depth(market.book, 20).encode() for market in _world().binance.values()]
    return [*whole, *whole, *bodies]


def upbit_books() -> list[bytes]:
    """Bodies of ``/v1/orderbook``."""
    books = [upbit.rest_orderbook(market, 5, NOW_MS) for market in _world().upbit.values()]
    return [f"[{','.join(books)}]".encode(), f"[{books[0]}]".encode(), b"[]"]


def listings() -> dict[str, list[bytes]]:
    """Bodies of the calls that list a venue's markets."""
    row = {"market": "KRW-BTC", "korean_name": "비트코인", "english_name": "Bitcoin"}
    event = {"warning": True, "caution": {"PRICE_FLUCTUATIONS": True, "GLOBAL_PRICE_DIFFERENCES": False}}
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "9000000", "avgPriceMins": 5},
    ]
    symbol = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "filters": filters,
    }
    other = {
        **symbol,
        "symbol": "ETHUSDT",
        "baseAsset": "ETH",
        "status": "BREAK",
        "isSpotTradingAllowed": False,
    }
    return {
        "upbit": [
            _dump([row, {**row, "market": "KRW-ETH", "market_event": event}, {**row, "market": "BTC-XRP"}])
        ],
        "binance": [_dump({"timezone": "UTC", "symbols": [symbol, other, {**symbol, "quoteAsset": "BTC"}]})],
    }


def upbit_private() -> list[bytes]:
    """Its private WebSocket."""
    order = {
        "type": "myOrder", "code": "KRW-BTC", "uuid": "u-1", "ask_bid": "BID", "order_type": "limit", "state": "wait",
        "trade_uuid": None, "price": 146000000, "avg_price": 0, "volume": 0.001, "remaining_volume": 0.001,
        "executed_volume": 0, "trades_count": 0, "reserved_fee": 73, "remaining_fee": 73, "paid_fee": 0,
        "locked": 146073, "executed_funds": 0, "time_in_force": "ioc", "trade_fee": None, "is_maker": None,
        "identifier": "ab12c-s1-0-1-1-h0", "trade_timestamp": None, "order_timestamp": 1795239580701,
        "timestamp": 1795239580704, "stream_type": "REALTIME",
    }  # fmt: skip
    trade = {
        "state": "trade", "trade_uuid": "t-1", "volume": 0.0004, "price": 145999000, "executed_volume": 0.0004,
        "remaining_volume": 0.0006, "trade_fee": 29.1998, "is_maker": False,
    }  # fmt: skip
    asset = {"currency": "KRW", "balance": 1000000.5, "locked": 12}
    return [
        _dump(order), _dump({**order, **trade}), _dump({**order, "state": "cancel"}),
        _dump({"type": "myAsset", "asset_uuid": "a", "assets": [asset, {**asset, "currency": "BTC"}]}),
        _dump({"method": "LIST_SUBSCRIPTIONS", "result": [{"type": "myOrder"}]}),
        _dump({"error": {"name": "INVALID_AUTH", "message": "no"}}), b'{"status":"UP"}',
    ]  # fmt: skip


def binance_private() -> list[bytes]:
    """The user data of its WebSocket API."""
    report = {
        "e": "executionReport", "E": 1795239580704, "s": "BTCUSDT", "c": "ab12c-s1-0-1-1-a0", "S": "BUY",
        "o": "LIMIT", "f": "IOC", "q": "0.00100000", "p": "60001.00000000", "x": "NEW", "X": "NEW",
        "r": "NONE", "i": 7, "C": "",
        "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None, "T": 1795239580703, "t": -1,
    }  # fmt: skip
    trade = {
        "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.00040000", "z": "0.00040000", "L": "60001.00000000",
        "n": "0.00000040", "N": "BTC", "t": 5,
    }  # fmt: skip
    position = {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "BTC", "f": "1.0", "l": "0.5"}]}
    return [
        *(_dump({"subscriptionId": 0, "event": event}) for event in (report, {**report, **trade}, position)),
        _dump({"event": {"e": "serverShutdown"}}), _dump({"event": {"e": "eventStreamTerminated"}}),
        _dump({"id": "logon", "status": 200, "result": {}}), _dump({"id": "subscribe", "status": 200, "result": {}}),
        _dump({"id": "subscribe", "status": 400, "error": {"code": -1022, "msg": "Signature"}}),
    ]  # fmt: skip


def upbit_account() -> list[bytes]:
    """Bodies of its private REST calls."""
    row = {
        "market": "KRW-BTC", "uuid": "u-1", "side": "bid", "state": "wait", "executed_volume": "0.0",
        "paid_fee": "73.0", "remaining_volume": "0.001", "identifier": "ab12c-s1-0-1-1-h0",
    }  # fmt: skip
    trades = [
        {"uuid": "t-1", "price": "146000000", "volume": "0.0004", "funds": "58400"},
        {"uuid": "t-2", "price": "145000000", "volume": "0.0006", "funds": "87000"},
    ]
    done = {**row, "state": "done", "executed_volume": "0.001", "trades": trades}
    held = [{"currency": "KRW", "balance": "1000000.5", "locked": "12", "avg_buy_price": "0"}]
    return [
        _dump(row),
        _dump(done),
        _dump({**done, "paid_fee": 72.7, "state": "cancel"}),
        _dump([row, done]),
        _dump(held),
    ]


def binance_account() -> list[bytes]:
    """Bodies of its private REST calls."""
    fills = [
        {"price": "60001.0", "qty": "0.0004", "commission": "0.02", "commissionAsset": "USDT", "tradeId": 5},
        {
            "price": "60000.0",
            "qty": "0.0006",
            "commission": "0.00001",
            "commissionAsset": "BNB",
            "tradeId": 6,
        },
    ]
    row = {
        "symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "ab1cd-s1-0-1-1-a0", "origQty": "0.001", "side": "SELL",
        "executedQty": "0.001", "status": "FILLED", "fills": fills, "updateTime": 1795000000000,
    }  # fmt: skip
    trade = {"id": 5, "price": "60001.0", "qty": "0.0004", "commission": "0.02", "commissionAsset": "USDT"}
    account = {"balances": [{"asset": "BTC", "free": "1.5", "locked": "0"}], "makerCommission": 10}
    return [
        _dump(row), _dump([row, {**row, "status": "NEW", "executedQty": "0"}]), _dump([trade]), _dump(account),
        b'{"serverTime":1795000000000}', b'{"code":-2013,"msg":"Order does not exist."}',
    ]  # fmt: skip

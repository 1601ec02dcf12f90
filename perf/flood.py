"""Sends frames to one WebSocket client as fast as it accepts them: ``python -m perf.flood COUNT``.

The process prints its port, waits for the client's first message, sends, and waits for the client to close.
``services`` uses it.
"""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from perf.stages import binance_frame

_BATCH = 16
_BUFFER_MAX = 1 << 20
_CLIENT_S = 30.0


async def _run(count: int) -> None:
    over = asyncio.Event()
    payload = binance_frame("BTCUSDT", 94_500, 0.01)
    batch = (b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload) * _BATCH

    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        for _ in range(count // _BATCH):
            connection.transport.write(batch)
            await asyncio.sleep(0.001 if connection.transport.get_write_buffer_size() > _BUFFER_MAX else 0)
        await connection.wait_closed()
        over.set()

    async with serve(flood, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        async with asyncio.timeout(_CLIENT_S):
            await over.wait()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1])))

"""A ring over the bus makes the bell's descriptor readable, again after each clear."""

import asyncio

from arbshard.wire.bus import Publisher
from arbshard.wire.doorbell import BusBell, BusRinger


async def test_each_ring_after_a_clear_is_heard(endpoint, until):
    loop = asyncio.get_running_loop()
    with Publisher(endpoint) as publisher:
        publisher.start()
        bell, ringer = BusBell(endpoint, 1), BusRinger(publisher, 1)
        heard = []

        def on_bell() -> None:
            bell.clear()
            heard.append(1)

        def reached() -> bool:
            ringer.ring()
            return bool(publisher.published)

        try:
            await until(reached)
            loop.add_reader(bell.fileno(), on_bell)
            await until(lambda: heard)
            await asyncio.sleep(0.02)
            for _ in range(100):
                heard.clear()
                ringer.ring()
                await until(lambda: heard)
            heard.clear()
            await asyncio.sleep(0.02)
            assert heard == []
        finally:
            loop.remove_reader(bell.fileno())
            bell.close()
            ringer.close()

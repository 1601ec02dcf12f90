"""Reaches an address by each of the system's clients and tells why it could not be reached.

The tests load this file, and start it as a program where a whole process has to see another environment:
``reach.py CLIENT ADDRESS [CA_FILE]`` prints the reason, or an empty line when the address answered.
"""

import asyncio
import sys
import time

from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.data.clients import open_client
from arbshard.data.http import HttpFetch
from arbshard.data.stream import open_stream, target_of
from arbshard.data.trust import trust_of
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.venues.base.client import NoAnswer
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys


def config_of(venue="binance", **settings):
    config = Config()
    changed = replace(config.venues.get(venue), **settings)
    return replace(config, venues=replace(config.venues, **{venue: changed}))


async def reach(client, host, ca_file="", headers=()):
    """Why ``host`` (with its port) cannot be reached by ``client``; empty when it answered.

    ``client``: ``websockets``, ``picows``, ``rest`` or ``signed``, with ``+plain`` for one without TLS.
    """
    kind, _, plain = client.partition("+")
    letter = "" if plain else "s"
    config = config_of(rest_url=f"http{letter}://{host}", ca_file=ca_file)
    settings = config.venues.binance
    try:
        if kind == "rest":
            return await _rest(settings)
        if kind == "signed":
            return await _signed(config)
        target = target_of("binance", settings, f"ws{letter}://{host}/ws", 20.0, headers)
        async with asyncio.timeout(10), open_stream(target, _ignore, time.monotonic_ns, kind) as stream:
            await stream.until_over()
    except (VenueUnavailable, UsageError) as error:
        return str(error)
    return ""


def _ignore(message, received_ns):
    pass


async def _rest(settings):
    fetch = HttpFetch(trust_of("binance", settings))
    try:
        answer = await fetch(settings.rest_url + "/api/v3/time")
    finally:
        await fetch.close()
    return "" if answer.status == 200 else f"HTTP {answer.status}"


async def _signed(config):
    client = open_client("binance", config, Keys("binance", "key", "secret"), SystemClock())
    try:
        answer = await client.call(VenueRequest("GET", "/api/v3/order", {"symbol": "BTCUSDT"}, {}))
    except NoAnswer as error:
        return _causes(error)
    finally:
        await client.close()
    return "" if answer.status == 200 else f"HTTP {answer.status}"


def _causes(error):
    """``NoAnswer`` does not tell its cause, whose text may hold a signed address."""
    texts = []
    cause = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return " / ".join(texts)


if __name__ == "__main__":
    print(asyncio.run(reach(*sys.argv[1:])))

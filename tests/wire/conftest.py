"""Endpoints short enough for a socket's path, and a way to wait for what comes asynchronously."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
import uvloop


def pytest_asyncio_loop_factories():
    """Every asynchronous test here runs on both event loops: the processes use uvloop, a library's user may not."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def endpoint():
    directory = Path(tempfile.mkdtemp(prefix="arb"))
    yield f"ipc://{directory}/s"
    shutil.rmtree(directory)


@pytest.fixture
def until():
    async def wait(condition) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    return wait

"""Switchboards, and clients that note what befalls them."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from arbshard.config import FaultsConfig
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.world import SimWorld


class Client:
    """A WebSocket that something may befall."""

    def __init__(self, name: str, *, private: bool = False) -> None:
        self.name = name
        self.is_private = private
        self.heard: list[str] = []

    def cut(self, reason: str, *, clean: bool) -> None:
        self.heard.append(f"{reason} {'clean' if clean else 'cut'}")

    def stall(self, *, on: bool) -> None:
        self.heard.append("silent" if on else "speaks")

    def announce_shutdown(self) -> None:
        self.heard.append("warned")


@pytest.fixture
def make_board() -> Callable[..., Board]:
    """``make_board("binance", seed=1, delay={"share": 0.5})``; counts are in ``board.counts``."""

    def make(venue: str = "binance", **faults: Any) -> Board:
        counts: dict[str, int] = {}
        return Board(venue, msgspec.convert(faults, FaultsConfig), counts)

    return make


@pytest.fixture
def make_client() -> type[Client]:
    return Client


@pytest.fixture
def conditions(world: SimWorld) -> Conditions:
    return Conditions("binance", world)

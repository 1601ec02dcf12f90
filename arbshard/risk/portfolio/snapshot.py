"""Encodes ``PortfolioState`` as bytes and back, for the ledger's snapshots and the states that open its periods.
Pure.

The fields of ``PortfolioState`` and of its parts are the format: MessagePack, amounts as text. ``VERSION`` names
their set and their meaning. A snapshot is a cache, so one of another version is not used and the events before it
are replayed. What opens a period cannot be replayed, so every later version must read it: fields may be added with a
default, but none may be removed, renamed or given another type without code here that reads the older versions.
"""

from typing import Final

import msgspec

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.events import Amounts, is_not_accepted
from arbshard.ledger.snapshots import Snapshot
from arbshard.model.order import OrderResult
from arbshard.model.position import Position
from arbshard.risk.portfolio.holdings import Trade
from arbshard.risk.portfolio.state import PortfolioState

VERSION: Final = 14
"""Raise it with every change of what the state's fields are or mean."""

_LEGACY_DIGITS: Final = 32
"""Programs before version 1 named a digest of their source in place of a version. Their bodies hold the fields of
version 1, each under its path, beside a description of its type."""

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(PortfolioState)
_legacy_decoder: msgspec.msgpack.Decoder[dict[str, tuple[object, msgspec.Raw]]] = msgspec.msgpack.Decoder(
    dict[str, tuple[object, msgspec.Raw]]
)


class PortfolioCodec:
    """Makes states, and snapshots of them."""

    def __init__(self, version: int = VERSION) -> None:
        """Make the format. ``version`` is that of the snapshots it makes and loads."""
        self._version = version

    @property
    def version(self) -> str:
        """Return the version of the snapshots it makes and loads, as the ledger has it."""
        return str(self._version)

    def fresh(self) -> PortfolioState:
        """Return a state before the first event."""
        return PortfolioState()

    def owned(self, state: PortfolioState) -> Amounts:
        """Return (venue, currency, total) of every balance."""
        return state.balances.totals()

    def open_positions(self, state: PortfolioState) -> tuple[Position, ...]:
        """Return the positions that are open."""
        return tuple(state.positions.values())

    def dump(self, state: PortfolioState) -> tuple[str, bytes]:
        """Return hash and body. Raises ``LedgerError`` in the middle of a change."""
        if not state.is_settled:
            raise LedgerError("the state is in the middle of a change")
        return state.state_hash(), _encoder.encode(state)

    def load(self, snapshot: Snapshot) -> PortfolioState:
        """Return the state of a snapshot of this version. Raises ``LedgerDamaged`` for any other."""
        if _version_of(snapshot) != self._version:
            raise LedgerDamaged("it was made by another version of the program")
        state = self.adopt(snapshot)
        if snapshot.version == self.version and state.state_hash() != snapshot.hash:
            raise LedgerDamaged("it does not give back the state it was made of")
        return state

    def adopt(self, snapshot: Snapshot) -> PortfolioState:
        """Return the state of a snapshot of this or an older version; what that did not keep has its default.

        Raises ``LedgerDamaged`` for a newer version, and for a body that cannot be read.
        """
        if _version_of(snapshot) > self._version:
            raise LedgerDamaged(f"it has version {snapshot.version}, this program reads up to {self.version}")
        try:
            if not _is_legacy(snapshot):
                return _decoder.decode(snapshot.body)
            return _with_orders_as_meant(_decoder.decode(_from_legacy(snapshot.body)))
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise LedgerDamaged(f"it cannot be read: {error}") from error


def _is_legacy(snapshot: Snapshot) -> bool:
    return len(snapshot.version) == _LEGACY_DIGITS


def _version_of(snapshot: Snapshot) -> int:
    """Return the version of a snapshot. Raises ``LedgerDamaged`` for a version that no program gives."""
    if _is_legacy(snapshot):
        return 1
    if not snapshot.version.isdecimal():
        raise LedgerDamaged(f"it has the unknown version {snapshot.version!r}")
    return int(snapshot.version)


def _from_legacy(body: bytes) -> bytes:
    """Return the body of an older program in the format of version 1."""
    parts: dict[str, object] = {}
    for path, (_, value) in _legacy_decoder.decode(body).items():
        owner, _, name = path.rpartition(".")
        if path == "_due":
            parts["due"] = value
        elif owner:
            part = parts.setdefault(owner, {})
            if not isinstance(part, dict):
                raise TypeError(f"{owner} is both a value and a part")
            part[name] = value
        else:
            parts[name] = value
    return _encoder.encode(parts)


def _with_orders_as_meant(state: PortfolioState) -> PortfolioState:
    """Correct orders of open intents that older programs called canceled though no venue had accepted them."""

    def mended(result: OrderResult) -> OrderResult:
        if not is_not_accepted(result.state, result.detail):
            return result
        return msgspec.structs.replace(result, state="NOT_ACCEPTED")

    for intent_id, trade in state.trades.items():
        state.trades[intent_id] = Trade(trade.intent, tuple(map(mended, trade.orders)), trade.holds)
    return state

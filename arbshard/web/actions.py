"""What an operator can do from the desk: each action as data, what it will do in words, and the command that it is.

The commands are those of the command line (``arbshard halt``, ``resume``, ``close``, ``limits set``, ``shards move``,
``transfer out``). Pure, except for ``carry_out``, which sends them.
"""

from decimal import Decimal, InvalidOperation

import msgspec

from arbshard.config import Config
from arbshard.errors import ProtocolError, UsageError
from arbshard.model.market import Pair
from arbshard.model.money import typed_amount
from arbshard.model.risk_note import PositionNote, RiskNote
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.inventory import AnnounceTransfer
from arbshard.wire.messages import Close, Command, Done, Halt, Resume, SetLimits
from arbshard.wire.operator_client import send_command, send_order

_NAMES_SHOWN = 8
_TEXT_MAX = 200
_SYMBOLS_MAX = 1000
_AMOUNT_MAX = Decimal(10**30)


class _DeskAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="action"):
    instance: str
    reason: str = ""


class DeskHalt(_DeskAction, frozen=True, tag="halt"):
    """Enter nothing any more."""

    flatten: bool = False
    stop: bool = False


class DeskResume(_DeskAction, frozen=True, tag="resume"):
    """End the halt, or release pairs that are set apart."""

    symbols: tuple[str, ...] = ()


class DeskClose(_DeskAction, frozen=True, tag="close"):
    """Close positions now."""

    symbols: tuple[str, ...] = ()
    everything: bool = False


class DeskLimits(_DeskAction, frozen=True, tag="limits"):
    """Change a limit."""

    key: str
    value: str
    """Empty: as configured."""
    symbol: str = ""


class DeskMove(_DeskAction, frozen=True, tag="move"):
    """Move pairs to another shard."""

    symbols: tuple[str, ...]
    shard: int


class DeskTransfer(_DeskAction, frozen=True, tag="transfer"):
    """Announce that a person moves money or coins."""

    source: str
    target: str
    currency: str
    amount: str
    fee: str = "0"


DeskAction = DeskHalt | DeskResume | DeskClose | DeskLimits | DeskMove | DeskTransfer
_decoder: msgspec.json.Decoder[DeskAction] = msgspec.json.Decoder(DeskAction)


def decode_action(body: bytes) -> DeskAction:
    """Raises ``ProtocolError`` for an invalid action, ``UsageError`` for one that a person must change."""
    try:
        action = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"this is no action of the desk: {error}") from error
    symbols = getattr(action, "symbols", ())
    if len(symbols) > _SYMBOLS_MAX or len(action.reason) > _TEXT_MAX:
        raise UsageError("the action names too many pairs, or its reason is longer than 200 characters")
    if isinstance(action, DeskClose) and bool(symbols) == action.everything:
        raise UsageError("close: name the pairs to close, or choose all")
    if isinstance(action, DeskMove) and not symbols:
        raise UsageError("move: name the pairs to move")
    return action


def request_of(action: DeskAction, by: str) -> Command | control.ControlOrder:
    """Return the command that the action is. Raises ``UsageError`` for an amount that is none."""
    match action:
        case DeskHalt():
            return Halt(action.reason, action.flatten, "stopped" if action.stop else "reduce_only")
        case DeskResume():
            return Resume(action.reason, action.symbols)
        case DeskClose():
            return Close(action.symbols)
        case DeskLimits():
            return SetLimits(((action.key.strip(), action.value.strip()),), action.symbol.strip())
        case DeskMove():
            return control.MovePairs(action.symbols, action.shard)
        case DeskTransfer():
            return AnnounceTransfer(
                action.source.strip().lower(),
                action.target.strip().lower(),
                action.currency.strip().upper(),
                _amount("amount", action.amount),
                _amount("fee", action.fee),
                f"{action.reason or 'announced from the desk'} ({by})",
            )


def carry_out(files: RunFiles, action: DeskAction, by: str) -> str:
    """Send the action to the instance and return its answer for the operator. ``by``: who acts, for the ledger.

    Raises ``UsageError`` when it is denied, ``TransportError`` when nothing answers.
    """
    request = request_of(action, by)
    if isinstance(request, control.MovePairs):
        answer = send_order(files, request, by)
        return f"to be done: {answer.text}" if isinstance(answer, control.Accepted) else _text_of(answer)
    assert isinstance(request, Command), request
    return _text_of(send_command(files, request, by))


def _text_of(answer: object) -> str:
    assert isinstance(answer, Done | control.ControlDone), answer
    return answer.text


def plan_of(
    action: DeskAction, note: RiskNote, config: Config, pairs: tuple[Pair, ...], owners: dict[str, int]
) -> str:
    """Return what will happen, for the confirmation. Raises ``UsageError`` for what cannot be done at all."""
    match action:
        case DeskHalt():
            return _halt_plan(action, note)
        case DeskResume(symbols=()):
            was = (
                f" It is halted because of: {note.halt.reason}."
                if note.halt is not None
                else " Nothing is halted now."
            )
            return f"Entries are allowed again.{was} A drawdown beyond its limit is accepted by this."
        case DeskResume():
            names = _listed(action.symbols)
            return f"{names} may enter and leave by rule again, though what set them apart may not be cured."
        case DeskClose():
            return _close_plan(action, note, pairs)
        case DeskLimits():
            return _limits_plan(action, note, config)
        case DeskMove():
            moved = [f"{one} (shard {owners.get(_base_of(one, pairs), -1)})" for one in action.symbols]
            return (
                f"{_listed(moved)} to shard {action.shard}; open positions go with their pairs. For a moment these "
                "pairs trade nothing."
            )
        case DeskTransfer():
            return (
                f"The ledger notes that {action.amount} {action.currency.upper()} leave {action.source} for "
                f"{action.target} (fee {action.fee}). arbshard itself moves nothing: order it at the venue."
            )


def _halt_plan(action: DeskHalt, note: RiskNote) -> str:
    exits = (
        "Exits stop too: positions stay open until you close them by hand"
        if action.stop
        else "Exits go on by rule"
    )
    open_pairs = sorted({one.pair for one in note.positions})
    flatten = ""
    if action.flatten:
        flatten = (
            f" All positions are closed at the prices of now ({_listed(open_pairs)})."
            if open_pairs
            else " No position is open, so nothing is closed."
        )
    return f"Nothing is entered any more until somebody resumes, whatever is restarted. {exits}.{flatten}"


def _close_plan(action: DeskClose, note: RiskNote, pairs: tuple[Pair, ...]) -> str:
    wanted = {_base_of(one, pairs) for one in action.symbols}
    chosen = [one for one in note.positions if action.everything or one.pair in wanted]
    if not chosen:
        return "Nothing of it is open, so nothing is closed."
    return (
        f"{len(chosen)} position{'s are' if len(chosen) > 1 else ' is'} closed at the prices of now, whatever the "
        f"exit rules say: {_listed([_valued(one) for one in chosen])}."
    )


def _valued(position: PositionNote) -> str:
    if position.unrealised is None:
        return f"{position.pair} (not valued)"
    return f"{position.pair} ({float(position.unrealised):+,.0f})"


def _limits_plan(action: DeskLimits, note: RiskNote, config: Config) -> str:
    key, symbol = action.key.strip(), action.symbol.strip().upper()
    if key not in type(config.limits).__struct_fields__:
        raise UsageError(f"there is no limit '{key}'")
    configured = str(getattr(config.limits, key))
    now = note.limits_changed.get(f"{symbol} {key}".strip()) or note.limits_changed.get(key) or configured
    value = action.value.strip() or f"{configured}, as configured"
    return f"{key} of {symbol or 'all pairs'} changes from {now} to {value}, at once and over restarts."


def _base_of(name: str, pairs: tuple[Pair, ...]) -> str:
    """Return the base that a person means. Raises ``UsageError``."""
    found = next((one.base for one in pairs if one.answers_to(name)), None)
    if found is None:
        raise UsageError(f"{name} is not traded in this run")
    return found


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _amount(what: str, text: str) -> Decimal:
    try:
        value = typed_amount(text)
    except InvalidOperation as error:
        raise UsageError(f"{what} '{text}' is not an amount such as 20000 or 1.5") from error
    if not value.is_finite() or not 0 <= value < _AMOUNT_MAX:
        raise UsageError(f"{what} '{text}' is not an amount of 0 or more")
    return value

"""Sends people's commands to a running instance, whether they come from the command line, the desk or a chat.

All of these use the two functions here, so that a command means the same everywhere.
"""

from msgspec.structs import replace

from arbshard.errors import RequestTimeout, UsageError
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.messages import (
    Close,
    Command,
    CommandReply,
    Denied,
    Halt,
    Resume,
    SetLimits,
    decode_command_reply,
    encode,
)
from arbshard.wire.request import ask

_RISK_TIMEOUT_MS = 5000
"""Time-out in ms, long enough for a restart of risk in between."""
_SUPERVISOR_TIMEOUT_MS = 3000


def send_command(files: RunFiles, command: Command, by: str) -> CommandReply:
    """Send ``command`` to risk and return its answer. ``by``: who gives it, and by which means, for the ledger.

    Raises ``UsageError`` when risk denies it, ``RequestTimeout`` when it does not answer.
    """
    if isinstance(command, Halt | Resume | Close | SetLimits):
        command = replace(command, by=by)
    answer = decode_command_reply(_ask("risk", files.risk_endpoint, encode(command), _RISK_TIMEOUT_MS))
    if isinstance(answer, Denied):
        raise UsageError(answer.why)
    return answer


def send_order(files: RunFiles, order: control.ControlOrder, by: str) -> control.ControlAnswer:
    """Send ``order`` to the supervisor and return its answer. ``by``: who gives it, and by which means, for its log.

    Raises ``UsageError`` when it denies it, ``RequestTimeout`` when it does not answer.
    """
    if isinstance(order, control.ChangingOrder):
        order = replace(order, by=by)
    payload = _ask("the supervisor", files.control_endpoint, control.encode(order), _SUPERVISOR_TIMEOUT_MS)
    answer = control.decode_answer(payload)
    if isinstance(answer, control.ControlDenied):
        raise UsageError(answer.why)
    return answer


def _ask(who: str, endpoint: str, payload: bytes, timeout_ms: int) -> bytes:
    """Return the answer. Raises ``RequestTimeout`` with a text for people, in which no socket is named."""
    try:
        return ask(endpoint, payload, timeout_ms)
    except RequestTimeout as error:
        raise RequestTimeout(f"{who} has not answered within {timeout_ms / 1000:g} s") from error

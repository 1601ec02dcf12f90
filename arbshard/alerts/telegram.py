"""Takes commands from Telegram: they show the run, and halt it. Nothing else can be done from there.

``ChatCommands`` is pure: it says what a text asks for. ``TelegramDesk`` is the bot. Needs python-telegram-bot.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from arbshard.clock import Clock
from arbshard.config import TelegramConfig
from arbshard.secret import Secret

if TYPE_CHECKING:  # the library is an extra
    from telegram import Bot
    from telegram.error import TelegramError

_POLL_S = 20
_PAUSE_S = 1.0
_PAUSE_MAX_S = 300.0
_CHARS_MAX = 4000
_REASON_MAX = 200
HELP = """/status - state of the run and its problems
/pnl - results and equity
/positions - what is open
/why COIN - what stands between a coin and a trade
/halt REASON - stop entries; it asks for a second message
Nothing else can be done from here."""

Shown = Literal["status", "pnl", "positions"]
RequestKind = Literal["status", "pnl", "positions", "why", "ask_halt", "halt", "not_confirmed", "help"]


class ChatRequest(NamedTuple):
    """What a message asks for."""

    kind: RequestKind
    argument: str = ""
    """The coin of ``why``, the code of ``ask_halt``, the reason of ``halt``."""


class _Pending(NamedTuple):
    code: str
    reason: str
    until_ns: int


class ChatCommands:
    """Reads messages of the chats that are allowed."""

    def __init__(self, chats: Sequence[int], confirm_s: float, new_code: Callable[[], str]) -> None:
        """Begin without a pending halt. ``new_code``: makes the code that confirms a halt."""
        self._chats = frozenset(chats)
        self._confirm_ns = int(confirm_s * 1e9)
        self._new_code = new_code
        self._pending: dict[int, _Pending] = {}
        self.unknown_chats = 0
        """Messages of chats that are not allowed."""

    def read(self, chat: int, text: str, now_ns: int) -> ChatRequest | None:
        """Return what a message asks for; None for one that gets no answer."""
        if chat not in self._chats:
            self.unknown_chats += 1
            return None
        word, _, rest = text.strip().partition(" ")
        command, rest = word.partition("@")[0].removeprefix("/").lower(), rest.strip()
        match command:
            case "status" | "pnl" | "positions":
                return ChatRequest(command)
            case "why" if rest:
                return ChatRequest("why", rest.split()[0])
            case "halt":
                code = self._new_code()
                self._pending[chat] = _Pending(code, rest[:_REASON_MAX], now_ns + self._confirm_ns)
                return ChatRequest("ask_halt", code)
            case "confirm":
                return self._confirmed(self._pending.pop(chat, None), rest, now_ns)
        return ChatRequest("help")

    @staticmethod
    def _confirmed(pending: _Pending | None, code: str, now_ns: int) -> ChatRequest:
        if pending is None or pending.code != code or now_ns > pending.until_ns:
            return ChatRequest("not_confirmed")
        return ChatRequest("halt", pending.reason)


class ChatView(Protocol):
    """What the commands may see and do."""

    def show(self, what: Shown) -> str:
        """Return what ``/status``, ``/pnl`` or ``/positions`` answers."""
        ...

    def explain(self, coin: str) -> str:
        """Return what ``/why`` answers."""
        ...

    async def halt(self, reason: str, by: str) -> str:
        """Halt entries, and return what came of it. ``by``: who orders it, for the ledger."""
        ...


class TelegramDesk:
    """The bot: asks for messages again and again, and answers them."""

    def __init__(
        self, token: Secret, settings: TelegramConfig, commands: ChatCommands, view: ChatView, clock: Clock
    ) -> None:
        self.answered = 0
        self.failures = 0
        self.trouble = ""
        """Why the last request to Telegram failed, without any secret; empty when it did not."""
        self._token = token
        self._settings = settings
        self._commands = commands
        self._view = view
        self._clock = clock
        self._offset = 0

    @property
    def unknown_chats(self) -> int:
        """Return how many messages came from chats that are not allowed."""
        return self._commands.unknown_chats

    async def run(self) -> None:
        """Take commands without end; for a task of its own, which is ended by cancelling it."""
        from telegram.error import RetryAfter, TelegramError

        pause_s = _PAUSE_S
        while True:
            try:
                async with _bot_of(self._token, self._settings.api) as bot:
                    while True:
                        await self._answer_all(bot)
                        pause_s, self.trouble = _PAUSE_S, ""
            except TelegramError as error:
                self.failures += 1
                self.trouble = f"Telegram: {_kind_of(error)}"
                if isinstance(error, RetryAfter):
                    wanted_s = error.retry_after
                    pause_s = float(wanted_s if isinstance(wanted_s, int) else wanted_s.total_seconds())
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _answer_all(self, bot: "Bot") -> None:
        updates = await bot.get_updates(offset=self._offset, timeout=_POLL_S, allowed_updates=["message"])
        for update in updates:
            self._offset = update.update_id + 1
            message = update.message
            if message is None or message.text is None:
                continue
            request = self._commands.read(message.chat.id, message.text, self._clock.monotonic_ns())
            if request is None:
                continue
            answer = await self._carry_out(request, message.chat.id)
            await bot.send_message(message.chat.id, answer[:_CHARS_MAX])
            self.answered += 1

    async def _carry_out(self, request: ChatRequest, chat: int) -> str:
        match request.kind:
            case "status" | "pnl" | "positions":
                return self._view.show(request.kind)
            case "why":
                return self._view.explain(request.argument)
            case "ask_halt":
                return (
                    "This stops all entries until a person resumes at the computer; exits go on. Send\n"
                    f"/confirm {request.argument}\nwithin {self._settings.confirm_s:g} s to do it."
                )
            case "halt":
                return await self._view.halt(request.argument, f"Telegram, chat {chat}")
            case "not_confirmed":
                return "Nothing was done: the code is wrong or too old. Send /halt again."
            case "help":
                return HELP


async def try_bot(token: Secret, settings: TelegramConfig, text: str) -> dict[str, str]:
    """Ask Telegram who the bot is, and send ``text`` to each allowed chat.

    Returns why each of these steps failed, empty where it did not, by a name of the step.
    """
    from telegram.error import TelegramError

    try:
        async with _bot_of(token, settings.api) as bot:  # this asks who the bot is
            outcomes = {f"Telegram bot @{bot.username}": ""}
            for chat in settings.chats:
                try:
                    await bot.send_message(chat, text)
                    outcomes[f"Telegram chat {chat}"] = ""
                except TelegramError as error:
                    outcomes[f"Telegram chat {chat}"] = _kind_of(error)
            return outcomes
    except TelegramError as error:
        return {"Telegram bot": _kind_of(error)}


def _bot_of(token: Secret, api: str) -> "Bot":
    from telegram import Bot
    from telegram.request import HTTPXRequest

    return Bot(
        token.use(str),
        base_url=f"{api}/bot",
        base_file_url=f"{api}/file/bot",
        request=HTTPXRequest(),
        get_updates_request=HTTPXRequest(read_timeout=_POLL_S + 10),
    )


def _kind_of(error: "TelegramError") -> str:
    """Return the class of an error, such as InvalidToken or Forbidden: its text may hold the token."""
    return type(error).__name__

"""Commands by Telegram: what they show, how a halt is confirmed, and that nothing else can be done from there."""

import ast
import asyncio
import inspect

import pytest
from aiohttp import web

import arbshard.alerts.main
import arbshard.alerts.telegram
from arbshard.alerts.sending import keep_libraries_quiet
from arbshard.alerts.telegram import HELP, ChatCommands, ChatRequest, TelegramDesk, try_bot
from arbshard.clock import SystemClock
from arbshard.config import TelegramConfig
from arbshard.secret import Secret
from support.telegram_api import FakeTelegram, served

MINE, STRANGE = 42, 666
TOKEN = "123456789:AAE-bottoken_XYZ"
SECOND = 1_000_000_000


@pytest.fixture
def commands():
    return ChatCommands([MINE], 60.0, lambda: "4821")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/status", ChatRequest("status")),
        ("/pnl", ChatRequest("pnl")),
        ("  /Positions@desk_bot ", ChatRequest("positions")),
        ("/why BTC please", ChatRequest("why", "BTC")),
        ("/why", ChatRequest("help")),
        ("/halt lunch", ChatRequest("ask_halt", "4821")),
        ("/confirm 4821", ChatRequest("not_confirmed")),
        ("hello", ChatRequest("help")),
        ("", ChatRequest("help")),
    ],
)
def test_what_a_message_asks_for(commands, text, request_):
    assert commands.read(MINE, text, 0) == request_


def test_a_halt_needs_a_second_message_with_the_right_code_in_time(commands):
    commands.read(MINE, "/halt lunch time", 0)
    assert commands.read(MINE, "/confirm 1111", SECOND) == ChatRequest("not_confirmed")
    assert commands.read(MINE, "/confirm 4821", SECOND) == ChatRequest(
        "not_confirmed"
    )  # a wrong code ends it
    commands.read(MINE, "/halt lunch time", 0)
    assert commands.read(MINE, "/confirm 4821", 61 * SECOND) == ChatRequest("not_confirmed")
    commands.read(MINE, "/halt lunch time", 0)
    assert commands.read(MINE, "/confirm 4821", 59 * SECOND) == ChatRequest("halt", "lunch time")
    assert commands.read(MINE, "/confirm 4821", 59 * SECOND) == ChatRequest("not_confirmed")  # once


def test_a_code_is_of_its_chat_alone():
    commands = ChatCommands([MINE, 43], 60.0, lambda: "4821")
    commands.read(MINE, "/halt", 0)
    assert commands.read(43, "/confirm 4821", 1) == ChatRequest("not_confirmed")


def test_strange_chats_get_no_answer_and_are_counted(commands):
    for text in ("/status", "/halt", "/confirm 4821", "hello"):
        assert commands.read(STRANGE, text, 0) is None
    assert commands.unknown_chats == 4
    assert ChatCommands([], 60.0, lambda: "1").read(MINE, "/status", 0) is None


FORBIDDEN = [
    "resume", "close", "limits", "limits set order_notional_max=1", "transfer", "symbols", "shards", "stop", "run",
    "flatten", "reconcile", "entry", "buy", "sell", "restart", "confirm", "close BTC", "resume BTC", "set",
]  # fmt: skip


@pytest.mark.parametrize("text", FORBIDDEN)
def test_nothing_that_resumes_changes_limits_or_spends_is_a_command(commands, text):
    assert commands.read(MINE, f"/{text}", 0).kind in ("help", "not_confirmed")


def test_halting_is_all_that_the_code_of_the_process_can_order():
    """It imports no other order, and its halt neither closes positions nor stops exits."""
    imported = set()
    for module in (arbshard.alerts.main, arbshard.alerts.telegram):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("arbshard.wire"):
                imported |= {(node.module, alias.name) for alias in node.names}
    assert imported == {
        ("arbshard.wire.messages", "Done"),
        ("arbshard.wire.messages", "Halt"),
        ("arbshard.wire.operator_client", "send_command"),
    }
    source = inspect.getsource(arbshard.alerts.main)
    assert source.count("send_command") == 2
    assert "Halt(reason, flatten=False)" in source
    assert source.count("Halt(") == 1


class View:
    """What the commands see, and whether they halted."""

    def __init__(self):
        self.halts = []

    def show(self, what):
        return f"this is {what}"

    def explain(self, coin):
        return f"why {coin}"

    async def halt(self, reason, by):
        self.halts.append((reason, by))
        return "halted"


@pytest.mark.needs("telegram")
async def test_the_bot_answers_over_real_http_and_survives_errors(caplog):
    keep_libraries_quiet()
    api, view = FakeTelegram(), View()
    async with served(api) as address:
        settings = TelegramConfig(token="env:X", chats=(MINE,), api=address)
        commands = ChatCommands(settings.chats, settings.confirm_s, lambda: "4821")
        desk = TelegramDesk(Secret(TOKEN), settings, commands, view, SystemClock())
        task = asyncio.create_task(desk.run())

        async def until(condition):
            async with asyncio.timeout(20):
                while not condition():
                    await asyncio.sleep(0.02)

        api.write(MINE, "/status")
        api.write(STRANGE, "/pnl")
        api.write(MINE, "/why BTC")
        await until(lambda: len(api.sent) == 2)
        api.refusals = 1
        await until(lambda: desk.failures)
        assert desk.trouble.startswith("Telegram: ")
        for text in ("/resume", "/halt lunch", "/confirm 4821"):
            api.write(MINE, text)
        await until(lambda: desk.answered == 5)
        task.cancel()
        await asyncio.wait({task})
    assert [text for _, text in api.sent[:3]] == ["this is status", "why BTC", HELP]
    assert "/confirm 4821" in api.sent[3][1]
    assert api.sent[4] == (MINE, "halted")
    assert {chat for chat, _ in api.sent} == {MINE}
    assert view.halts == [("lunch", f"Telegram, chat {MINE}")]
    assert (desk.answered, desk.unknown_chats) == (5, 1)
    assert {token for token, _ in api.calls} == {TOKEN}
    assert TOKEN not in caplog.text
    assert TOKEN not in desk.trouble


@pytest.mark.needs("telegram")
async def test_a_token_that_is_refused_is_not_shown():
    async def refuse(_request):
        return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)

    api = FakeTelegram()
    api.answer = refuse
    async with served(api) as address:
        settings = TelegramConfig(token="env:X", chats=(MINE,), api=address)
        desk = TelegramDesk(
            Secret(TOKEN), settings, ChatCommands((MINE,), 60, lambda: "1"), View(), SystemClock()
        )
        task = asyncio.create_task(desk.run())
        async with asyncio.timeout(20):
            while not desk.failures:
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait({task})
    assert desk.trouble == "Telegram: InvalidToken"


@pytest.mark.needs("telegram")
async def test_trying_the_bot_reaches_each_chat_and_names_what_failed():
    keep_libraries_quiet()
    api = FakeTelegram()
    api.token, api.blocked = TOKEN, {43}
    async with served(api) as address:
        settings = TelegramConfig(token="env:X", chats=(MINE, 43, 44), api=address)
        tried = await try_bot(Secret(TOKEN), settings, "this is a test")
        refused = await try_bot(Secret("1:other"), settings, "this is a test")
    assert tried == {
        "Telegram bot @desk_bot": "",
        f"Telegram chat {MINE}": "",
        "Telegram chat 43": "Forbidden",
        "Telegram chat 44": "",
    }
    assert api.sent == [(MINE, "this is a test"), (44, "this is a test")]
    assert refused == {"Telegram bot": "InvalidToken"}
    gone = await try_bot(Secret(TOKEN), settings, "this is a test")
    assert gone == {"Telegram bot": "NetworkError"}

"""A small Bot API for tests, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class FakeTelegram:
    """A small Bot API over real HTTP: hands out updates once, and keeps what is sent."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.sent: list[tuple[int, str]] = []
        self.calls: list[tuple[str, str]] = []
        self.refusals = 0
        """So many of the next requests for updates are answered with an error."""
        self.token = ""
        """The only token that is accepted; empty: all are."""
        self.blocked: set[int] = set()
        """Chats that have blocked the bot."""
        self._number = 0

    def write(self, chat: int, text: str) -> None:
        """Let a person write ``text`` in ``chat``."""
        self._number += 1
        message = {
            "message_id": self._number,
            "date": 1,
            "chat": {"id": chat, "type": "private"},
            "text": text,
        }
        self.waiting.append({"update_id": self._number, "message": message})

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request as Telegram does."""
        token, method = request.match_info["token"], request.match_info["method"]
        self.calls.append((token, method))
        data = {key: str(value) for key, value in {**await request.post(), **request.query}.items()}
        if self.token and token != self.token:
            return self._refusal(401, "Unauthorized")
        match method:
            case "getMe":
                return self._ok({"id": 1, "is_bot": True, "first_name": "desk", "username": "desk_bot"})
            case "getUpdates":
                if self.refusals:
                    self.refusals -= 1
                    return self._refusal(502, "bad")
                self.waiting = [one for one in self.waiting if one["update_id"] >= int(data.get("offset", 0))]
                if not self.waiting:
                    await asyncio.sleep(0.05)
                return self._ok(self.waiting)
            case "sendMessage" if int(data["chat_id"]) in self.blocked:
                return self._refusal(403, "Forbidden: bot was blocked by the user")
            case "sendMessage":
                self.sent.append((int(data["chat_id"]), data["text"]))
                chat = {"id": int(data["chat_id"]), "type": "private"}
                return self._ok({"message_id": 1, "date": 1, "chat": chat, "text": data["text"]})
        raise AssertionError(method)

    @staticmethod
    def _refusal(code: int, why: str) -> web.Response:
        return web.json_response({"ok": False, "error_code": code, "description": why}, status=code)

    @staticmethod
    def _ok(result: object) -> web.Response:
        return web.json_response(text=json.dumps({"ok": True, "result": result}))


@asynccontextmanager
async def served(api: FakeTelegram, port: int = 0) -> AsyncIterator[str]:
    """Serve ``api`` at a local address, which is yielded."""
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", api.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

"""Leads Chromium without a window over its DevTools protocol, for tests of pages and for pictures of them.

The protocol is JSON over a WebSocket, which ``websockets`` speaks; a larger library would bring a browser of its own.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync", "--mute-audio",
    "--remote-debugging-port=0", "--ignore-certificate-errors", "--force-color-profile=srgb",
)  # fmt: skip
_START_S = 30.0
_POLL_S = 0.05
_WEBP_QUALITY = 75


def chromium() -> str | None:
    """Return the path of the browser; None where none is installed."""
    return next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)


class Page:
    """Leads one tab."""

    def __init__(self, address: str) -> None:
        self._closing = contextlib.ExitStack()
        self._socket: ClientConnection = self._closing.enter_context(
            connect(address, max_size=None, open_timeout=_START_S, compression=None)
        )
        self._serial = 0
        self.problems: list[str] = []
        """What the page has thrown or complained about, and what its policy forbade."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Close the connection to the tab."""
        self._closing.close()

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Carry out one command of the protocol, and return its result."""
        self._serial += 1
        self._socket.send(json.dumps({"id": self._serial, "method": method, "params": given}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == self._serial:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", {}).get("description") or details["text"])
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        """Load a page and wait until it is there."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """Return the value of a script, which may be a promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 60.0) -> Any:
        """Wait until a script has a true value, and return it."""
        return until(
            lambda: self.evaluate(script), timeout_s, lambda: f"{script}; {self.problems}; {self.text()}"
        )

    def text(self, selector: str = "body") -> str:
        """Return the text that a person sees in the first element of ``selector``."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def click(self, selector: str) -> None:
        """Press the first element of ``selector`` with the mouse, once it is there."""
        self.wait_for(f"!!document.querySelector({json.dumps(selector)})")
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def write(self, selector: str, text: str) -> None:
        """Type a text into a field."""
        self.click(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select?.()")
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Look at the page in another window, with light or dark colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a file in the format of its suffix: PNG or WebP."""
        quality = {"quality": _WEBP_QUALITY} if path.suffix == ".webp" else {}
        taken = self.call(
            "Page.captureScreenshot", format=path.suffix[1:], captureBeyondViewport=whole, **quality
        )
        path.write_bytes(base64.b64decode(taken["data"]))


class Browser:
    """Runs a browser with a profile of its own."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="arbshard-browser-", ignore_cleanup_errors=True)
        program = chromium()
        assert program is not None, "chromium is not installed"
        command = (program, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._pages: list[Page] = []
        port = Path(self._profile.name) / "DevToolsActivePort"
        try:
            lines = until(
                lambda: _lines(port), _START_S, lambda: f"chromium did not start: {self.process.poll()}"
            )
        except AssertionError:
            self.close()
            raise
        self._address = f"ws://127.0.0.1:{lines[0]}"
        with connect(self._address + lines[1], max_size=None, compression=None) as socket:
            socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(socket.recv(timeout=10))["result"]["targetInfos"]
        self._first = next(one["targetId"] for one in targets if one["type"] == "page")

    def page(self) -> Page:
        """Return the tab of the browser."""
        page = Page(f"{self._address}/devtools/page/{self._first}")
        self._pages.append(page)
        return page

    def close(self) -> None:
        """End the browser."""
        for page in self._pages:
            with contextlib.suppress(Exception):
                page.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._profile.cleanup()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def until(found: Callable[[], Any], timeout_s: float, describe: Callable[[], object]) -> Any:
    """Wait for a true value, and return it."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if value := found():
            return value
        time.sleep(_POLL_S)
    raise AssertionError(f"not reached within {timeout_s} s: {describe()}")


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return lines if len(lines) == 2 else []


@contextmanager
def opened(url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """Open a page in a browser of its own."""
    with Browser() as browser:
        page = browser.page()
        page.resize(width, height, dark=dark)
        page.open(url)
        yield page

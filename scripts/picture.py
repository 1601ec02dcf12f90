"""Makes the pictures of the README from a run of the embedded exchanges: ``python scripts/picture.py``.

It runs for about two minutes, needs Chromium, and writes ``docs/desk.webp`` (the desk in the browser, 1440 pixels
wide) and ``docs/status.svg`` (the text of ``arbshard status``).
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from arbshard.clock import SystemClock  # noqa: E402
from arbshard.model.money import use_money_context  # noqa: E402
from arbshard.status.collect import Collector  # noqa: E402
from arbshard.status.model import Status  # noqa: E402
from arbshard.status.render import render_status  # noqa: E402
from support.browser import Page, opened, until  # noqa: E402 - found by the line above

_CONFIG = """
name = "desk"
[sim]
coins = 40
seed = 5
updates_per_s = 5.0
[run]
shards = 2
[web]
enabled = true
port = 0
"""
_BYTES_MAX = 150_000
_WIDTH, _HEIGHT = 1440, 1180
_RUN_S = 240.0
_COLUMNS = 132


def main() -> int:
    """Make both pictures, and return the exit code: 1 when one of them is too large."""
    use_money_context()
    with tempfile.TemporaryDirectory(prefix="arbshard-picture-") as folder:
        place = Path(folder)
        (place / "config.toml").write_text(_CONFIG)
        command = (
            sys.executable, "-m", "arbshard", "run", "--config", str(place / "config.toml"),
            "--state-dir", str(place / "state"),
        )  # fmt: skip
        environment = {**os.environ, "ARBSHARD_RUN_ROOT": str(place / "run")}
        with (place / "out.txt").open("wb") as out:
            run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        try:
            sizes = _take(Collector(place / "run" / "desk", SystemClock()))
        finally:
            run.terminate()
            run.wait(60)
    for path, size in sizes.items():
        print(f"{path.relative_to(ROOT)}: {size:,} bytes")
    return int(max(sizes.values()) > _BYTES_MAX)


def _take(collector: Collector) -> dict[Path, int]:
    def traded() -> Status | None:
        status = collector.collect()
        return (
            status if status is not None and status.web is not None and status.portfolio.exits > 5 else None
        )

    status = until(traded, _RUN_S, lambda: "the run has not traded")
    with opened(status.web.url, width=_WIDTH, height=_HEIGHT) as page:
        _open_pair(page)
        time.sleep(4)  # a few points of the gap of now
        desk = ROOT / "docs" / "desk.webp"
        page.picture(desk)
    drawn = Console(record=True, width=_COLUMNS, file=io.StringIO())
    drawn.print(render_status(_with_usual_path(collector.collect() or status), symbols_shown=8))
    text = ROOT / "docs" / "status.svg"
    # The fonts that it names would be fetched from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", drawn.export_svg(title="arbshard status"), flags=re.DOTALL)
    text.write_text(picture, encoding="utf-8")
    return {path: path.stat().st_size for path in (desk, text)}


def _with_usual_path(status: Status) -> Status:
    """Return the status with the ledger where it is by default, and not in the folder of this script."""
    if status.ledger is None:
        return status
    path = "~/.local/state/arbshard/desk/ledger.sqlite"
    return replace(status, ledger=replace(status.ledger, path=path))


def _open_pair(page: Page) -> None:
    """Show the pair that is nearest to an entry, with its books."""
    page.wait_for("document.querySelectorAll('#grid-space .grid-row:not([hidden])').length > 8")
    page.evaluate("document.querySelector('#grid-body').style.height = 'calc(var(--row) * 8)'")
    page.click("#grid-space .grid-row:not([hidden])")
    page.wait_for("document.querySelectorAll('#detail .book').length === 2")
    page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main())

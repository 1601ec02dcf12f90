"""What a person sees while a campaign runs."""

import io

from rich.console import Console

from arbshard.campaign.file import CampaignFile
from arbshard.campaign.monitor import WatchFile
from arbshard.campaign.progress import Progress, line_of, table_of
from arbshard.model.verdict import Anomaly

CAMPAIGN = CampaignFile(name="T1", about="x", duration_s=3600.0, symbols=("BTC",))
ANOMALIES = tuple(
    Anomaly(
        rule="blocked", severity="warn", first_ms=0, last_ms=0, subject=str(number), text=f"finding {number}"
    )
    for number in range(7)
)
WATCH = WatchFile(
    state="running", entries=1234, exits=1230, open=4, wins=900, losses=330, pnl="-45678.9",
    anomalies=ANOMALIES, left_out=3,
)  # fmt: skip


def drawn(watch, elapsed_s):
    console = Console(file=io.StringIO(), width=100)
    console.print(table_of(CAMPAIGN, watch, elapsed_s))
    text = console.file.getvalue()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return text.splitlines()[0].strip(), rows


def test_the_table_has_all_figures():
    title, rows = drawn(WATCH, 754.4)
    assert title == "campaign T1"
    assert rows == [
        ["elapsed", "0:12:34 of 1:00:00"],
        ["left", "0:47:26"],
        ["state", "running"],
        ["entries, exits, open", "1,234, 1,230, 4"],
        ["won", "73 %"],
        ["PnL", "-45,679"],
        ["anomalies", "10"],
        *(["warn", f"blocked: finding {number}"] for number in range(2, 7)),
    ]


def test_before_the_first_position_and_after_the_last_second():
    _, rows = drawn(WatchFile(), 3601.0)
    assert ["left", "closing"] in rows
    assert ["won", "none closed"] in rows


def test_a_line_has_the_same_figures():
    assert line_of(CAMPAIGN, WATCH, 754.4) == (
        "0:12:34 of 1:00:00, 0:47:26 left, running, 1,234 entries, 1,230 exits, won 73 %, PnL -45,679, 10 anomalies"
    )


def test_a_terminal_gets_the_table_and_the_lines_that_stay():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(CAMPAIGN, console) as progress:
        progress.print_line("attempt 1: 3,600 s")
        progress.show(WATCH)
    text = console.file.getvalue()
    assert "campaign T1: attempt 1: 3,600 s\n" in text
    assert "1,234, 1,230, 4" in text


def test_a_file_gets_lines_only_and_not_one_for_each_sample():
    console = Console(file=io.StringIO(), width=100)
    with Progress(CAMPAIGN, console) as progress:
        progress.print_line("[attempt] 1")
        for _ in range(100):
            progress.show(WATCH)
    assert console.file.getvalue() == "campaign T1: [attempt] 1\n"

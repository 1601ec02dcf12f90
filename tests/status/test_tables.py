"""Tables that show every cell in full, however narrow the terminal is."""

from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from arbshard.model.risk_note import PositionNote, Tally
from arbshard.status.model import AccountStatus
from arbshard.status.render import render_status
from arbshard.status.render_summary import render_summary
from arbshard.status.summary import summarise
from arbshard.status.tables import WholeTable

BIG = "-123456789012"
SHOWN = "-123,456,789,012"


def drawn(renderable, width):
    page = StringIO()
    Console(file=page, width=width, color_system=None).print(renderable)
    return page.getvalue()


@pytest.fixture
def table():
    table = WholeTable("Balances", caption="the end")
    table.add_column("venue")
    for heading in ("free now", "held for orders", "worth"):
        table.add_column(heading, justify="right")
    table.add_column("why", no_wrap=False)
    table.add_row("upbit", "1,000,000", "2,000,000", "3,000,000", "three words here")
    return table


def test_one_block_where_there_is_room(table):
    lines = drawn(table, 100).splitlines()
    assert any("free now   held for orders" in line for line in lines)
    assert sum("upbit" in line for line in lines) == 1


def test_headings_are_stacked_before_columns_move_below(table):
    lines = drawn(table, 50).splitlines()
    assert sum("upbit" in line for line in lines) == 1
    assert not any("free now" in line for line in lines)


def test_what_has_no_room_follows_in_a_block_that_begins_with_the_key(table):
    text = drawn(table, 26)
    assert text.count("upbit") > 1
    assert text.count("Balances") == 1
    assert text.count("the end") == 1
    for cell in ("1,000,000", "2,000,000", "3,000,000", "three", "words", "here"):
        assert cell in text
    assert all(len(line.rstrip()) <= 26 for line in text.splitlines())


def test_what_is_wider_than_the_terminal_goes_on_in_the_next_line(table):
    assert "…" not in drawn(table, 8)


@pytest.mark.parametrize("width", [60, 80, 120])
class TestWidths:
    """All tables of ``status`` and of the closing summary."""

    def test_status(self, status, width):
        tally = Tally(121, 122, 123, 124, 125, 0.126, BIG, "128")
        text = drawn(
            render_status(
                replace(
                    status,
                    portfolio=replace(status.portfolio, pnl=BIG, fees=BIG, fx=BIG, exposure=BIG),
                    symbols={"BTC": tally},
                    order_mode="live",
                    accounts=(AccountStatus("upbit", 1234.0, None, settled=False, is_late=True),),
                )
            ),
            width,
        )
        assert "…" not in text
        assert text.count(SHOWN) >= 4
        for figure in (
            "987,654,321",
            "101",
            "3,434",
            "33 ms",
            "quarantined",
            "7,778 ms",
            "1,234 s ago, not settled",
        ):
            assert figure in text, figure

    def test_summary(self, status, width):
        position = PositionNote("s1-0-1-4", "BTC", "buy_home", "0.5", BIG, "1", "999888", 1, 0, None, None)
        text = drawn(
            render_summary(summarise(replace(status, positions=(position,)), alive=status, failure="")), width
        )
        assert "…" not in text
        assert "999,888" in text

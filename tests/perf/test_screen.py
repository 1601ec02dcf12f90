import io

import pytest
from rich.console import Console

from perf import screen
from perf.figures import Percentiles
from perf.results import Conditions, Highest, Results
from perf.steadiness import Steadiness

WIDTH, LINES = 100, 40
NOISY = Steadiness(loop_ms=3.21, loop_share=0.08, cpu_share=0.03, late_p50_us=62.0, late_p99_us=1_240.0)
RATES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
FACTORS = {"arbshard": 1.0, "ccxt": 12.34, "cryptofeed": 0.91}
SPREADS = (1.0, 1.12, 0.93)


@pytest.fixture
def made_up(row):
    """A whole run of ``turns``: ccxt is slower, cryptofeed about as fast, and from 10,000 on holds nothing."""

    def make(turns=3, rates=RATES, is_wide=False):
        results = Results(
            conditions=Conditions(
                python="3.11.7",
                cores=2,
                cpu="x",
                load_before=0.5,
                steadiness=(NOISY, NOISY),
                quick=turns == 1,
            )
        )
        for rate in rates:
            for client, factor in FACTORS.items():
                if client != "arbshard" and rate > 20_000:
                    continue
                rows = results.load if client == "arbshard" else results.equal
                for turn in range(turns):
                    us = 140.0 * factor * SPREADS[turn] * (rate / 1_000) ** (2 if is_wide else 0.5)
                    latency = Percentiles(p50=us, p99=9 * us, p999=10 * us, count=9)
                    lost = int(client == "cryptofeed" and rate >= 10_000)
                    cpu_s = {client: factor * SPREADS[turn]}
                    rows.append(
                        row(
                            client=client,
                            rate=float(rate),
                            processes=1,
                            turn=turn,
                            send_us=latency,
                            cpu_s=cpu_s,
                            lost=lost,
                        )
                    )
        for client, found in (("arbshard", 60_000), ("ccxt", 5_000), ("cryptofeed", 0)):
            for turn in range(turns):
                rate = found if turn else found // 2
                results.highest.append(Highest(client=client, processes=1, rate=rate, turn=turn))
        return results

    return make


def shown(results):
    console = Console(file=io.StringIO(), width=WIDTH)
    screen.show(console, results)
    return console.file.getvalue()


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("rates", [RATES, range(1_000, 20_001, 1_000)])
def test_it_fits_one_screen_and_hides_no_number(made_up, turns, rates, is_wide):
    text = shown(made_up(turns, rates, is_wide))
    lines = text.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in text


def test_it_says_what_a_reader_needs_first(made_up):
    text = shown(made_up())
    for said in (
        "140 130–157",  # our own p50 at the lowest rate
        "12.3 12.3–12.3 better",
        "0.91 0.91–0.91 can't tell",  # the turns differ by more
        "better: not held",
        "60,000 (30,000–60,000)",
        "a loop of 3.2 ms varies by 8%",
        "0/3",
        "3/3",
    ):
        assert said in text, said


def test_one_turn_has_no_verdict_and_says_so(made_up):
    text = shown(made_up(turns=1))
    assert "Can't tell from one turn" in text
    assert "better" not in text.replace("better arbshard is", "")
    assert "worse" not in text


def test_without_peers_there_is_nothing_to_compare(made_up):
    results = made_up()
    results.equal, results.highest = [], []
    assert "No other client was measured" in shown(results)

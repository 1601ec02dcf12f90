"""Where the money is: a worker and risk as they run, on virtual time.

A worker used to know of free money by its own replies alone, so it starved beside money that had come back by
another shard, a deposit or a transfer, and no refusal said so. Money drifts to the venue whose price moves back; the
inventory shows how fast, and when the other venue has none left.
"""

from decimal import Decimal

import msgspec

from arbshard.model.notes import WorkerNote
from arbshard.model.refusal import Refusal
from arbshard.shm.pages import PageReader
from arbshard.status.inventory import propose
from arbshard.wire.inventory import AnnounceTransfer, Inventory, ShowInventory
from arbshard.wire.messages import Done
from support import trading_rig as t
from support.effort import effort

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def missing(rig) -> tuple[int, dict[str, int]]:
    """What the worker has counted: entries refused as 505, and of which currency on which venue."""
    with PageReader.attach(rig.files.worker_page(0)) as page:
        note = msgspec.json.decode(page.note() or b"{}", type=WorkerNote)
        return page.value(f"refusal_{Refusal.INVENTORY_SHORT.name}"), note.missing


def shown(rig) -> Inventory:
    inventory = rig.command(ShowInventory())
    assert isinstance(inventory, Inventory)
    return inventory


def line_of(inventory: Inventory, venue: str, currency: str):
    (line,) = (one for one in inventory.lines if (one.venue, one.currency) == (venue, currency))
    return line


def test_a_worker_beside_free_money_does_not_starve(tmp_path) -> None:
    """Minutes with a 75 bps gap in each, and 10,000 KRW; then money comes that no reply tells of."""
    minutes = effort(10, 30)

    async def script(rig) -> None:
        await rig.sleep(5)
        for _ in range(minutes):  # a gap that stood still would become the level of the pair
            rig.prices["AAA"].gap_bps = -75.0
            await rig.sleep(10)
            rig.prices["AAA"].gap_bps = 0.0
            await rig.sleep(50)
        assert not rig.state.positions
        count, by_account = missing(rig)
        print(f"{minutes} min beside 10,000 KRW: {count} entries refused (505), {by_account}")
        assert count > 10 * minutes
        rig.prices["AAA"].gap_bps = -75.0
        assert by_account.keys() == {"upbit KRW"}
        deposit = AnnounceTransfer("outside", "upbit", "KRW", Decimal(5_000_000), Decimal(0), "")
        assert isinstance(rig.command(deposit), Done)
        waited_s = await rig.until(lambda: rig.state.positions, 10)
        print(f"5,000,000 KRW deposited: a position is open after {waited_s:.1f} s")
        assert waited_s <= 5

    t.run(tmp_path, script, paper={"quote_home": Decimal(10_000)})


def test_money_drifts_and_the_inventory_says_until_when_it_lasts(tmp_path) -> None:
    """Each trip gains on the venue whose price moves back. The rate and the date follow from the ledger alone."""

    async def script(rig) -> None:
        market = rig.prices["AAA"]
        await rig.sleep(5)
        before = {currency: line_of(shown(rig), *currency).have for currency in MONEY}
        while rig.now_s < effort(HOUR_S // 3, HOUR_S):
            await rig.open("AAA")
            market.gap_bps = 20.0
            await rig.until(lambda: not rig.state.positions, 120)
            market.gap_bps = 0.0
            await rig.sleep(100)
        now = shown(rig)
        for account in MONEY:
            line = line_of(now, *account)
            drift = line.have - before[account]
            measured = drift * DAY_S / Decimal(now.window_h * HOUR_S)
            print(f"{' '.join(account)}: {drift:+,.2f} in {now.window_h:.2f} h, {line.per_day:+,.2f} a day")
            assert abs(line.per_day - measured) <= abs(measured) / 1000
        krw, usdt = (line_of(now, *account) for account in MONEY)
        assert krw.per_day > 0 > usdt.per_day
        days = (usdt.runs_out_ms - now.at_ms) / 1000 / DAY_S
        print(f"{usdt.free:,.0f} USDT are free and run out in {days:.2f} days; {propose(now)}")
        assert abs(days - float(usdt.free / -usdt.per_day)) < 0.01
        assert propose(now)[0].startswith("Buy ")
        assert "and move them to binance: it runs out on" in propose(now)[0]

    t.run(tmp_path, script, paper={"quote_away": Decimal(2000)}, inventory={"transfer_min": Decimal(100)})


MONEY = (("upbit", "KRW"), ("binance", "USDT"))

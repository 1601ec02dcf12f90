"""A hand-made status in which every number is another one."""

from typing import Any

from msgspec.structs import replace

from arbshard.model.risk_note import EquityNote, FxNote, PortfolioTally, Tally, ValueChangeNote
from arbshard.status.model import ClusterStatus, Latency, RiskStatus, ShardStatus, Status, VenueStatus

EQUITY = EquityNote(
    equity="-201201.4", realised="202202", unrealised="-203203.4", high_water="204204", drawdown="205205.4",
    day_loss="206206", week_loss="-207207", naked="208208", account_value="987654321", unpriced=("XYZ",),
    change=ValueChangeNote("980000001", "1100001", "2200002", "-3300003", "7654320", "5"),
)  # fmt: skip

FX = FxNote(
    rate=1451.5, implied=1449.25, pairs=21, premium_bps=-15.5, level_bps=-3.0, held="-12345.67", quote="USDT",
    worth="17919000",
)  # fmt: skip


def latency(base: float) -> Latency:
    return Latency(p50=base + 1, p90=base + 2, p99=base + 3, p999=base + 4, max=base + 5, count=int(base) + 6)


def made_shards() -> tuple[ShardStatus, ...]:
    one = ShardStatus(
        id=0, state="running", pid=30_001, epoch=31, restarts=2, pairs=33, msg_s=3_434.4,
        latency_us=latency(3_500), approval_us=latency(3_600), ticks=370, frames=380, conflated=390,
        bad_frames={"upbit": 1, "binance": 2}, refusals={"BOOK_STALE": 41, "LEG_SKEW": 4},
        orders=420, rejected=43, partial=44, errors=0,
    )  # fmt: skip
    two = ShardStatus(
        id=1, state="quarantined", pid=None, epoch=51, restarts=3, pairs=53, msg_s=0.0,
        latency_us=Latency(), approval_us=Latency(), ticks=570, frames=580, conflated=590,
        bad_frames={}, refusals={"BOOK_STALE": 61, "FX_STALE": 62},
        orders=620, rejected=63, partial=64, errors=0,
    )  # fmt: skip
    return one, two


def made_cluster_status(**changes: Any) -> ClusterStatus:
    """Host a of a cluster that host b leads."""
    made = ClusterStatus(
        "c", "a", "b", 4, may_trade=True, why="", contact_s=0.1, nats=True, replication="sync", hosts=(),
        unplaced=(), kept=(), phase="running",
    )  # fmt: skip
    return replace(made, **changes)


def made_status() -> Status:
    shards = made_shards()
    upbit = VenueStatus(
        name="upbit", state="connected", simulated=True, connections=71, symbols=72, msg_s=7_373.3, frames=74,
        reconnects=75, bad_frames=76, oldest_ms=7_777.7, last_error="", wanted=70, source="ws x2",
        planned=78, stalls=79, touches=7_575, touches_overdue=7_676, touch_mismatches=7_777,
        lag_ms=7_474, lag_ms_max=9_494, answer_us=Latency(p50=33_333.0, count=9),
    )  # fmt: skip
    binance = VenueStatus(
        name="binance", state="down", simulated=False, connections=81, symbols=82, msg_s=8_383.0, frames=84,
        reconnects=85, bad_frames=86, oldest_ms=8_787.0, last_error="refused",
    )  # fmt: skip
    risk = RiskStatus(
        state="running", pid=30_009, restarts=4, approvals=91, refusals={"BALANCE": 92, "DAILY_LOSS": 93},
        commit_us=latency(9_400), session=95,
    )  # fmt: skip
    return Status(
        name="desk", state="degraded", mode="paper", data="sim", regime="mixed", pid=30_000, uptime_s=1_234.4,
        state_dir="/state/desk", shards=shards, venues=(upbit, binance), risk=risk,
        portfolio=PortfolioTally(
            entries=101, exits=102, open=103, wins=104, losses=105, win_rate=0.4976, pnl="-106106.4", fees="107107.6",
            fx="-5005.5", exposure="109110",
        ),
        lifetime=PortfolioTally(
            entries=111, exits=112, open=113, wins=114, losses=115, win_rate=None, pnl="116116", fees="117117"
        ),
        symbols={
            "BTC": Tally(121, 122, 123, 124, 125, 0.126, "127127", "128"),
            "ETH": Tally(131, 132, 133, 134, 135, 0.136, "-137137", "138"),
            "SOL": Tally(),
        },
        reasons={"take_profit": 141, "max_hold": 142},
        balances={}, positions=(), latency_us=latency(1_500), approval_us=latency(1_600),
        messages=1_700_000, equity=EQUITY, fx=FX, errors=18, restarts=9,
        alerts=("12:00:00 worker-1 given up",), unattended=(),
        memory_mb=190.4, problems=("shard 1 is quarantined", "binance is down"),
    )  # fmt: skip

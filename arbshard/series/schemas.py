"""Defines the tables of the series and their columns. Needs pyarrow.

Each row has ``at_ms``, the wall time of the sample, and ``run``, the wall time at which its instance was started.
Money is in reporting currency, as floats: these are figures to plot, and the ledger has the exact ones. A value that
was not known is null. ``docs/series.md`` describes each column.
"""

import pyarrow as pa

_INT, _FLOAT, _TEXT = pa.int64(), pa.float64(), pa.string()


def _schema(texts: str = "", integers: str = "", floats: str = "") -> pa.Schema:
    """Return a schema with these columns, whose names are separated by spaces, after those that every table has."""
    fields = [("at_ms", _INT), ("run", _INT)]
    for names, kind in ((texts, _TEXT), (integers, _INT), (floats, _FLOAT)):
        fields += [(name, kind) for name in names.split()]
    return pa.schema([pa.field(name, kind, nullable=name not in ("at_ms", "run")) for name, kind in fields])


SCHEMAS: dict[str, pa.Schema] = {
    # The instance as a whole, once per second.
    "system": _schema(
        texts="state problems",
        integers="entries exits open wins losses messages errors restarts refused approvals",
        floats=(
            "equity realised unrealised drawdown exposure naked account_value fx_rate fx_premium_bps fees fx_pnl "
            "beside memory_mb disk_free_mb"
        ),
    ),
    # Each shard, once per second. Latencies are of the time since the sample before.
    "shards": _schema(
        texts="state",
        integers=(
            "shard pairs ticks conflated opportunities orders rejected partial errors restarts decision_count "
            "approval_count"
        ),
        floats=(
            "msg_s decision_p50_us decision_p99_us decision_max_us approval_p50_us approval_p99_us loop_gap_max_us"
        ),
    ),
    # Each venue, once per second.
    "venues": _schema(
        texts="venue state",
        integers="frames reconnects planned stalls resyncs bad_frames refusals",
        floats="msg_s oldest_ms lag_ms answer_p50_us answer_p99_us",
    ),
    # Each pair, when something has changed (at most once per second), and once per minute at least.
    "pairs": _schema(
        texts="pair", floats="gap_bps home_edge_bps away_edge_bps depth_edge_bps level_bps age_ms"
    ),
    # How often something was refused since its process was started; a row when that has changed.
    "refusals": _schema(texts="source reason", integers="count"),
    # What became of refused entries that were followed, since the workers were started; a row on a change.
    "followed": _schema(texts="reason", integers="followed won", floats="pnl"),
    # Each process of the run, once per second.
    "processes": _schema(texts="name", integers="pid fds threads", floats="rss_mb cpu_pct"),
    # Counts and sums since the run was started; a row per pair on a change, every ten seconds at most. The first
    # group counts a direction of a pair in a sampled second, the second one evaluations of a direction by a worker.
    "funnel": _schema(
        texts="pair",
        integers="sampled gross net deep sound wanted barred sized decided approved",
        floats=(
            "gross_bps net_bps deep_bps sound_bps wanted_bps barred_bps sized_bps decided_bps approved_bps"
        ),
    ),
}

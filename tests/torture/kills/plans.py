"""What is done to a run, drawn from a seed: faults of the exchange, victims, pauses, points of death. Pure."""

from random import Random

CHILDREN = ("worker-0", "worker-1", "risk", "accounts")
_WEIGHTS = (3, 3, 2, 1)

WORKER_POINTS = (
    "before_send",
    "after_send",
    "after_reply",
    "before_report",
    "after_report",
    "after_extend",
    "after_ask",
    "before_conclude",
    "after_conclude",
)
RISK_POINTS = ("before_commit", "after_commit", "after_answer")
ACCOUNTS_POINTS = ("before_publish", "before_state", "after_state")

FAULTS: tuple[dict[str, dict], ...] = (
    {"partial_fill": {"share": 0.3, "fill_share": 0.5}, "duplicate_event": {"share": 0.3}},
    {"lost_reply": {"share": 0.15}, "late_event": {"share": 0.3, "ms_max": 800.0}},
    {"lost_request": {"share": 0.15}, "partial_fill": {"share": 0.2, "fill_share": 0.0}},
    {"delay": {"share": 0.3, "ms_min": 50.0, "ms_max": 1500.0}, "reject": {"share": 0.1}},
    {"error_500": {"share": 0.15}, "event_before_reply": {"share": 0.5}},
    {
        "disconnect": {"share": 0.3, "sockets": "private"},
        "lost_reply": {"share": 0.2},
        "partial_fill": {"share": 0.3, "fill_share": 0.6},
    },
    {"rate_limited": {"share": 0.05}, "reject": {"share": 0.15}, "late_event": {"share": 0.5}},
    {"redirect": {"share": 0.15, "status": 307, "calls": "changing"}, "partial_fill": {"share": 0.2}},
    {"redirect": {"share": 0.15, "status": 302, "calls": "all", "carried_out": True}},
    {
        "denied": {"share": 0.3, "status": 503, "calls": "all"},
        "partial_fill": {"share": 0.3, "fill_share": 0.5},
    },
    {"denied": {"share": 0.2, "status": 403, "calls": "placing"}, "lost_reply": {"share": 0.1}},
    {"market_state": {"share": 1.0, "market": "BTC", "state": "break"}, "partial_fill": {"share": 0.2}},
    {
        "market_state": {"share": 1.0, "market": "ETH,XRP", "state": "cancel_only"},
        "late_event": {"share": 0.3},
    },
    {"market_state": {"share": 1.0, "market": "SOL", "state": "delisted"}, "lost_request": {"share": 0.1}},
    {"market_state": {"share": 1.0, "market": "BTC", "state": "warned"}, "error_500": {"share": 0.1}},
    {"changed_rules": {"share": 1.0, "market": "BTC,SOL", "tick": 5, "lot": 10, "minimum": 2}},
    {  # below the configured fee: one above it stops all entries, and with them whatever the kills wait for
        "changed_fees": {"venue": "binance", "share": 1.0, "bps": 8.0},
        "partial_fill": {"share": 0.3, "fill_share": 0.5},
    },
    {"key_revoked": {"share": 1.0}, "lost_reply": {"share": 0.1}},
    {
        "quiet_book": {"share": 1.0, "market": "ETH", "every_s": 3.0},
        "wrong_frame": {"share": 0.5, "bps": 300.0},
    },
    {
        "fx_blip": {"venue": "upbit", "share": 0.3, "bps": 100.0},
        "closed_wallet": {"share": 1.0, "market": "XRP", "gap_bps": 120.0},
    },
)


def draw_faults(rng: Random, stranger: str) -> dict[str, dict]:
    """One of the sets of faults. ``stranger``: where redirects lead to."""
    faults = rng.choice(FAULTS)
    if "redirect" in faults:
        return {**faults, "redirect": {**faults["redirect"], "location": stranger}}
    return faults


def draw_victim(rng: Random) -> str:
    """A child."""
    return rng.choices(CHILDREN, _WEIGHTS)[0]


def draw_pause_s(rng: Random) -> float:
    """Until the next kill: mostly long enough for orders to be under way again, sometimes not."""
    return rng.uniform(0.05, 0.4) if rng.random() < 0.25 else rng.uniform(0.4, 1.6)


def draw_freeze_s(rng: Random) -> float:
    """How long a process stands still: around the time after which it is taken to be stuck, often on its edge."""
    return rng.uniform(0.02, 0.3) if rng.random() < 0.3 else rng.uniform(0.25, 1.5)


def draw_plan(rng: Random) -> str:
    """A point of death for each kind of process that starts next."""
    worker = f"{rng.choice(WORKER_POINTS)}:{rng.randint(1, 3)}"
    risk = f"{rng.choice(RISK_POINTS)}:{rng.randint(10, 120)}"
    accounts = f"{rng.choice(ACCOUNTS_POINTS)}:{rng.randint(3, 20)}"
    return f"{worker},{risk},{accounts}"

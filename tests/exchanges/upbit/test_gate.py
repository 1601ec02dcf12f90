import pytest

from arbshard.exchanges.session import SECOND_NS
from arbshard.exchanges.upbit import gate as gate_module
from arbshard.exchanges.upbit.gate import REFUSALS_MAX, RequestCounter


@pytest.mark.parametrize(
    ("group", "limit", "minimum", "window_s"),
    [
        ("default", 30, 1800, 1),
        ("order", 12, 720, 1),
        ("order-test", 8, 480, 1),
        ("order-cancel-all", 1, 30, 2),
    ],
)
def test_each_group_counts_down_and_starts_anew(group: str, limit: int, minimum: int, window_s: int) -> None:
    gate, start_ns = RequestCounter(), 10 * SECOND_NS
    first = gate.admit(group, "me", start_ns)
    assert first == (200, f"group={group}; min={minimum}; sec={limit - 1}", 0)
    verdicts = [gate.admit(group, "me", start_ns) for _ in range(limit)]
    assert [one.status for one in verdicts] == [200] * (limit - 1) + [429]
    assert verdicts[-1].header.endswith("sec=0")
    assert gate.admit(group, "you", start_ns).status == 200
    assert gate.admit(group, "me", start_ns + window_s * SECOND_NS - 1).status == 429
    assert gate.admit(group, "me", start_ns + window_s * SECOND_NS).status == 200


def hammer(gate: RequestCounter, now_ns: int) -> int:
    """Requests of one moment until the caller is blocked; for how many seconds he is."""
    for _ in range(1000):
        verdict = gate.admit("order", "me", now_ns)
        if verdict.status == 418:
            return verdict.blocked_s
    raise AssertionError("never blocked")


def test_who_goes_on_is_blocked_longer_each_time() -> None:
    gate, now_ns = RequestCounter(), 10 * SECOND_NS
    statuses = [gate.admit("order", "me", now_ns).status for _ in range(12 + REFUSALS_MAX + 1)]
    assert statuses == [200] * 12 + [429] * REFUSALS_MAX + [418]
    assert gate.admit("default", "me", now_ns + 4 * SECOND_NS).blocked_s == 6
    assert gate.admit("default", "you", now_ns).status == 200
    now_ns += 10 * SECOND_NS
    assert gate.admit("default", "me", now_ns).status == 200
    assert hammer(gate, now_ns) == 20
    now_ns += 20 * SECOND_NS
    assert hammer(gate, now_ns) == 40


def test_blocks_end_at_an_hour() -> None:
    gate, now_ns = RequestCounter(), 10 * SECOND_NS
    blocked_s = 0
    for _ in range(12):
        blocked_s = hammer(gate, now_ns)
        now_ns += blocked_s * SECOND_NS
    assert blocked_s == 3600


def test_memory_of_offenders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "_CALLERS_MAX", 2)
    gate = RequestCounter()
    for caller in ("a", "b", "c"):
        for _ in range(2):
            gate.admit("order-cancel-all", caller, SECOND_NS)
    assert list(gate._offenders) == ["b", "c"]

"""The token bucket: never more than it promises."""

from hypothesis import given
from hypothesis import strategies as st

from arbshard.risk.limits.effective import TokenBucket

S = 1_000_000_000


def test_begins_full_and_fills_with_time() -> None:
    bucket = TokenBucket()
    assert bucket.tokens(0, 10) == 10
    bucket.consume(8, 0, 10)
    assert bucket.tokens(0, 10) == 2
    assert bucket.tokens(S // 10, 10) == 3
    assert bucket.tokens(100 * S, 10) == 10


def test_looking_takes_nothing() -> None:
    bucket = TokenBucket()
    bucket.consume(10, 0, 10)
    assert [bucket.tokens(S // 2, 10) for _ in range(5)] == [5] * 5


def test_orders_that_do_not_wait_are_owed_but_not_for_ever() -> None:
    bucket = TokenBucket()
    bucket.consume(100, 0, 10)
    assert bucket.tokens(0, 10) == -10
    assert bucket.tokens(2 * S, 10) == 10


def test_two_orders_always_fit() -> None:
    assert TokenBucket().tokens(0, 1) == 2


def test_time_that_goes_backwards_gives_nothing() -> None:
    bucket = TokenBucket()
    bucket.consume(10, 5 * S, 10)
    assert bucket.tokens(0, 10) == 0
    bucket.consume(0, 0, 10)
    assert bucket.tokens(5 * S, 10) == 0


@given(st.lists(st.tuples(st.integers(0, S), st.integers(1, 3)), max_size=60), st.integers(2, 20))
def test_never_more_than_the_rate_and_one_seconds_worth(steps, rate) -> None:
    bucket, now_ns, passed = TokenBucket(), 0, []
    for wait_ns, count in steps:
        now_ns += wait_ns
        if bucket.tokens(now_ns, rate) >= count:
            bucket.consume(count, now_ns, rate)
            passed.append((now_ns, count))
    for index, (since_ns, _) in enumerate(passed):
        for until_ns, _ in passed[index:]:
            orders = sum(count for at_ns, count in passed if since_ns <= at_ns <= until_ns)
            assert orders <= rate + (until_ns - since_ns) / S * rate + 1e-6

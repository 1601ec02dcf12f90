from hypothesis import given
from hypothesis import strategies as st

from arbshard.exchanges.session import SECOND_NS, MessageWindow, Query


@given(st.lists(st.integers(0, SECOND_NS // 2), max_size=60))
def test_window_admits_exactly_what_any_second_may_hold(pauses: list[int]) -> None:
    window = MessageWindow(5, 1)
    now, admitted = 0, []
    for pause in pauses:
        now += pause
        recent = [at for at in admitted if now - at < SECOND_NS]
        expected = len(recent) < 5
        assert window.admit(now) is expected
        if expected:
            admitted.append(now)


def test_query_takes_the_first_of_several_names() -> None:
    query = Query("GET", "/", (("b", "2"), ("a", "1"), ("a", "3")), "", 0, 0)
    assert query.get("a") == "1"
    assert query.get("a", "b") == "2"
    assert query.get("c") is None

"""No two processes ever spend more than a window holds, however they meet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import SharedMemoryError
from arbshard.shm.budget import Budget, Usage, Window

S = 1_000_000_000
MS = 1_000_000
T0 = 5_000 * S
FAST = Window("fast", "upbit", 12, S)
SLOW = Window("slow", "binance", 100, 10 * S, gives_back=True)
WINDOWS = (FAST, SLOW)


@pytest.fixture
def open_budget(tmp_path):
    opened = []

    def build(owner="worker-0", windows=WINDOWS):
        budget = Budget.open(tmp_path, owner, windows)
        opened.append(budget)
        return budget

    yield build
    for budget in opened:
        budget.close()


def spent(budget, times, now_ns, share=1.0):
    return sum(budget.spend({"fast": 1}, share, now_ns) for _ in range(times))


class TestOneProcess:
    def test_up_to_the_limit(self, open_budget):
        assert spent(open_budget(), 20, T0) == 12

    def test_reserve(self, open_budget):
        budget = open_budget()
        assert spent(budget, 20, T0, share=0.7) == 8
        assert spent(budget, 20, T0) == 4

    def test_refused_costs_nothing(self, open_budget):
        budget = open_budget()
        spent(budget, 12, T0)
        assert not budget.spend({"slow": 1, "fast": 1}, 1.0, T0)
        assert budget.usage("slow", T0) == Usage(0, 100)
        assert budget.usage("fast", T0) == Usage(12, 12)

    @pytest.mark.parametrize("cost", [1, 2, 5])
    def test_room_is_there_exactly_while_it_would_be_spent(self, open_budget, cost):
        budget = open_budget()
        for _ in range(13):
            has_room, before = budget.has_room({"fast": cost, "slow": 1}, 0.7, T0), budget.usage("fast", T0)
            assert budget.usage("fast", T0) == before
            assert budget.spend({"fast": cost, "slow": 1}, 0.7, T0) is has_room
        assert budget.usage("fast", T0).used == 8 // cost * cost

    def test_a_venue_that_refuses_everything_has_no_room(self, open_budget):
        budget = open_budget()
        budget.block("upbit", T0 + S)
        assert not budget.has_room({"fast": 1, "slow": 1}, 1.0, T0)
        assert budget.has_room({"slow": 1}, 1.0, T0)
        assert budget.has_room({"fast": 1, "slow": 1}, 1.0, T0 + S)

    def test_a_part_of_the_limit_bounds_the_room_too(self, open_budget):
        budget = open_budget(windows=(FAST._replace(is_of_account=True), SLOW))
        budget.account_part = lambda: 0.25
        rooms = []
        while budget.has_room({"fast": 1}, 1.0, T0):
            rooms.append(budget.spend({"fast": 1}, 1.0, T0))
        assert rooms == [True] * 3
        assert not budget.spend({"fast": 1}, 1.0, T0)

    def test_what_is_given_back_can_be_spent_again(self, open_budget):
        budget = open_budget()
        assert spent(budget, 20, T0) == 12
        budget.give_back({"fast": 2}, T0)
        assert spent(budget, 20, T0) == 2

    def test_what_is_given_back_later_does_not_reduce_what_was_spent_meanwhile(self, open_budget):
        budget = open_budget()
        assert budget.spend({"fast": 2}, 1.0, T0)
        assert spent(budget, 3, T0 + S // 2) == 3
        budget.give_back({"fast": 2}, T0)
        assert budget.usage("fast", T0 + S // 2).used == 3
        assert budget.spend({"fast": 2}, 1.0, T0 + 9 * S // 8)  # in the place of the first two
        budget.give_back({"fast": 2}, T0)
        assert budget.usage("fast", T0 + 9 * S // 8).used == 5

    def test_comes_back_after_the_window(self, open_budget):
        budget = open_budget()
        spent(budget, 12, T0)
        assert spent(budget, 1, T0 + S - 1) == 0
        assert spent(budget, 12, T0 + S + S // 8) == 12

    @given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=60))
    def test_never_too_much_in_any_window(self, tmp_path_factory, steps):
        with Budget.open(tmp_path_factory.mktemp("run"), "w", WINDOWS) as budget:
            now_ns, taken = T0, []
            for pause_ms, cost in steps:
                now_ns += pause_ms * MS
                if budget.spend({"fast": cost}, 1.0, now_ns):
                    taken.append((now_ns, cost))
            for start_ns, _ in taken:
                assert sum(cost for at_ns, cost in taken if start_ns <= at_ns < start_ns + S) <= 12


class TestSeveral:
    def test_share_one_limit(self, open_budget):
        first, second = open_budget("worker-0"), open_budget("worker-1")
        assert spent(first, 5, T0) == 5
        assert spent(second, 20, T0 + S // 100) == 7

    def test_who_comes_later_is_noticed(self, open_budget):
        first = open_budget("worker-0")
        first.usage("fast", T0)
        second = open_budget("worker-1")
        spent(second, 5, T0 + 2 * S)
        assert first.usage("fast", T0 + 2 * S) == Usage(5, 12)

    def test_successor_goes_on_where_the_other_ended(self, open_budget):
        spent(open_budget("worker-0"), 10, T0)
        assert spent(open_budget("worker-0"), 5, T0 + MS) == 2

    def test_other_windows_are_an_error(self, open_budget):
        open_budget("worker-0", (FAST,))
        with pytest.raises(SharedMemoryError, match="other windows"):
            open_budget("worker-1").usage("fast", T0)


class TestWhatTheVenueSays:
    def test_others_have_spent_too(self, open_budget):
        budget = open_budget()
        budget.correct("fast", 9, T0)
        assert spent(budget, 12, T0 + S // 4) == 3

    def test_it_is_heard_by_all(self, open_budget):
        open_budget("worker-1").correct("fast", 12, T0)
        assert spent(open_budget("worker-0"), 1, T0 + MS) == 0

    def test_it_ages(self, open_budget):
        budget = open_budget()
        budget.correct("fast", 12, T0)
        assert spent(budget, 12, T0 + S + MS) == 12

    def test_less_than_we_know_is_not_believed(self, open_budget):
        budget = open_budget()
        spent(budget, 12, T0)
        budget.correct("fast", 1, T0 + MS)
        assert spent(budget, 1, T0 + 2 * MS) == 0

    def test_what_it_gives_back_may_be_used_again(self, open_budget):
        budget = open_budget()
        assert sum(budget.spend({"slow": 10}, 1.0, T0) for _ in range(20)) == 10
        budget.correct("slow", 0, T0 + S)
        assert budget.spend({"slow": 100}, 1.0, T0 + 2 * S)
        assert not budget.spend({"slow": 1}, 1.0, T0 + 3 * S)

    def test_block_stops_everybody_for_that_venue(self, open_budget):
        first, second = open_budget("worker-0"), open_budget("worker-1")
        second.block("upbit", T0 + 3 * S)
        second.block("upbit", T0 + S)  # a shorter one does not shorten it
        assert not first.spend({"fast": 1}, 1.0, T0 + 3 * S - 1)
        assert first.spend({"slow": 1}, 1.0, T0 + 2 * S)
        assert first.spend({"fast": 1}, 1.0, T0 + 3 * S)
        assert first.usage("fast", T0 + 3 * S) == Usage(1, 12)

    def test_block_is_remembered_for_days_and_by_a_successor(self, open_budget):
        ban_ns = 3 * 86_400 * S
        first = open_budget("worker-0")
        first.block("upbit", T0 + ban_ns)
        first.close()
        successor = open_budget("worker-0")
        assert successor.blocked_until_ns("upbit", T0) == T0 + ban_ns
        assert not successor.spend({"fast": 1}, 1.0, T0 + ban_ns - S // 10)
        assert successor.spend({"fast": 1}, 1.0, T0 + ban_ns)


class TestPartOfAnAccount:
    """Of a limit that all hosts of a cluster share, each host uses its part."""

    OF_ACCOUNT = FAST._replace(is_of_account=True)
    OPEN_ORDERS = SLOW._replace(is_of_account=True)

    def test_of_a_limit_by_account_only_the_part_is_used(self, open_budget):
        budget = open_budget(windows=(self.OF_ACCOUNT,))
        budget.account_part = lambda: 0.5
        assert spent(budget, 20, T0) == 6
        budget.account_part = lambda: 0.75  # this host was granted another shard
        assert spent(budget, 20, T0) == 3

    def test_a_limit_by_address_is_its_own(self, open_budget):
        budget = open_budget()
        budget.account_part = lambda: 0.1
        assert spent(budget, 20, T0) == 12

    def test_the_processes_of_a_host_share_its_part(self, open_budget):
        budgets = [open_budget(f"worker-{n}", (self.OF_ACCOUNT,)) for n in range(2)]
        for budget in budgets:
            budget.account_part = lambda: 0.5
        assert [spent(budget, 4, T0) for budget in budgets] == [4, 2]

    def test_one_call_is_always_possible(self, open_budget):
        budget = open_budget(windows=(self.OF_ACCOUNT,))
        budget.account_part = lambda: 0.01
        assert spent(budget, 20, T0, share=0.7) == 1

    def test_what_the_venue_states_has_the_calls_of_all_hosts(self, open_budget):
        budget = open_budget(windows=(self.OF_ACCOUNT,))
        budget.account_part = lambda: 0.5
        budget.correct("fast", 11, T0)
        assert spent(budget, 20, T0) == 1

    def test_where_the_venue_gives_back_its_own_figure_counts(self, open_budget):
        budget = open_budget(windows=(self.OPEN_ORDERS,))
        budget.account_part = lambda: 0.1
        assert sum(budget.spend({"slow": 1}, 1.0, T0) for _ in range(120)) == 100

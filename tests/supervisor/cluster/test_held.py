"""Which workers a host of a cluster runs, by the grants that its agent shows, and whose markets it keeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.wire.cluster import EPOCHS_PER_GRANT, PAUSE_NS
from supervisor.cluster.held import AgentView, Begin, Forget, HeldShards, HeldWorker, Retire

NOW = 1_000


def view(*grants, until=NOW + 1):
    return AgentView(term=1, valid_until_ns=until, grants=grants)


def plan(held, shown, workers=None, *, ends=False):
    return held.plan(shown, workers or {}, NOW, ends=ends)


def test_a_granted_shard_begins_with_the_first_epoch_of_its_grant():
    assert plan(HeldShards(), view(0, 3)) == [Begin(1, 3000, 3999)]


@pytest.mark.parametrize("until", [0, NOW - 1, NOW])
def test_nothing_begins_without_validity(until):
    assert plan(HeldShards(), view(3, until=until)) == []


def test_a_worker_of_the_grant_is_left_alone():
    assert plan(HeldShards(), view(3), {0: HeldWorker(3001, exists=True)}) == []


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (view(0), "this host has no grant of the shard now"),
        (view(4), "the grant of the shard is 4 now"),
        (view(3, until=0), "this host may not trade at the moment"),
    ],
)
def test_a_worker_without_its_grant_is_ended_and_then_forgotten(shown, why):
    held = HeldShards()
    assert plan(held, shown, {0: HeldWorker(3001, exists=True)}) == [Retire(0, why)]
    assert plan(held, shown, {0: HeldWorker(3001, exists=True, is_ended=True)}) == []  # it is ending
    assert plan(held, shown, {0: HeldWorker(3001, exists=False, is_ended=True)}) == [Forget(0)]


@pytest.mark.parametrize(
    ("until", "grant", "stays"),
    [
        (NOW, 3, True),
        (NOW, 0, True),  # without validity the agent shows no grant
        (NOW - PAUSE_NS + 1, 0, True),
        (NOW - PAUSE_NS, 0, False),
        (NOW, 4, False),
        (NOW + 1, 0, False),
        (NOW + 1, 3, True),
    ],
)
def test_a_worker_stays_while_the_time_of_its_host_has_just_run_out(until, grant, stays):
    held = HeldShards(pauses=True)
    steps = plan(held, view(grant, until=until), {0: HeldWorker(3001, exists=True)})
    assert [type(one) for one in steps] == ([] if stays else [Retire])
    given_up = HeldWorker(3001, exists=True, is_given_up=True)
    assert [type(one) for one in plan(held, view(grant, until=until), {0: given_up})] == [Retire]


def test_an_epoch_is_never_used_twice_within_a_grant():
    held = HeldShards()
    plan(held, view(3, until=0), {0: HeldWorker(3007, exists=True)})
    assert plan(held, view(3)) == [Begin(0, 3007, 3999)]
    assert plan(held, view(4)) == [Begin(0, 4000, 4999)]


def test_a_grant_whose_epochs_are_used_up_is_given_back():
    held = HeldShards()
    plan(held, view(3, until=0), {0: HeldWorker(3999, exists=False, is_ended=True)})
    assert plan(held, view(3)) == []
    assert held.given_back == {0: 3}
    assert plan(held, view(4)) == [Begin(0, 4000, 4999)]
    assert held.given_back == {}


def test_a_worker_that_is_given_up_gives_its_grant_back():
    held = HeldShards()
    given_up = HeldWorker(3004, exists=False, is_given_up=True)
    assert isinstance(plan(held, view(3), {0: given_up})[0], Retire)
    assert held.given_back == {0: 3}
    assert plan(held, view(3)) == []


def test_the_successor_of_a_worker_that_is_fenced_again_and_again_waits_longer_each_time():
    """Otherwise a fault that fences each of them would use up all epochs of a grant within minutes."""
    held, shown, now_ns, epoch, pauses = HeldShards(), view(3, until=2**62), NOW, 3000, []
    for _ in range(9):
        [begin] = held.plan(shown, {}, now_ns, ends=False)
        epoch = begin.before + 1
        now_ns += 500_000_000
        fenced = {0: HeldWorker(epoch, exists=False, is_ended=True)}
        [forget] = held.plan(shown, fenced, now_ns, ends=False)
        pauses.append(forget.pause_s)
        if forget.pause_s:
            assert held.plan(shown, {}, now_ns + int(forget.pause_s * 1e9) - 1, ends=False) == []
        now_ns += int(forget.pause_s * 1e9)
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    [_] = held.plan(shown, {}, now_ns, ends=False)
    now_ns += 60_000_000_000
    fenced = {0: HeldWorker(epoch + 1, exists=False, is_ended=True)}
    assert held.plan(shown, fenced, now_ns, ends=False) == [Forget(0)]  # it has lived for long


def test_workers_that_were_asked_to_end_have_their_successors_at_once():
    """So does one that ended because the time of its host was over: most likely the leader was lost."""
    held = HeldShards()
    for epoch in range(3001, 3010):
        plan(held, view(3, until=0), {0: HeldWorker(epoch, exists=True)})
        assert plan(held, view(3), {0: HeldWorker(epoch, exists=False, is_ended=True)}) == [Forget(0)]
        assert plan(held, view(3)) == [Begin(0, epoch, 3999)]
    for epoch in range(3010, 3020):
        ended = {0: HeldWorker(epoch, exists=False, is_ended=True)}
        assert plan(held, view(3, until=NOW), ended) == [Forget(0)]


def test_a_drained_worker_has_no_successor_in_its_grant():
    held = HeldShards()
    drained = {0: HeldWorker(3001, exists=False, is_ended=True)}
    assert plan(held, view(3), drained, ends=True) == []
    assert plan(held, view(4), drained, ends=True) == [
        Forget(0)
    ]  # it comes from a lost host, and is drained too


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from(["runs", "dies", "given up"])),
        max_size=60,
    )
)
def test_epochs_only_grow_and_belong_to_the_grant_that_is_shown(turns):
    held, epoch, worker, begun = HeldShards(), 0, None, []
    grant = 0
    for step, is_valid, fate in turns:
        grant = max(grant, step) if step else 0
        shown = view(grant, until=NOW + is_valid)
        for action in plan(held, shown, {0: worker} if worker is not None else {}):
            match action:
                case Begin(_, before, last):
                    assert worker is None
                    assert is_valid
                    assert before + 1 > max(begun, default=0)
                    assert (before + 1) // EPOCHS_PER_GRANT == last // EPOCHS_PER_GRANT == grant
                    epoch = before + 1
                    begun.append(epoch)
                    worker = HeldWorker(epoch, exists=True)
                case Retire():
                    worker = HeldWorker(worker.epoch, exists=False, is_ended=True)
                case Forget():
                    worker = None
        if worker is not None and not worker.is_ended:
            if (
                fate == "dies"
                and worker.epoch + 1 < (worker.epoch // EPOCHS_PER_GRANT + 1) * EPOCHS_PER_GRANT
            ):
                worker = HeldWorker(worker.epoch + 1, exists=True)  # its supervisor restarts it
                begun.append(worker.epoch)
            elif fate == "given up":
                worker = HeldWorker(worker.epoch, exists=False, is_given_up=True)


def test_markets_are_kept_for_a_while():
    held = HeldShards()
    assert held.markets(view(1, 0), 0) == {0}
    assert held.markets(view(0, 2), 9_000_000_000) == {0, 1}
    assert held.markets(view(0, 2), 11_000_000_000) == {1}

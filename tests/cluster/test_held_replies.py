"""A reply that was handed over is used when this host has stored what it rests on, for the leader that it is of."""

from arbshard.cluster import held_replies
from arbshard.cluster.held_replies import HeldReplies


def test_a_reply_that_rests_on_nothing_is_used_at_once():
    held = HeldReplies()
    assert held.admit("reply", 0, 0)
    assert len(held) == 0


def test_a_reply_waits_until_its_event_is_stored():
    held = HeldReplies()
    held.stored(3, 10)
    assert not held.admit("later", 3, 13)
    assert not held.admit("next", 3, 12)
    assert held.stored(3, 11) == []
    assert held.stored(3, 12) == ["next"]
    assert held.stored(3, 20) == ["later"]
    assert held.stored(3, 30) == []


def test_a_reply_whose_event_is_stored_already_is_used_at_once():
    held = HeldReplies()
    held.stored(3, 10)
    assert held.admit("reply", 3, 10)


def test_an_event_of_the_same_number_under_another_leader_is_another_one():
    held = HeldReplies()
    held.stored(4, 10)
    assert not held.admit("of a former leader", 3, 9)
    assert not held.admit("of the next leader", 5, 9)
    assert held.stored(4, 50) == []
    assert held.stored(5, 8) == []
    assert held.stored(5, 9) == ["of the next leader"]


def test_nothing_is_used_after_the_link_is_closed():
    held = HeldReplies()
    held.stored(3, 10)
    held.admit("held", 3, 11)
    held.unfollow()
    assert not held.admit("late", 3, 10)
    held.unfollow()
    assert held.stored(3, 20) == []


def test_what_is_held_is_bounded_in_number_and_size(monkeypatch):
    monkeypatch.setattr(held_replies, "HELD_MAX", 3)
    monkeypatch.setattr(held_replies, "HELD_BYTES_MAX", 100)
    held = HeldReplies()
    assert not held.admit("1", 1, 1, 60)
    assert not held.admit("too large", 1, 1, 41)
    assert not held.admit("2", 1, 1, 40)
    assert held.dropped == 1
    assert held.stored(1, 1) == ["1", "2"]
    for number in range(5):
        held.admit(str(number), 1, 2, 20)
    assert (len(held), held.dropped) == (3, 3)
    held.unfollow()
    assert not held.admit("room again", 1, 2, 100)
    assert held.dropped == 3

"""Cores are shared out as the configuration says; the death of a parent is seen, whenever it dies."""

import os
import subprocess
import sys

import pytest

from arbshard.errors import ConfigError
from arbshard.process import Parent, pin


@pytest.fixture
def taken(monkeypatch):
    taken = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: taken.append(cores), raising=False)
    return taken


def test_the_first_is_the_supervisors_and_the_others_go_round(taken):
    for place in range(6):
        pin((5, 0, 2), place)
    assert taken == [{5}, {0}, {2}, {0}, {2}, {0}]


def test_one_core_is_for_all(taken):
    pin((1,), 0)
    pin((1,), 3)
    assert taken == [{1}, {1}]


def test_none_named_none_taken(taken):
    pin((), 0)
    assert taken == []


def test_a_core_that_is_not_there(taken):
    with pytest.raises(ConfigError, match=r"run.pin_cores: there is no core 3 here; usable are 0, 1, 2, 5"):
        pin((0, 3), 0)
    assert taken == []


def test_where_cores_cannot_be_chosen(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(ConfigError, match="does not let a process choose"):
        pin((0,), 0)


class TestParent:
    def test_one_that_lives_is_not_gone(self):
        assert not Parent().is_gone()
        assert not Parent(os.getppid()).is_gone()

    def test_one_that_is_not_the_parent_any_more_is_gone(self, monkeypatch):
        parent = Parent()
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert parent.is_gone()

    def test_one_that_died_before_it_was_looked_for_is_gone(self):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert Parent(gone.pid).is_gone()

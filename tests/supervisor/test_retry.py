"""What the system refuses is done later, and told of once."""

import errno
import os

import psutil
import pytest

from supervisor.retry import Retried

MS = 1_000_000


class Refusing:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.done = 0
        self.alerts = []
        self.retried = Retried("the list of children", self.do, self.alerts.append)

    def do(self):
        if self.errors:
            raise self.errors.pop(0)
        self.done += 1


def test_it_is_done_once_for_each_time_it_is_wanted():
    one = Refusing()
    one.retried.run_if_due(1)
    assert one.done == 0
    one.retried.request()
    one.retried.run_if_due(2)
    one.retried.run_if_due(3)
    assert (one.done, one.alerts) == (1, [])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.ENOENT, errno.EACCES])
def test_a_refusal_is_an_alert_and_a_pause_that_grows(code):
    one = Refusing(*[OSError(code, os.strerror(code))] * 3)
    one.retried.request()
    now_ns, tried = 0, []
    while one.retried.is_wanted:
        left = len(one.errors)
        one.retried.run_if_due(now_ns)
        if len(one.errors) != left or one.done:
            tried.append(now_ns // MS)
        now_ns += 50 * MS
    assert tried == [0, 100, 300, 700]
    assert one.done == 1
    assert len(one.alerts) == 1
    assert os.strerror(code) in one.alerts[0]


def test_the_next_trouble_is_told_of_again():
    one = Refusing(OSError(errno.ENOSPC, "full"))
    one.retried.request()
    one.retried.run_if_due(0)
    one.retried.run_if_due(10**12)
    one.errors = [OSError(errno.ENOSPC, "full")]
    one.retried.request()
    one.retried.run_if_due(10**12 + 1)
    assert len(one.alerts) == 2


def test_a_process_that_cannot_be_looked_at_is_a_refusal_too():
    one = Refusing(psutil.AccessDenied(1))
    one.retried.request()
    one.retried.run_if_due(0)
    assert len(one.alerts) == 1


def test_a_mistake_of_ours_is_not():
    one = Refusing(ValueError("ours"))
    one.retried.request()
    with pytest.raises(ValueError, match="ours"):
        one.retried.run_if_due(0)

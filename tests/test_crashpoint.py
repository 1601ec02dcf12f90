import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import arbshard
from arbshard.crashpoint import POINTS, VARIABLE, make_reach
from arbshard.errors import UsageError


def died_at(plan, *reached):
    dead = []
    reach = make_reach({VARIABLE: plan} if plan is not None else {}, dead.append)
    for point in reached:
        reach(point)
    return dead


def test_without_the_variable_nothing_happens():
    assert died_at(None, *POINTS) == []
    assert died_at("", *POINTS) == []


def test_it_dies_the_nth_time_and_only_there():
    assert died_at("before_send:2", "before_send", "after_send") == []
    assert died_at("before_send:2", "before_send", "after_send", "before_send", "before_send") == [
        "before_send"
    ]


def test_several_points_count_each_for_itself():
    plan = "before_commit:2,after_commit:1"
    assert died_at(plan, "before_commit") == []
    assert died_at(plan, "before_commit", "after_commit") == ["after_commit"]


def test_the_plan_may_be_a_file_read_at_the_start(tmp_path):
    plan = tmp_path / "plan"
    plan.write_text("after_reply:1\n")
    assert died_at(f"@{plan}", "after_reply") == ["after_reply"]
    plan.write_text("")
    assert died_at(f"@{plan}", *POINTS) == []


@pytest.mark.parametrize(
    "plan", ["nowhere:1", "before_send", "before_send:0", "before_send:-1", "@/no/such/file"]
)
def test_a_plan_that_is_none_is_refused(plan):
    with pytest.raises(UsageError, match=VARIABLE):
        died_at(plan)


def test_death_is_sudden_and_noted(tmp_path):
    plan = tmp_path / "plan"
    plan.write_text("after_commit:1")
    code = (
        "from arbshard.crashpoint import reach\nreach('before_commit')\nreach('after_commit')\nprint('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, VARIABLE: f"@{plan}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""
    assert (tmp_path / "plan.died").read_text() == "after_commit\n"


def test_every_point_is_in_the_code_once():
    package = Path(arbshard.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "crashpoint.py")
    reached = re.findall(r'\breach(?:\(|, )"([a-z_]+)"', code)
    assert sorted(reached) == sorted(POINTS)

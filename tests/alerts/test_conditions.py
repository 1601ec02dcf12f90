"""What holds at one moment: a kind and a subject for everything that a status shows, and nothing twice."""

import ast
import inspect
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

import arbshard.status
from arbshard.alerts.conditions import KINDS, RULES, RestartCounts, sends_for_all
from arbshard.cli import app
from arbshard.config import AlertLevels
from arbshard.model.notes import ChildNote
from arbshard.model.risk_note import EquityNote, NakedNote, PortfolioTally, PositionNote
from arbshard.status.model import ClusterHostStatus
from support.made_status import made_cluster_status

SECOND = 1_000_000_000


def test_a_run_without_problems_has_no_conditions(moment):
    assert moment.keys() == set()


@pytest.mark.parametrize("problem", RULES)
def test_each_known_problem_is_a_condition_with_text_and_command(moment, problem):
    rule = RULES[problem]
    (one,) = moment.shows((problem, "BTC", "it is so")).picture().conditions
    assert (one.kind, one.severity, one.text) == (rule.kind, rule.severity, "it is so")
    assert "BTC" in one.subject or problem == "risk"
    assert one.command
    assert "{" not in one.command


def test_an_unknown_problem_is_never_lost(moment):
    assert moment.shows(("brand_new", "X", "odd")).keys() == {("degraded", "brand_new X")}


def test_every_problem_that_status_names_is_known_here_or_degraded():
    """The kinds that the code of status gives; each rule must belong to one of them."""
    named = set()
    for path in Path(inspect.getfile(arbshard.status)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                named.add(ast.literal_eval(node.args[0]))
    assert set(RULES) <= named
    others = {"naked", "closing", "fx", "fee", "wallets", "statement", "transfer", "old"}
    assert named - set(RULES) == others


def test_each_kind_has_a_level_and_each_level_a_kind():
    assert set(AlertLevels.__struct_fields__) == KINDS | {"event", "digest_day", "digest_session"}


@pytest.mark.parametrize(
    "command", sorted({rule.command for rule in RULES.values()} | {"limits show", "trades"})
)
def test_each_command_exists_and_takes_a_name(command):
    words = [word for word in command.split() if "{" not in word]
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "--name" in shown.output


def test_naked_money_is_one_condition_a_pair(moment):
    legs = (
        NakedNote("p1", "BTC", "1", "100000", "1"), NakedNote("p2", "BTC", "1", "50000", "1"),
        NakedNote("p3", "ETH", "1", "7000", "1"),
    )  # fmt: skip
    shown = moment.shows(("naked", "", "two pairs"), equity=EquityNote(naked="157000", naked_by=legs))
    found = {one.subject: one for one in shown.picture(naked_after_s=12).conditions}
    assert set(found) == {"BTC", "ETH"}
    assert "150,000" in found["BTC"].text
    assert found["BTC"].begins_after_s == 12


def test_a_limit_is_a_condition_from_its_share_on(moment):
    of_100_million = "portfolio_notional_max"
    below = moment.noting(portfolio=PortfolioTally(exposure="79999999"))
    assert below.keys() == set()
    assert moment.noting(portfolio=PortfolioTally(exposure="80000000")).keys() == {("limit", of_100_million)}
    assert below.keys(limit_share=0.5) == {("limit", of_100_million)}
    lowered = below.noting(limits_changed={of_100_million: "90000000"})
    assert lowered.keys() == {("limit", of_100_million)}


def test_the_notional_limit_of_a_pair_is_a_condition_of_the_pair(moment):
    held = [("BTC", "2400000"), ("ETH", "2399999")]
    positions = tuple(
        PositionNote(f"p-{pair}", pair, "buy_home", "1", "1", "1", worth, 1, 0, None, None)
        for pair, worth in held
    )
    (one,) = moment.noting(positions=positions).picture().conditions
    assert (one.kind, one.subject, one.command) == ("limit", "BTC", "limits show --symbol BTC")
    assert "limits.symbol_notional_max of BTC: 80% are used (2,400,000 of 3,000,000)" in one.text


def test_a_shard_that_was_given_up_waits_for_nothing(moment):
    given_up, replaced = (
        moment.shows(("shard", "1", "shard 1 is quarantined"), ("shard", "2", "shard 2 is restarting"))
        .picture()
        .conditions
    )
    assert (given_up.subject, given_up.begins_after_s) == ("worker-1", 0)
    assert (replaced.subject, replaced.begins_after_s) == ("worker-2", 15)


def test_one_condition_for_one_kind_and_subject(moment):
    picture = moment.shows(("apart", "BTC", "first"), ("failing", "BTC", "second")).picture()
    assert [one.text for one in picture.conditions] == ["first"]


class TestWhatIsNotKnown:
    """Silence of a process is no end of what it said before."""

    def test_without_risk_its_conditions_are_unknown(self, moment):
        old = moment.shows(("halt", "", "halted"), ("feed", "binance", "down"), as_of="2026-11-28T10:00:00")
        picture = old.picture()
        assert {one.kind for one in picture.conditions} == {"feed"}
        assert {"halt", "naked", "limit", "difference"} <= picture.unknown
        assert "feed" not in picture.unknown

    def test_before_risk_has_noted_anything(self, moment):
        assert "halt" in moment._replace(note=replace(moment.note, session=0)).picture().unknown

    @pytest.mark.parametrize("state", ["draining", "ended"])
    def test_a_run_that_ends_says_nothing_of_feeds_and_processes(self, moment, state):
        picture = moment.shows(("feed", "upbit", "down"), ("halt", "", "halted"), state=state).picture(
            ["worker-0"]
        )
        assert {one.kind for one in picture.conditions} == {"halt"}
        assert {"feed", "restarts"} <= picture.unknown

    def test_of_a_run_that_was_cut_off_only_that_is_known(self, moment):
        dead = moment.shows(("vanished", "", "gone"), ("feed", "upbit", "down"), state="dead", as_of="x")
        picture = dead.picture()
        assert [one.kind for one in picture.conditions] == ["vanished"]
        assert picture.unknown == KINDS - {"vanished"}


class TestOnSeveralHosts:
    """One host sends what concerns the money."""

    CAUSES = (
        ("halt", "", "halted"), ("fx", "", "in doubt"), ("feed", "upbit", "down"), ("nats", "NATS", "away"),
        ("disk", "", "full"),
    )  # fmt: skip

    @staticmethod
    def cluster(host, *hosts, **changes):
        return made_cluster_status(host=host, hosts=hosts, **changes)

    @staticmethod
    def host(name, *, tells=True, **changes):
        return ClusterHostStatus(name, 0.1, tells=tells, **changes)

    @pytest.mark.parametrize(
        ("first", "sender"),
        [
            ({}, "a"),
            ({"away": True}, "b"),
            ({"leaving": True}, "b"),
            ({"tells": False}, "b"),  # it does not follow the leader, or its targets cannot be reached
        ],
    )
    def test_the_first_one_that_can_sends(self, first, sender):
        hosts = self.host("a", **first), self.host("b"), self.host("c")
        assert [one for one in "abc" if sends_for_all(self.cluster(one, *hosts))] == [sender]

    def test_where_none_is_known_to_be_able_each_sends(self):
        hosts = [self.host(name, tells=False) for name in "abc"]
        assert all(sends_for_all(self.cluster(one, *hosts)) for one in "abc")

    def test_the_others_leave_what_concerns_the_money_to_it(self, moment):
        hosts = self.host("a"), self.host("b")
        own = moment.shows(*self.CAUSES, cluster=self.cluster("a", *hosts)).picture()
        other = moment.shows(*self.CAUSES, cluster=self.cluster("b", *hosts)).picture()
        assert own.conditions == other.conditions
        assert own.left == frozenset()
        assert {kind for kind, _ in other.left} == {"halt", "degraded"}

    def test_on_one_host_nothing_is_left(self, moment):
        assert moment.shows(*self.CAUSES).picture().left == frozenset()


class TestRestartCounts:
    """So many restarts of one process within a window."""

    @staticmethod
    def child(restarts, name="worker-0"):
        return ChildNote(name, "running", 1, 1, restarts)

    def test_restarts_before_the_first_look_do_not_count(self):
        counts = RestartCounts(3, 60)
        assert counts.add([self.child(7)], 0) == ()
        assert counts.add([self.child(9)], SECOND) == ()
        assert counts.add([self.child(10)], 2 * SECOND) == ("worker-0",)

    def test_they_count_for_the_window_only(self):
        counts = RestartCounts(2, 60)
        counts.add([self.child(0)], 0)
        counts.add([self.child(1)], SECOND)
        assert counts.add([self.child(2)], 61 * SECOND) == ("worker-0",)
        assert counts.add([self.child(2)], 62 * SECOND) == ()

    def test_each_process_counts_by_itself(self):
        counts = RestartCounts(2, 60)
        both = self.child(0), self.child(0, "risk")
        counts.add(both, 0)
        assert counts.add([self.child(1), self.child(1, "risk")], SECOND) == ()

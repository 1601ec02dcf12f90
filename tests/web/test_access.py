"""Who may look and who may act: tokens, sessions, hosts and origins."""

import pytest

from arbshard.secret import Secret
from arbshard.web.access import DeskAccess

ORIGINS = frozenset({"http://127.0.0.1:8420", "http://localhost:8420"})
OPERATOR, VIEWER = "operator-token-0123456789", "viewer-token-0123456789"
HOUR_NS = 3600 * 1_000_000_000


def make(viewer: str | None = None) -> DeskAccess:
    return DeskAccess(ORIGINS, Secret(OPERATOR), Secret(viewer) if viewer else None, cookie="desk")


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8420", True),
        ("LOCALHOST:8420", True),
        ("127.0.0.1", False),
        ("127.0.0.1:8421", False),
        ("evil.example:8420", False),
        ("127.0.0.1:8420.evil.example", False),
        ("", False),
        (None, False),
    ],
)
def test_only_known_names_are_this_desk(host, is_own):
    assert make().is_own_host(host) is is_own


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://127.0.0.1:8420", True),
        ("https://127.0.0.1:8420", False),
        ("http://127.0.0.1:9000", False),
        ("http://evil.example", False),
        ("null", False),
        (None, False),
    ],
)
def test_only_the_own_page_is_an_own_origin(origin, is_own):
    assert make().is_own_origin(origin) is is_own


def test_without_a_viewers_token_everybody_looks_and_nobody_acts():
    access = make()
    session = access.session(None, 0)
    assert (session.right, session.has("viewer"), session.has("operator")) == ("viewer", True, False)
    assert not access.may_act(session, "")
    assert not access.may_act(session, None)


def test_with_a_viewers_token_nobody_looks_without_one():
    access = make(VIEWER)
    assert access.session(None, 0).right == "none"
    assert access.session("never-given", 0).right == "none"


def test_the_two_tokens_are_two_rights():
    access = make(VIEWER)
    viewer = access.sign_in(VIEWER, "eve", 0, "k1", "p1")
    operator = access.sign_in(f" {OPERATOR}\n", "anna", 0, "k2", "p2")
    assert (viewer.right, viewer.proof, viewer.person) == ("viewer", "", "eve")
    assert (operator.right, operator.proof, operator.person) == ("operator", "p2", "anna")
    assert not access.may_act(access.session("k1", 1), "p1")
    assert access.may_act(access.session("k2", 1), "p2")


@pytest.mark.parametrize("proof", ["", None, "p1", "p22", "P2"])
def test_an_operator_without_the_page_s_proof_does_not_act(proof):
    access = make()
    access.sign_in(OPERATOR, "", 0, "k2", "p2")
    assert not access.may_act(access.session("k2", 1), proof)


def test_a_session_ends_by_itself_and_by_its_person():
    access = make()
    access.sign_in(OPERATOR, "", 0, "k", "p")
    assert access.session("k", 11 * HOUR_NS).right == "operator"
    assert access.session("k", 12 * HOUR_NS).right == "viewer"
    access.sign_in(OPERATOR, "", 0, "k", "p")
    access.sign_out("k")
    access.sign_out(None)
    assert access.session("k", 1).right == "viewer"


def test_sessions_are_bounded_and_the_oldest_goes_first():
    access = make()
    for number in range(65):
        access.sign_in(OPERATOR, "", 0, f"k{number}", "p")
    assert access.session("k0", 1).right == "viewer"
    assert access.session("k1", 1).right == "operator"


def test_wrong_tokens_are_followed_by_growing_pauses_until_a_right_one():
    access, pauses = make(), []
    for _ in range(20):
        assert access.sign_in("wrong", "", 0, "k", "p") is None
        pauses.append(access.pause_s(0))
    assert pauses[:4] == [0, 0, 0, 0]
    assert pauses[4:8] == [1, 2, 4, 8]
    assert pauses[-1] == 60
    assert access.pause_s(60_000_000_000) == 0
    access.sign_in(OPERATOR, "", 60_000_000_000, "k", "p")
    access.sign_in("wrong", "", 60_000_000_000, "k", "p")
    assert access.pause_s(60_000_000_000) == 0
    assert access.session("k", 60_000_000_001).right == "operator"


def test_an_empty_token_lets_nobody_in():
    with pytest.raises(AssertionError):
        DeskAccess(ORIGINS, Secret(""), None, cookie="desk")
    with pytest.raises(AssertionError):
        DeskAccess(ORIGINS, Secret(OPERATOR), Secret(" "), cookie="desk")
    assert make().sign_in("", "", 0, "k", "p") is None

"""Which requests the simulated exchanges refuse by their headers."""

import pytest

from arbshard.exchanges.guard import Guard
from arbshard.secret import Secret

PORT = 4711
GOOD = {
    "Host": f"127.0.0.1:{PORT}",
    "Authorization": "Bearer the-token",
    "Content-Type": "application/json; charset=utf-8",
}


@pytest.fixture(params=["/sim/faults", "/sim/accounts"])
def control(request):
    """Asks for a path that needs the token; the status of the refusal, 0 for none."""
    guard = Guard(Secret("the-token"), exposed=False)

    def ask(method="GET", **changes):
        headers = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
        refused = guard.refusal(method, request.param, headers, PORT)
        return 0 if refused is None else refused.status

    return ask


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.2"])
def test_with_the_token_of_this_start(control, host):
    assert control("POST", Host=f"{host}:{PORT}") == control("GET", Host=f"{host}:{PORT}") == 0


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer another", "bearer the-token", "Basic the-token"])
def test_without_it(control, given):
    assert control(Authorization=given) == 401


@pytest.mark.parametrize("origin", ["null", "http://evil.example", f"http://127.0.0.1:{PORT}", ""])
def test_no_page_reaches_the_controls(control, origin):
    assert control(Origin=origin) == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", None, "[", "0.0.0.0:4711"],
)
def test_another_host_does_not(control, host):
    assert control(Host=host) == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_forms_can_send_is_refused(control, kind):
    assert control("POST", **{"Content-Type": kind}) == 415


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("path", ["/v1/orders", "/ws-api/v3", "/sim/stats"])
def test_no_page_reaches_the_exchange(exposed, path):
    guard = Guard(Secret("the-token"), exposed=exposed)
    here = {"Host": f"127.0.0.1:{PORT}"}
    assert guard.refusal("GET", path, here, PORT) is None
    # Some client libraries name the exchange itself; a page of the exchange does not exist.
    assert guard.refusal("GET", path, here | {"Origin": f"http://127.0.0.1:{PORT}"}, PORT) is None
    for origin in ("null", "http://evil.example", "http://127.0.0.1:9"):
        refused = guard.refusal("GET", path, here | {"Origin": origin}, PORT)
        assert refused is not None
        assert refused.status == 403


def test_other_machines_call_by_another_name_when_they_may():
    there = {**GOOD, "Host": f"exchange.lan:{PORT}"}
    closed = Guard(Secret("the-token"), exposed=False).refusal("GET", "/v1/orders", there, PORT)
    assert closed is not None
    assert closed.status == 403
    guard = Guard(Secret("the-token"), exposed=True)
    assert guard.refusal("GET", "/v1/orders", there, PORT) is None
    assert guard.refusal("GET", "/sim/accounts", there, PORT) is None
    without = guard.refusal("GET", "/sim/accounts", there | {"Authorization": "Bearer no"}, PORT)
    assert without is not None
    assert without.status == 401

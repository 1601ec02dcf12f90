"""Whole runs over the ways that lead to real venues, and what their exit codes say."""

import json
import socket

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SMALL = "[strategy]\nmax_hold_s = 3.0\n[sim]\ncoins = 4\nseed = 11\n"
ONE_SHARD = "[run]\nshards = 1\nspare_workers = 0\n"
FEES = {"upbit": 5, "binance": 10}
UNREACHABLE_PROXY = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
)


def public(ready, *, receiver="auto", more=""):
    """A configuration that takes exchanges of their own for the real ones."""
    venues = "".join(
        f'[venues.{name}]\nws_url = "{ready[name]["ws_url"]}"\nrest_url = "{ready[name]["rest_url"]}"\n'
        f"buy_fee_bps = {fee}\nsell_fee_bps = {fee}\n{more}"
        for name, fee in FEES.items()
    )
    return f'data = "public"\n{ONE_SHARD}receiver = "{receiver}"\n{venues}[strategy]\nmax_hold_s = 3.0\n'


def libraries(gate):
    """Receives with each library in the night, and before each change with ``gate``."""
    return pytest.mark.parametrize(
        "library",
        [
            pytest.param(
                name,
                marks=[
                    *([pytest.mark.needs("fast")] if name == "picows" else []),
                    *([pytest.mark.nightly] if name != gate else []),
                ],
            )
            for name in ("websockets", "picows")
        ],
    )


def assert_has_tls(here):
    """The configuration of a run that goes on has addresses with TLS alone."""
    config = json.loads(here.files.config.read_text())
    venues = [config["venues"][name] for name in ("upbit", "binance")]
    assert {venue["ws_url"][:6] for venue in venues} == {"wss://"}
    assert {venue["rest_url"][:8] for venue in venues} == {"https://"}


@pytest.mark.nightly  # in the gate a run with live orders has TLS
@pytest.mark.needs("tls")
@libraries("picows")
def test_with_tls_it_trades(place, library):
    here = place(f'{ONE_SHARD}receiver = "{library}"\n{SMALL}tls = true\n')
    here.begin("--duration", "10")
    here.until_running()
    assert_has_tls(here)
    code, out, err = here.ended()
    summary = here.summary()
    assert code == 0, out + err
    assert summary["portfolio"]["entries"] > 0
    assert summary["problems"] == []


@pytest.mark.needs("tls", "live")
@libraries("picows")
def test_live_orders_and_private_streams_with_tls(place, library):
    """A proxy in the environment is not for loopback."""
    here = place(f'mode = "live"\n{ONE_SHARD}receiver = "{library}"\n{SMALL}tls = true\n')
    here.begin("--live", "--duration", "12", **UNREACHABLE_PROXY)
    here.until_running()
    assert_has_tls(here)
    code, out, err = here.ended()
    summary = here.summary()
    assert code == 0, out + err
    assert summary["order_mode"] == "live"
    assert summary["portfolio"]["entries"] > 0
    assert summary["problems"] == []
    assert summary["differences"] == []


@pytest.mark.nightly  # in the gate tests/data/test_trust.py reads a file again that was replaced
@pytest.mark.needs("tls")
def test_exchanges_that_come_back_under_another_authority_are_trusted(place):
    """A restart makes new certificates in the same file."""
    here = place(f"{ONE_SHARD}{SMALL}tls = true\n")
    here.begin()
    here.until_running()
    here.until_replaced("sim", here.kill("sim"))
    here.until(
        lambda status: (
            status["state"] == "running"
            and all(venue["state"] == "connected" and venue["msg_s"] > 0 for venue in status["venues"])
        )
    )
    code, out, err = here.stop()
    assert code == 1, out + err
    summary = here.summary()
    assert summary["problems"] == ["1 process was restarted"]


@pytest.mark.needs("tls")
@libraries("websockets")
def test_public_feeds_that_the_system_trusts(place, exchanges, library):
    tls = exchanges(tls=True)["tls"]
    here = place(public(tls, receiver=library))
    code, summary, said = here.run_to_its_end("--duration", "6", SSL_CERT_FILE=tls["ca_file"])
    assert code == 0, said
    assert summary["messages"] > 50
    assert summary["problems"] == []


def test_a_run_that_received_nothing_from_a_venue_does_not_end_with_0(place, exchanges):
    ready = exchanges()
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        ready["binance"]["ws_url"] = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        here = place(public(ready, more="rest_fallback_s = 0\n"))
        code, summary, said = here.run_to_its_end("--duration", "4")
    assert code == 1
    assert summary["ok"] is False
    problems = summary["problems"]
    assert any(line.startswith("nothing was received from binance: ") for line in problems), problems
    assert any(line.startswith("binance is connecting: ") for line in problems), problems
    assert not any("upbit" in line for line in problems)
    (line,) = [line for line in said.splitlines() if line.startswith("Not a clean run: ")]
    assert "nothing was received from binance" in line


@pytest.mark.nightly  # in the gate test_desk_commands.py ends a run that is halted
def test_a_run_that_is_halted_at_its_end_does_not_end_with_0(place):
    here = place(ONE_SHARD + SMALL)
    here.begin()
    here.until_running()
    here.do("halt", "--reason", "a look at it")
    here.do("stop")
    assert here.ended().code == 1
    (problem,) = here.summary()["problems"]
    assert problem.startswith("halted (")


@pytest.mark.nightly  # in the gate test_desk_commands.py halts and resumes a run
def test_a_halt_that_was_over_before_the_end_is_a_reason_for_exit_code_1(place):
    here = place(ONE_SHARD + SMALL)
    here.begin()
    here.until_running()
    here.do("halt", "--reason", "a look at it")
    here.do("resume", "--reason", "all is well")
    here.do("stop")
    code, out, err = here.ended()
    assert code == 1, out + err
    (problem,) = here.summary()["problems"]
    assert problem.startswith("entries were halted from ")
    assert "(operator): a look at it; resumed by " in problem
    assert problem.endswith(": all is well")
    decisions = here.summary()["journal"]
    assert [one["kind"] for one in decisions] == ["halted", "resumed"]
    assert decisions[1]["text"].endswith(": all is well; entries are allowed again")


NOWHERE = {name: {"ws_url": "wss://127.0.0.1:1", "rest_url": "https://127.0.0.1:1"} for name in FEES}
KEYS = {f"ARBSHARD_{venue}_{part}": "x" * 40 for venue in ("UPBIT", "BINANCE") for part in ("KEY", "SECRET")}


@pytest.mark.parametrize(
    ("command", "content"),
    [
        ("run", "no certificate"),
        ("doctor", None),
        *(
            pytest.param(command, content, marks=pytest.mark.nightly)
            for command, content in (("run", ""), ("run", None), ("doctor", ""), ("doctor", "no certificate"))
        ),
    ],
)
def test_a_ca_file_that_cannot_be_used_is_one_line(place, tmp_path, command, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    here = place(public(NOWHERE, more=f'ca_file = "{path}"\n'))
    code, out, err = here.call(command, **KEYS)
    (line,) = [line for line in (out + err).splitlines() if line.startswith("arbshard:")]
    assert code == 2, out + err
    assert ".ca_file: " in line
    assert str(path) in line
    assert "Traceback" not in out + err


def test_a_proxy_that_cannot_be_used_is_one_line(place):
    elsewhere = {name: {"ws_url": "wss://venue.test", "rest_url": "https://venue.test"} for name in FEES}
    code, out, err = place(public(elsewhere)).call("run", https_proxy="socks5://me:s3cret@127.0.0.1:1")
    (line,) = [line for line in err.splitlines() if line.startswith("arbshard:")]
    assert code == 2, out + err
    assert "https_proxy in the environment: " in line
    assert "s3cret" not in out + err
    assert "Traceback" not in out + err

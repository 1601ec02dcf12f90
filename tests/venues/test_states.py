"""Only what is certain to have changed nothing is final."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.execution.live.errors import understand


def binance(status, code, message=""):
    return understand("binance", status, msgspec.json.encode({"code": code, "msg": message}))


def upbit(status, name, message="?"):
    return understand("upbit", status, msgspec.json.encode({"error": {"name": name, "message": message}}))


class TestBinance:
    @pytest.mark.parametrize("code", [-1013, -1100, -1102, -1111, -1121, -2010])
    def test_rejected(self, code):
        assert binance(400, code).meaning == "rejected"

    @pytest.mark.parametrize(
        ("status", "code"),
        [(429, -1003), (418, -1003), (429, -1015), (503, -1008), (400, -1021), (401, -2015)],
    )
    def test_not_accepted(self, status, code):
        assert binance(status, code).meaning == "not_accepted"

    @pytest.mark.parametrize(
        ("status", "code"), [(504, -1007), (500, -1000), (500, -1006), (400, -1007), (500, -9)]
    )
    def test_nobody_knows(self, status, code):
        assert binance(status, code).meaning == "unknown"

    def test_not_found(self):
        assert binance(400, -2013).meaning == "not_found"

    def test_archived_means_that_it_was_there(self):
        assert binance(400, -2026).meaning == "unknown"

    def test_duplicate_is_a_reason_to_ask(self):
        assert binance(400, -2010, "Duplicate order sent.").meaning == "unknown"

    def test_clock_and_key_are_told_apart(self):
        assert binance(400, -1021).clock_off
        assert not binance(400, -1013).clock_off
        assert binance(401, -2015).key_refused
        assert not binance(400, -1021).key_refused


class TestUpbit:
    @pytest.mark.parametrize(
        "name",
        ["insufficient_funds_bid", "under_min_total_ask", "invalid_price_bid", "create_bid_error", "out"],
    )
    def test_rejected(self, name):
        assert upbit(400, name).meaning == "rejected"

    @pytest.mark.parametrize(
        ("status", "name"),
        [(429, "too_many_requests"), (401, "jwt_verification"), (401, "nonce_used"), (403, "out_of_scope")],
    )
    def test_not_accepted(self, status, name):
        assert upbit(status, name).meaning == "not_accepted"

    def test_duplicate_is_a_reason_to_ask(self):
        assert upbit(400, "duplicated_identifier").meaning == "unknown"

    def test_not_found(self):
        assert upbit(404, "order_not_found").meaning == "not_found"

    def test_integer_name(self):
        assert upbit(404, 404).meaning == "rejected"

    def test_server_error(self):
        assert upbit(500, "server_error").meaning == "unknown"


class TestWithoutWords:
    @pytest.mark.parametrize("venue", ["upbit", "binance"])
    @pytest.mark.parametrize(
        ("status", "meaning"),
        [
            (200, "accepted"), (201, "accepted"),
            (400, "rejected"), (404, "rejected"), (422, "rejected"),
            (403, "not_accepted"), (418, "not_accepted"), (429, "not_accepted"),
            (302, "unknown"), (408, "unknown"), (409, "unknown"), (500, "unknown"), (502, "unknown"),
        ],
    )  # fmt: skip
    def test_status_alone(self, venue, status, meaning):
        assert understand(venue, status, b"<html>oops").meaning == meaning

    def test_detail_is_one_short_line(self):
        said = understand("upbit", 500, b"a\n\tb" + b"c" * 5000)
        assert len(said.detail) <= 200
        assert "\n" not in said.detail

    @given(st.sampled_from(["upbit", "binance"]), st.integers(500, 599), st.binary(max_size=60))
    def test_no_body_makes_a_server_error_final(self, venue, status, body):
        assert (
            understand(venue, status, body).meaning in {"unknown", "not_accepted", "not_found"}
            or b"{" in body
        )

    @given(st.sampled_from(["upbit", "binance"]), st.integers(100, 599), st.binary(max_size=60))
    def test_anything_can_be_read(self, venue, status, body):
        understand(venue, status, body)


class TestRedirects:
    """Whoever answers with a redirect is not known to be the venue: nothing it says is believed."""

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
    @pytest.mark.parametrize(
        "body",
        [
            b'{"code":-2013,"msg":"Order does not exist."}',
            b'{"code":-1003,"msg":"Too many requests."}',
            b'{"code":-2010,"msg":"no"}',
            b'{"code":-2015,"msg":"key"}',
            b'{"error":{"name":"order_not_found","message":"?"}}',
            b'{"error":{"name":"jwt_verification","message":"?"}}',
            b'{"orderId":7,"status":"FILLED","executedQty":"1"}',
            b"<html>",
        ],
    )
    @pytest.mark.parametrize("venue", ["upbit", "binance"])
    def test_is_unknown_whatever_it_says(self, venue, status, body):
        said = understand(venue, status, body)
        assert said.meaning == "unknown"
        assert said.detail == f"HTTP {status}: a redirect, which is not followed"
        assert not said.key_refused
        assert not said.clock_off

"""Only what is certain to have changed nothing is final."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.execution.live.errors import understand
from arbshard.venues.binance.states import ERRORS as BINANCE_ERRORS
from arbshard.venues.binance.states import MESSAGES, fault_of
from arbshard.venues.upbit.states import ERRORS as UPBIT_ERRORS


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

    def test_a_clock_that_is_off_is_a_reason_to_set_it(self):
        assert binance(400, -1021).clock_off
        assert not binance(400, -1013).clock_off

    @pytest.mark.parametrize(
        ("status", "code", "message", "fault"),
        [
            (429, -1003, "Too much request weight used", "busy"),
            (429, -1015, "Too many new orders", "busy"),
            (503, -1008, "Server is currently overloaded", "busy"),
            (400, -1016, "This service is no longer available.", "busy"),
            (400, -1021, "Timestamp for this request is outside of the recvWindow.", "busy"),
            (429, -1034, "Too many concurrent connections", "busy"),
            (400, -1013, "Filter failure: MAX_NUM_ORDERS", "busy"),
            (400, -2010, "Filter failure: EXCHANGE_MAX_NUM_ORDERS", "busy"),
            (400, -1013, "Filter failure: PRICE_FILTER", "order"),
            (400, -1013, "Filter failure: LOT_SIZE", "order"),
            (400, -1013, "Filter failure: MARKET_LOT_SIZE", "order"),
            (400, -1013, "Filter failure: MIN_NOTIONAL", "order"),
            (400, -1013, "Filter failure: NOTIONAL", "order"),
            (400, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE", "order"),
            (400, -1013, "Filter failure: MAX_POSITION", "order"),
            (400, -1102, "Mandatory parameter 'price' was not sent", "order"),
            (400, -1111, "Parameter 'quantity' has too much precision.", "order"),
            (400, -2010, "a text of its own", "order"),
            (400, -2010, "Account has insufficient balance for requested action.", "funds"),
            (400, -2010, "Account has insufficient balance for requested action", "funds"),
            (400, -2010, "Market is closed.", "market"),
            (400, -1013, "Market is closed.", "market"),
            (400, -2010, "This symbol is not permitted for this account.", "market"),
            (400, -2010, "This symbol is restricted for this account.", "market"),
            (400, -2010, "This order type is not possible in this trading phase.", "market"),
            (400, -2010, "Limit orders require GTC for this phase.", "market"),
            (400, -1014, "Unsupported order combination.", "market"),
            (400, -1121, "Invalid symbol.", "market"),
            (400, -2010, "This action is disabled on this account.", "venue"),
            (400, -2010, "This account may not place or cancel orders.", "venue"),
            (400, -2010, "Rest API trading is not enabled.", "venue"),
            (401, -1002, "You are not authorized to execute this request.", "venue"),
            (400, -1022, "Signature for this request is not valid.", "venue"),
            (401, -2008, "Invalid Api-Key ID.", "venue"),
            (401, -2014, "API-key format invalid.", "venue"),
            (401, -2015, "Invalid API-key, IP, or permissions for action.", "venue"),
            (401, -2017, "API Keys are locked on this account.", "venue"),
            (418, -1003, "Way too much request weight used; IP banned until 1.", "venue"),
            (451, 0, "Service unavailable from a restricted location", "venue"),
            (401, -9999, "a code that is in no table", "venue"),
            (403, -9999, "a code that is in no table", "venue"),
            (429, -9999, "a code that is in no table", "busy"),
            (400, -9999, "a code that is in no table", "order"),
            (504, -1007, "Timeout waiting for response from backend server.", ""),
            (400, -2010, "Duplicate order sent.", ""),
            (400, -2013, "Order does not exist.", ""),
        ],
    )
    def test_what_a_refusal_says_about_trying_again(self, status, code, message, fault):
        assert binance(status, code, message).fault == fault

    @pytest.mark.parametrize(
        ("state", "reason", "fault"),
        [
            ("REJECTED", "INSUFFICIENT_BALANCES", "funds"),
            ("REJECTED", "INSUFFICIENT_BALANCE", "funds"),
            ("REJECTED", "MARKET_CLOSED", "market"),
            ("REJECTED", "UNKNOWN_INSTRUMENT", "market"),
            ("REJECTED", "ACCOUNT_INACTIVE", "venue"),
            ("REJECTED", "ACCOUNT_CANNOT_SETTLE", "venue"),
            ("REJECTED", "PRICE_QTY_EXCEED_HARD_LIMITS", "order"),
            ("REJECTED", "NONE", "order"),
            ("REJECTED", "", "order"),
            ("EXPIRED", "NONE", ""),
            ("FILLED", "NONE", ""),
            ("UNKNOWN", "NONE", ""),
        ],
    )
    def test_what_an_execution_report_says_about_trying_again(self, state, reason, fault):
        assert fault_of(state, reason) == fault


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

    @pytest.mark.parametrize(
        ("status", "name", "fault"),
        [
            (429, "too_many_requests", "busy"),
            (401, "nonce_used", "busy"),
            (400, "insufficient_funds_bid", "funds"),
            (400, "insufficient_funds_ask", "funds"),
            (400, "under_min_total_bid", "order"),
            (400, "under_min_total_ask", "order"),
            (400, "over_krw_funds_bid", "order"),
            (400, "over_krw_funds_ask", "order"),
            (400, "invalid_price_bid", "order"),
            (400, "invalid_price_ask", "order"),
            (400, "invalid_volume_bid", "order"),
            (400, "invalid_volume_ask", "order"),
            (400, "invalid_time_in_force", "order"),
            (400, "invalid_post_only", "order"),
            (400, "invalid_parameter", "order"),
            (400, "validation_error", "order"),
            (400, "create_bid_error", "order"),
            (400, "create_ask_error", "order"),
            (403, "market_offline", "market"),
            (401, "market_offline", "market"),
            (400, "notfoundmarket", "market"),
            (404, "notfoundmarket", "market"),
            (401, "expired_access_key", "venue"),
            (401, "invalid_access_key", "venue"),
            (401, "invalid_query_payload", "venue"),
            (401, "jwt_verification", "venue"),
            (401, "no_authorization_ip", "venue"),
            (401, "no_authorization_i_p", "venue"),
            (401, "no_authorization_token", "venue"),
            (401, "out_of_scope", "venue"),
            (403, "out_of_scope", "venue"),
            (418, "too_many_requests", "venue"),
            (401, "a_name_that_is_in_no_table", "venue"),
            (403, "a_name_that_is_in_no_table", "venue"),
            (429, "a_name_that_is_in_no_table", "busy"),
            (400, "a_name_that_is_in_no_table", "order"),
            (500, "server_error", ""),
            (400, "duplicated_identifier", ""),
            (404, "order_not_found", ""),
        ],
    )
    def test_what_a_refusal_says_about_trying_again(self, status, name, fault):
        assert upbit(status, name).fault == fault

    def test_the_name_decides_also_where_the_status_says_otherwise(self):
        """Upbit uses 401, 403 and 400 for one name; a refused market is not a refused key."""
        assert [upbit(status, "market_offline").meaning for status in (400, 401, 403)] == ["rejected"] * 3

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

    @pytest.mark.parametrize("venue", ["upbit", "binance"])
    @pytest.mark.parametrize(
        ("status", "fault"),
        [
            (200, ""), (201, ""),
            (400, "order"), (404, "order"), (422, "order"),
            (401, "venue"), (403, "venue"), (418, "venue"), (451, "venue"), (429, "busy"),
            (302, ""), (408, ""), (409, ""), (500, ""), (502, ""), (503, ""),
        ],
    )  # fmt: skip
    def test_status_alone_says_whether_to_try_again(self, venue, status, fault):
        assert understand(venue, status, b"<html>oops").fault == fault

    @given(
        st.sampled_from(["upbit", "binance"]),
        st.integers(100, 599),
        st.sampled_from([*BINANCE_ERRORS, *UPBIT_ERRORS, -7, "x"]),
        st.sampled_from([*MESSAGES, ""]),
    )
    def test_every_refusal_has_a_fault_and_nothing_else_has_one(self, venue, status, code, message):
        body = {"code": code, "msg": message} if venue == "binance" else {"error": {"name": code}}
        said = understand(venue, status, msgspec.json.encode(body))
        assert (said.fault != "") == (said.meaning in {"rejected", "not_accepted"})

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
        assert said.fault == ""
        assert not said.clock_off

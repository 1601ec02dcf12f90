"""Refusal numbers are stored in ledgers: they never change their meaning."""

from arbshard.model.refusal import Refusal

STORED = {
    101: "STALE_EPOCH", 102: "UNKNOWN_PAIR", 103: "UNKNOWN_POSITION", 104: "UNKNOWN_INTENT", 105: "MALFORMED",
    201: "BOOK_MISSING", 202: "BOOK_STALE", 203: "LEG_SKEW", 204: "VENUE_DOWN", 205: "FX_MISSING",
    206: "FX_STALE", 207: "BOOK_BAD", 208: "EDGE_TOO_GOOD",
    301: "SYMBOL_NOTIONAL", 302: "SYMBOL_POSITIONS",
    401: "PORTFOLIO_NOTIONAL", 402: "PORTFOLIO_POSITIONS", 403: "OPEN_INTENTS", 404: "DAILY_LOSS",
    501: "BALANCE", 502: "NOT_FUNDED",
    601: "STOPPING", 602: "PAIR_BUSY", 603: "RISK_SILENT", 604: "EXPIRED",
}  # fmt: skip


def test_numbers_keep_their_meaning():
    assert {number: Refusal(number).name for number in STORED} == STORED

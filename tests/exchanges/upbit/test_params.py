import pytest

from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit.params import UpbitParams, params_of
from arbshard.exchanges.upbit.refusals import UpbitRefusal


def query(method: str, params: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> Query:
    return Query(method, "/v1/orders", params, "", 0, 0, "", body)


def test_lists_in_every_spelling() -> None:
    params = params_of(query("GET", (("states[]", "wait"), ("states[]", "watch"), ("states", "done"))))
    assert params.all("states") == ["wait", "watch", "done"]
    assert UpbitParams([("pairs", "KRW-BTC, KRW-ETH"), ("pairs", "KRW-XRP")]).listed("pairs") == [
        "KRW-BTC", "KRW-ETH", "KRW-XRP",
    ]  # fmt: skip
    assert params_of(query("DELETE", body=b'{"uuids":["a","b"]}')).all("uuids") == ["a", "b"]
    assert params_of(query("GET", body=b"uuids%5B%5D=a&uuids%5B%5D=b")).all("uuids") == ["a", "b"]


def test_json_numbers_keep_their_text_and_nothing_counts_as_not_sent() -> None:
    params = params_of(
        query("POST", body=b'{"volume":0.0010,"price":100000000,"identifier":null,"smp_type":""}')
    )
    assert params.get("volume") == "0.0010"
    assert params.get("price") == "100000000"
    assert params.get("identifier") is None
    assert params.get("smp_type") is None


@pytest.mark.parametrize("body", [b"side=bid", b"[1]", b"{", b"\xff"])
def test_post_takes_json_only(body: bytes) -> None:
    with pytest.raises(UpbitRefusal, match="validation_error"):
        params_of(query("POST", body=body))


def test_query_counts_before_body_and_post_ignores_the_query() -> None:
    assert params_of(query("DELETE", (("uuid", "a"),), b'{"uuid":"b"}')).get("uuid") == "a"
    assert params_of(query("POST", (("side", "bid"),), b"{}")).get("side") is None


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "9999999999", "٣"])
def test_counts_that_are_none(value: str) -> None:
    with pytest.raises(UpbitRefusal, match="invalid_parameter"):
        UpbitParams([("limit", value)]).count("limit", 100, 100)


def test_counts_words_and_needs() -> None:
    params = UpbitParams([("limit", "500"), ("order_by", "asc")])
    assert params.count("limit", 100, 300) == 300
    assert params.count("page", 1, 10) == 1
    assert params.one_of("order_by", ("asc", "desc"), "desc") == "asc"
    assert params.one_of("cancel_side", ("all", "bid"), "all") == "all"
    with pytest.raises(UpbitRefusal, match="invalid_parameter"):
        params.one_of("order_by", ("desc",), "desc")
    with pytest.raises(UpbitRefusal, match="market is missing"):
        params.need("market")

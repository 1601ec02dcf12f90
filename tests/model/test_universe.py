"""Pairs by shard, markets by slot."""

from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe


def test_pairs_of_a_shard_and_legs_by_slot(make):
    eth, sol = make.other_pair("ETH", (5, 4)), make.other_pair("SOL", (3, 6))
    universe = Universe(make.fx_leg, (make.pair, eth, sol), (("BTC", "SOL"), ("ETH",), ()))
    assert universe.pairs_of(0) == (make.pair, sol)
    assert universe.pairs_of(1) == (eth,)
    assert universe.pairs_of(2) == ()
    assert [leg.slot for leg in universe.legs()] == [0, 1, 2, 3, 4, 5, 6]
    assert [leg.market.symbol for leg in universe.legs()[:3]] == ["KRW-USDT", "KRW-BTC", "BTCUSDT"]


def test_run_files_are_apart(tmp_path):
    files = RunFiles(tmp_path)
    paths = [value for value in vars(files).values() if value != tmp_path]
    paths += [files.worker_page(0), files.worker_page(1)]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {tmp_path}
    endpoints = {
        files.bus_endpoint,
        files.raw_endpoint,
        files.accounts_endpoint,
        files.risk_zmq_endpoint,
    }
    assert len(endpoints) == 4
    assert all(endpoint.startswith(f"ipc://{tmp_path}/") for endpoint in endpoints)
    assert files.risk_endpoint != files.control_endpoint
    for endpoint in (files.risk_endpoint, files.control_endpoint):
        assert endpoint.startswith(f"unix://{tmp_path}/")


class TestChanges:
    def universe(self, make):
        pairs = (make.pair, make.other_pair("ETH", (3, 4)), make.other_pair("SOL", (5, 6)))
        return Universe(make.fx_leg, pairs, (("BTC", "SOL"), ("ETH",)))

    def test_out_of_one_shard_and_into_the_next(self, make):
        first = self.universe(make)
        second = first.without_shard(["BTC"])
        assert (second.serial, second.shards, second.unassigned()) == (1, (("SOL",), ("ETH",)), ("BTC",))
        third = second.on_shards({"BTC": 1})
        assert (third.serial, third.shards) == (2, (("SOL",), ("ETH", "BTC")))
        assert third.owners() == {"SOL": 0, "ETH": 1, "BTC": 1}
        assert second.may_follow(first)
        assert third.may_follow(second)
        assert not third.may_follow(first), "from one shard straight to another"
        assert not first.may_follow(third), "earlier"
        assert third.with_given_up([0]).may_follow(first)

    def test_pairs_come_and_go(self, make):
        first = self.universe(make)
        leaving = first.with_leaving(["ETH"])
        assert leaving.leaving == ("ETH",)
        gone = leaving.without_shard(["ETH"]).without_pairs(["ETH"])
        assert [pair.base for pair in gone.pairs] == ["BTC", "SOL"]
        assert (gone.leaving, gone.serial, gone.owners()) == ((), 3, {"BTC": 0, "SOL": 0})
        back = gone.with_pairs([make.other_pair("ETH", (3, 4))])
        assert back.unassigned() == ("ETH",)

    def test_a_file_of_before_is_read(self, make):
        import msgspec

        told = msgspec.to_builtins(self.universe(make))
        for name in ("serial", "leaving", "given_up"):
            del told[name]
        assert msgspec.convert(told, Universe).serial == 0

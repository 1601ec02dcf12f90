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
    endpoints = {files.risk_endpoint, files.bus_endpoint, files.control_endpoint}
    assert len(endpoints) == 3
    assert all(endpoint.startswith(f"ipc://{tmp_path}/") for endpoint in endpoints)

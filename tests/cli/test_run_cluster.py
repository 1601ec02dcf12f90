"""``arbshard run --cluster``: what must be changed is said in one line, before anything is started."""

import pytest
from msgspec.structs import replace

from arbshard.cli.run import _with_cluster
from arbshard.cluster.keys import CLUSTER_FILE
from arbshard.config import Config
from arbshard.errors import ConfigError, UsageError
from support.made_cluster import make_hosts

SHARED = Config(data="public")


@pytest.fixture
def files(tmp_path):
    make_hosts(tmp_path, shards=6)
    return tmp_path


@pytest.fixture
def nats(monkeypatch):
    """Whether or not nats-py is installed."""
    monkeypatch.setattr("arbshard.optional.find_spec", lambda _: object())


@pytest.mark.usefixtures("nats")
def test_the_cluster_file_states_the_shards(files):
    config = _with_cluster(SHARED, files / CLUSTER_FILE, "b")
    assert config.run.shards == 6
    assert (config.cluster.host, set(config.cluster.hosts)) == ("b", {"a", "b", "c"})


def test_without_a_cluster_nothing_changes():
    assert _with_cluster(SHARED, None, None) is SHARED


def test_file_and_host_belong_together(files):
    for path, host in ((files / CLUSTER_FILE, None), (None, "a")):
        with pytest.raises(UsageError, match="--cluster and --host: name both"):
            _with_cluster(SHARED, path, host)


def test_the_cluster_is_no_section_of_the_configuration(files):
    cluster = make_hosts(files / "other")["a"]
    with pytest.raises(UsageError, match="name it by --cluster"):
        _with_cluster(replace(SHARED, cluster=cluster), None, None)


def test_what_is_wrong_with_the_files_is_said(files):
    with pytest.raises(ConfigError, match="there is no host 'd'"):
        _with_cluster(SHARED, files / CLUSTER_FILE, "d")
    (files / "a.key").chmod(0o644)
    with pytest.raises(UsageError, match=r"a\.key"):
        _with_cluster(SHARED, files / CLUSTER_FILE, "a")


def test_a_missing_library_is_named(files, monkeypatch):
    monkeypatch.setattr("arbshard.optional.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"--cluster needs nats, .*: pip install nats-py"):
        _with_cluster(SHARED, files / CLUSTER_FILE, "a")


@pytest.mark.usefixtures("nats")
def test_several_hosts_need_exchanges_in_common(files, tmp_path):
    with pytest.raises(UsageError, match="each host would embed exchanges of its own"):
        _with_cluster(Config(), files / CLUSTER_FILE, "a")
    alone = make_hosts(tmp_path / "alone", "a")["a"]
    folder = tmp_path / "alone"
    assert _with_cluster(Config(), folder / CLUSTER_FILE, "a").cluster == alone


@pytest.mark.usefixtures("nats")
def test_workers_ask_at_the_socket_at_which_the_agent_answers(files):
    config = replace(SHARED, run=replace(SHARED.run, transport="zmq"))
    with pytest.raises(UsageError, match=r"run\.transport: must be"):
        _with_cluster(config, files / CLUSTER_FILE, "a")

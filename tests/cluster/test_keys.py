"""What ``arbshard cluster init`` writes, and how the cluster file and the keys of a host are read."""

import re
import shutil
import stat
import subprocess
import time
import tomllib

import msgspec
import pytest
import zmq
from msgspec.structs import replace
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.cluster.keys import CLUSTER_FILE, ClusterPlan, HostPlace, make_cluster
from arbshard.config.cluster_file import load_cluster, read_host_keys
from arbshard.errors import ConfigError, UsageError
from arbshard.model.cluster_note import ClusterNote, HostSight, HostView, ShardPlace, decode_cluster_note
from arbshard.model.rundir import RunFiles
from arbshard.private_files import open_private
from arbshard.shm.pages import PageWriter

HOSTS = {host: HostPlace(f"10.0.0.{number}", 7400) for number, host in enumerate("abc", 1)}
NATS = tuple(f"nats://10.0.0.{number}:4222" for number in (1, 2, 3))
PLAN = ClusterPlan("desk", HOSTS, NATS, 4)
LONG = "waiting for a leader: 1 of 3 hosts votes, 2 are needed (a: this host has just acknowledged a leader; c: no)"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    make_cluster(PLAN, made)
    return made


def test_hosts_agree_where_votes_and_leases_rest_on_it(folder):
    cluster = load_cluster(folder / CLUSTER_FILE, "a")
    assert load_cluster(folder / CLUSTER_FILE, "b").agreement == cluster.agreement
    moved = {**cluster.hosts, "b": replace(cluster.hosts["b"], address="10.0.0.7", capacity=2.0)}
    assert replace(cluster, hosts=moved, beat_ms=50).agreement == cluster.agreement
    fewer = {host: cluster.hosts[host] for host in "ab"}
    other_key = {**cluster.hosts, "b": replace(cluster.hosts["b"], key="k" * 40)}
    for changes in (
        {"hosts": fewer}, {"hosts": other_key}, {"lease_ms": 2000}, {"shards": 5}, {"name": "other"},
        {"replication": "async"}, {"async_lag_ms": 600},
    ):  # fmt: skip
        assert replace(cluster, **changes).agreement != cluster.agreement, changes


def changed(folder, old, new, name=CLUSTER_FILE):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def refusal(path, host="a"):
    with pytest.raises(ConfigError) as caught:
        load_cluster(path, host)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line.removeprefix(f"{path}: ")


def test_each_host_reads_the_same_cluster_and_its_own_keys(folder):
    for host, place in HOSTS.items():
        cluster = load_cluster(folder / CLUSTER_FILE, host)
        assert (cluster.name, cluster.shards, cluster.majority, cluster.nats) == ("desk", 4, 2, NATS)
        assert cluster.own.agent_endpoint == f"tcp://{place.address}:7400"
        keys = read_host_keys(cluster)
        assert keys.curve.use_encoded(zmq.curve_public).decode() == cluster.own.key
        assert keys.nats_user == "arbshard"
        assert len(keys.nats_password) >= 32
    assert len({load_cluster(folder / CLUSTER_FILE, "a").hosts[host].key for host in HOSTS}) == 3


def test_secrets_are_in_private_files_alone(folder):
    secret = tomllib.loads((folder / "a.key").read_text())
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        if path.name != "a.key":
            assert secret["curve_secret"] not in path.read_text()
    assert secret["nats_password"] not in (folder / CLUSTER_FILE).read_text()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kept", [CLUSTER_FILE, "b.key", "nats-c.conf"])
def test_nothing_is_overwritten(tmp_path, kept):
    (tmp_path / kept).write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        make_cluster(PLAN, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [kept]
    assert (tmp_path / kept).read_text() == "mine"


def test_a_plan_that_cannot_be_used_leaves_no_file(tmp_path):
    same = HostPlace("10.0.0.1", 7400)
    with pytest.raises(ConfigError, match="7403 or more"):
        make_cluster(PLAN._replace(hosts={"a": same, "b": same}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("nats-server") is None, reason="nats-server is not installed")
def test_nats_accepts_its_settings(folder):
    for host, place in HOSTS.items():
        config = folder / f"nats-{host}.conf"
        done = subprocess.run(
            ["nats-server", "--config", str(config), "-t"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        others = {f"10.0.0.{number}:6222" for number in (1, 2, 3)}
        routes = {other for other in others if f"@{other}" in config.read_text()}
        assert routes == others - {f"{place.address}:6222"}


class TestErrors:
    def test_unknown_host(self, folder):
        assert refusal(folder / CLUSTER_FILE, "d") == "there is no host 'd'; its hosts are a, b, c"

    def test_missing_file(self, tmp_path):
        assert refusal(tmp_path / CLUSTER_FILE) == "cannot be read: No such file or directory"

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            ("shards = 4", "shards = 0", "shards: must be a whole number of at least 1"),
            ("shards = 4", "shard = 4", "unknown key 'shard'; known here: "),
            ("port = 7400", 'port = "7400"', "hosts.a: port: must be a whole number, not text"),
            ("[hosts.a]", "[hosts.A]", "hosts: the name 'A': must be 1 to 32 characters"),
            ("[hosts.a]", "[hosts.a]\nspeed = 3", "hosts.a: unknown key 'speed'; known here: address, key"),
            ("nats://10.0.0.2:4222", "10.0.0.2:4222", "nats[1]: write it as nats://HOST:4222"),
            ("nats://10.0.0.2", "nats://me:secret@10.0.0.2", "nats[1]: no user or password may be in it"),
            ("10.0.0.2:4222", "10.0.0.1:4222", "nats: names an address twice"),
            ("shards = 4", "shards = 4\nbeat_ms = 400", "beat_ms: must be at most a third of lease_ms"),
            ("shards = 4", 'shards = 4\nhost = "a"', "host: the file is the same on all hosts"),
            ('address = "10.0.0.2"', 'address = "10.0.0.1"', "hosts.b.port: a has the same address"),
            ('replication = "sync"', 'replication = "none"', "replication: must be one of "),
            (
                'address = "10.0.0.2"',
                'address = "10.0.0.300"',
                "hosts.b.address: '10.0.0.300' is neither an IP",
            ),
            (
                'address = "10.0.0.2"',
                'address = "0.0.0.0"',
                "hosts.b.address: 0.0.0.0 is not the address of one",
            ),
            ("nats://10.0.0.2", "nats://10.0.0", "nats[1]: write it as nats://HOST:4222"),
            ("[hosts.a]", "[hosts.a", "is not valid TOML"),
        ],
    )
    def test_a_mistake_is_one_line_with_its_place(self, folder, old, new, line):
        assert refusal(changed(folder, old, new)).startswith(line)

    def test_no_password_is_shown(self, folder):
        path = changed(folder, "nats://10.0.0.2:4222", "nats://me:secret@10.0.0.2:99999")
        assert "secret" not in refusal(path)

    def test_a_key_that_is_none(self, folder):
        cluster = load_cluster(folder / CLUSTER_FILE, "b")
        path = changed(folder, cluster.own.key, "short")
        assert refusal(path) == "hosts.b: key: must be a public key of 40 characters (Z85)"

    def test_two_hosts_with_one_key(self, folder):
        cluster = load_cluster(folder / CLUSTER_FILE, "b")
        path = changed(folder, cluster.hosts["c"].key, cluster.own.key)
        assert refusal(path).startswith("hosts.c.key: is the same as that of b")

    def keys_refused(self, folder, host="a"):
        with pytest.raises(ConfigError) as caught:
            read_host_keys(load_cluster(folder / CLUSTER_FILE, host))
        line = str(caught.value)
        assert "\n" not in line
        for path in folder.glob("*.key"):
            if path.stat().st_mode & 0o400:
                for text in path.read_text().split('"')[1::4]:
                    assert text not in line or len(text) < 20  # no secret is shown
        return line

    def test_a_key_file_that_is_missing(self, folder):
        (folder / "a.key").unlink()
        assert self.keys_refused(folder).endswith("a.key cannot be read: No such file or directory")

    def test_a_key_file_that_others_may_read(self, folder):
        (folder / "a.key").chmod(0o640)
        assert self.keys_refused(folder).endswith(f"(mode 640): chmod 600 {folder / 'a.key'}")

    def test_the_key_file_of_another_host(self, folder):
        (folder / "b.key").replace(folder / "a.key")
        assert "is this the file of another host, or of another cluster?" in self.keys_refused(folder)

    def test_a_key_file_that_has_no_key(self, folder):
        changed(folder, 'curve_secret = "', 'curve_secret = "x', "a.key")
        assert self.keys_refused(folder).endswith("curve_secret: must be a secret key of 40 characters (Z85)")
        (folder / "a.key").write_text('nats_user = "a"\n')
        assert "the key 'curve_secret' is missing" in self.keys_refused(folder)
        (folder / "a.key").write_text('curve_secret = "abc\n')
        assert self.keys_refused(folder).endswith("a.key: is not valid TOML")


def run(*words):
    return CliRunner().invoke(app, ["cluster", *words])


def line_of(*words):
    """The error of a command that is to fail."""
    done = run(*words)
    assert isinstance(done.exception, UsageError), done.output
    return str(done.exception)


class TestCommand:
    def test_init_makes_one_nats_server_on_each_host(self, tmp_path):
        done = run("init", "--hosts", "a=10.0.0.1,b=10.0.0.2:7500,c=fd00::3", "--out", str(tmp_path / "made"))
        assert done.exit_code == 0, done.output
        cluster = load_cluster(tmp_path / "made" / CLUSTER_FILE, "b")
        assert cluster.nats == ("nats://10.0.0.1:4222", "nats://10.0.0.2:4222", "nats://[fd00::3]:4222")
        assert [one.port for one in cluster.hosts.values()] == [7400, 7500, 7400]
        assert cluster.hosts["c"].follow_endpoint == "tcp://[fd00::3]:7402"
        assert {path.name for path in (tmp_path / "made").iterdir()} == {
            CLUSTER_FILE, "a.key", "b.key", "c.key", "nats-a.conf", "nats-b.conf", "nats-c.conf"
        }  # fmt: skip

    def test_init_with_a_nats_server_elsewhere(self, tmp_path):
        out = tmp_path / "made"
        words = ("--nats", "nats://10.9.9.9:4300", "--cluster-name", "desk", "--shards", "8")
        done = run("init", "--hosts", "a=10.0.0.1,b=10.0.0.2", *words, "--out", str(out))
        assert done.exit_code == 0, done.output
        assert "with three one of them may be lost" in done.output
        text = (out / "nats-server1.conf").read_text()
        assert 'listen: "10.9.9.9:4300"' in text
        assert "routes" not in text
        assert load_cluster(out / CLUSTER_FILE, "a").shards == 8

    def test_what_is_not_a_host(self, tmp_path):
        out = ("--out", str(tmp_path / "made"))
        assert line_of("init", "--hosts", "a", *out).startswith("--hosts a: write NAME=ADDRESS")
        assert line_of("init", "--hosts", "a=1.1.1.1,a=1.1.1.2", *out) == "--hosts: names host a twice"
        assert line_of("init", "--hosts", "A=1.1.1.1", *out).startswith(
            "cluster init: hosts: the name 'A': must be 1 to 32 characters"
        )
        assert line_of("init", "--hosts", "a=1.1.1.1", "--cluster-name", 'x"y', *out).startswith(
            "cluster init: name: must be 1 to 32 characters"
        )
        assert line_of("init", "--hosts", "a=1.1.1.1", "--nats", "x:1", *out).startswith(
            "--nats x:1: write it"
        )

    @pytest.mark.parametrize(
        ("address", "why"),
        [
            ("http://10.0.0.1", "write NAME=ADDRESS or NAME=ADDRESS:PORT, as in a=10.0.0.1,b=10.0.0.2"),
            ("10.0.0.1/24", "write NAME=ADDRESS or NAME=ADDRESS:PORT, as in a=10.0.0.1,b=10.0.0.2"),
            ("me@10.0.0.1", "write NAME=ADDRESS or NAME=ADDRESS:PORT, as in a=10.0.0.1,b=10.0.0.2"),
            ("10.0.0.1:99999", "write NAME=ADDRESS or NAME=ADDRESS:PORT, as in a=10.0.0.1,b=10.0.0.2"),
            ("10.0.0.300", "'10.0.0.300' is neither an IP address nor the name of a host"),
            ("10.0.0", "'10.0.0' is neither an IP address nor the name of a host"),
            ("my host", "'my host' is neither an IP address nor the name of a host"),
            ("0.0.0.0", "0.0.0.0 is not the address of one host"),
        ],
    )
    def test_what_is_no_address(self, tmp_path, address, why):
        out = tmp_path / "made"
        assert line_of("init", "--hosts", f"b=10.0.0.9,a={address}", "--out", str(out)) == (
            f"--hosts a={address}: {why}"
        )
        assert not out.exists()

    def test_hosts_at_one_address_are_given_ports(self, tmp_path):
        words = ("--out", str(tmp_path / "made"))
        line = line_of("init", "--hosts", "a=127.0.0.1,b=127.0.0.1,c=127.0.0.1:7404,d=10.0.0.1", *words)
        hosts = line.rpartition(" ")[2]
        assert hosts == "a=127.0.0.1:7400,b=127.0.0.1:7403,c=127.0.0.1:7406,d=10.0.0.1:7400"
        made = run("init", "--hosts", hosts, *words)
        assert made.exit_code == 0, made.output
        assert "Other machines cannot reach host a, b, c" in made.output

    def test_files_are_removed_when_one_cannot_be_written(self, tmp_path, monkeypatch):
        def full(path, mode):
            if path.name == "c.key":
                raise OSError(28, "No space left on device")
            return open_private(path, mode)

        monkeypatch.setattr("arbshard.cluster.keys.open_private", full)
        with pytest.raises(UsageError, match="cannot be written: No space left on device"):
            make_cluster(PLAN, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_show_without_an_instance(self, monkeypatch, tmp_path):
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path))
        assert line_of("show") == "no instance named 'sim' is running"

    def test_show_says_who_leads_where_shards_are_and_what_waits(self, tmp_path, monkeypatch):
        place = ShardPlace(1, grant=3, epoch=3001, universe=7)
        hosts = tuple(
            HostView(
                name,
                1_000,
                "0.1.0",
                name == "b",
                4,
                1234 * (name == "a"),
                (place,) * (name == "b"),
                10.0,
                0.25,
                nats=True,
                note=LONG,
            )
            for name in "ab"
        )
        note = ClusterNote(
            "desk", "a", "b", 4, nats=False, contact_ms=40.0, hosts=hosts, placement=((1, "b"),),
            kept=("halt by me",), why="this host leaves the cluster", sights={"b": HostSight(1500.0, 0.0)},
            refused=("host c is refused: why",),
        )  # fmt: skip
        files = RunFiles(tmp_path)
        with PageWriter.create(files.cluster_page, ("pid", "beat_ns"), (), 4096) as page:
            page.write_note(msgspec.json.encode(note))
            page.set(page.counter("beat_ns"), time.monotonic_ns())
        monkeypatch.setattr("arbshard.cli.cluster.running_files", lambda *_: ("desk", files))
        shown = run("show")
        assert shown.exit_code == 0
        for text in (
            "cluster desk, seen from host a: host b leads in term 4, it confirmed this host 0.04 s ago",
            "NATS: NOT connected",
            "b (leads)",
            "1,234",
            " s ago",
            "host c is refused: why",
            "shards, as the leader places them: 1 on b",
            "kept until the leader can be reached: halt by me",
            "this host does not trade: this host leaves the cluster",
        ):
            assert text in shown.output
        words = shown.output.split()
        assert words.count("acknowledged") == len(hosts), "a long note is shown in full"
        assert "0" not in words, "the leader has no copy of the ledger, so no number of events"
        assert decode_cluster_note(run("show", "--json").output.encode()) == note

    def test_show_of_an_agent_that_has_ended(self, tmp_path, monkeypatch):
        view = HostView("b", 0, "1", leads=True, term=4, seq=9, shards=(), frames_s=1.0, cpu=0.1, nats=True)
        note = ClusterNote(
            "desk", "a", "b", 4, nats=True, contact_ms=4.0, hosts=(view,), sights={"b": HostSight(500.0, 0.0)}
        )
        files = RunFiles(tmp_path)
        with PageWriter.create(files.cluster_page, ("pid", "beat_ns"), (), 4096) as page:
            page.write_note(msgspec.json.encode(note))
            page.set(page.counter("beat_ns"), time.monotonic_ns() - 600_000_000_000)
        monkeypatch.setattr("arbshard.cli.cluster.running_files", lambda *_: ("desk", files))
        shown = run("show").output
        assert re.search(r"agent of this host has been silent for 6\d\d s: this is what it knew then", shown)
        assert re.search(r"6\d\d\.\d s ago", shown)
        assert "this host trades" not in shown
        assert re.search(r"host b led last, and has not been seen for 6\d\d s", shown)

    def test_show_of_a_run_on_one_host(self, tmp_path, monkeypatch):
        monkeypatch.setattr("arbshard.cli.cluster.running_files", lambda *_: ("desk", RunFiles(tmp_path)))
        assert line_of("show").startswith("'desk' runs on one host alone")

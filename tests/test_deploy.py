"""What ``deploy/`` starts: systemd accepts the units, and the commands and keys in them exist."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.cli import command as command_line
from arbshard.config import Config, load_config
from arbshard.config.cluster_file import load_cluster

DEPLOY = Path(__file__).parents[1] / "deploy"
SYSTEMD = DEPLOY / "systemd"
DOCKER = DEPLOY / "docker"
PROGRAM = "/opt/arbshard/bin/arbshard"
ENDS_S = 2 + 5 + 10 + 10 + 2 + 5 + 3
"""How long ``supervisor.run.Run.end`` may wait for children, all in all."""
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def settings(name):
    """The settings of a unit file: each key with all its values."""
    found = {}
    for line in (SYSTEMD / name).read_text().replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def commands():
    """Every command of ours in a unit."""
    for path in sorted(SYSTEMD.iterdir()):
        for line in path.read_text().splitlines():
            if line.startswith("ExecStart=") and PROGRAM in line:
                yield shlex.split(line.partition("=")[2])[1:]


@pytest.fixture
def units(tmp_path):
    """A folder with an instance of each unit, whose program exists on this machine."""
    for path in SYSTEMD.glob("arbshard*@.*"):
        text = path.read_text().replace(PROGRAM, f"{sys.executable} -m arbshard")
        (tmp_path / path.name.replace("@.", "@desk.")).write_text(text)
    return tmp_path


@needs_systemd
def test_systemd_accepts_the_units(units):
    paths = sorted(map(str, units.iterdir()))
    assert len(paths) == 3
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"},
    )
    of_ours = [line for line in done.stderr.splitlines() if "arbshard" in line]
    assert (done.returncode, of_ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("unit", ["arbshard@desk.service", "arbshard-backup@desk.service"])
def test_the_units_are_closed_in(units, unit):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(units / unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_commands_and_their_options_exist(command):
    words = [word for word in command if re.fullmatch(r"[a-z]+", word)]
    options = {word for word in command if word.startswith("--")}
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert options
    assert all(re.search(rf"{option}\b", shown.output) for option in options), shown.output


@pytest.mark.parametrize("name", ["arbshard@.service", "arbshard-backup@.service"])
def test_the_variables_are_keys(name):
    pairs = [pair.replace("%i", "desk").partition("=") for pair in settings(name)["Environment"][0].split()]
    config = load_config(None, environ={key: value for key, _, value in pairs})
    assert (config.name, config.state_dir) == ("desk", "/var/lib/arbshard/desk")
    assert ("ARBSHARD_RUN_ROOT", "=", "/run/arbshard") in pairs


def test_the_wrapper_looks_where_the_units_put_things():
    text = (SYSTEMD / "arbshard-desk").read_text()
    for pair in settings("arbshard@.service")["Environment"][0].split():
        assert pair.replace("%i", "$instance") in text.replace('"', "")
    done = subprocess.run(
        ["sh", str(SYSTEMD / "arbshard-desk")], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_the_unit_gives_a_run_time_to_end():
    seconds = 60 * int(settings("arbshard@.service")["TimeoutStopSec"][0].removesuffix("min"))
    assert seconds > Config().run.stop_timeout_s + ENDS_S


class TestContainer:
    """The image and its compose file. No test can build an image, so what they name is compared with what exists."""

    @pytest.fixture
    def steps(self):
        """The instructions of the Dockerfile: name and rest."""
        text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]

    @pytest.fixture
    def service(self):
        return yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]["arbshard"]

    def test_what_is_copied_exists_and_is_sent_to_the_builder(self, steps):
        sent = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
        sources = [
            source
            for name, rest in steps
            if name == "COPY" and "--from" not in rest
            for source in rest.split()[:-1]
        ]
        assert len(sources) >= 7
        for source in sources:
            assert (DEPLOY.parent / source).exists(), source
            assert f"!{source}" in sent, source
        assert sent[1] == "*"

    def test_all_that_the_wheel_needs_is_copied(self, steps):
        """As setuptools reads it: packages, data files, readme and licence."""
        project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
        data = project["tool"]["setuptools"]["data-files"]
        needed = {path.partition("/")[0] for paths in data.values() for path in paths}
        needed |= {
            pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]
        }
        needed |= {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
        assert needed <= {word for name, rest in steps if name == "COPY" for word in rest.split()}

    def test_signals_reach_the_supervisor_and_it_is_no_root(self, steps):
        found = dict(steps)
        command = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
        assert command == ["arbshard", "run", "--service", "--config", "/etc/arbshard/arbshard.toml"]
        assert found["USER"] == "arbshard"
        assert json.loads(found["HEALTHCHECK"].partition("CMD ")[2])[:2] == ["arbshard", "status"]
        names = [name for name, _ in steps]
        assert names.index("USER") < names.index("ENTRYPOINT")

    def test_its_variables_are_keys(self, steps, service):
        (text,) = (rest for name, rest in steps if name == "ENV")
        environ = dict(pair.split("=", 1) for pair in text.split()) | service["environment"]
        config = load_config(None, environ=environ)
        assert (config.name, config.state_dir) == ("desk", "/var/lib/arbshard/desk")
        assert config.metrics.enabled

    def test_compose_lets_it_end_in_order_and_closes_it_in(self, service):
        assert service["build"] == {"context": "../..", "dockerfile": "deploy/docker/Dockerfile"}
        assert (DOCKER / service["build"]["context"]).resolve() == DEPLOY.parent
        assert 60 * int(service["stop_grace_period"].removesuffix("m")) > Config().run.stop_timeout_s + ENDS_S
        assert int(service["shm_size"].removesuffix("m")) > 64
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


class TestCluster:
    """The compose file of three hosts: what it mounts is what its own first lines make."""

    PATH = DEPLOY / "cluster" / "compose.yml"

    @pytest.fixture
    def made(self, tmp_path):
        """The folder that the command in the first lines makes, here elsewhere."""
        folder = tmp_path / "files"
        (line,) = (text for text in self.PATH.read_text().splitlines() if "cluster init" in text)
        words = shlex.split(line.partition("arbshard ")[2])
        assert words[-2:] == ["--out", "deploy/cluster/files"]
        done = CliRunner().invoke(app, [*words[:-1], str(folder)])
        assert done.exit_code == 0, done.output
        return folder

    @pytest.fixture
    def parts(self):
        return yaml.safe_load(self.PATH.read_text())

    def test_what_is_mounted_is_made_and_nothing_of_another_host(self, made, parts):
        for name, service in parts["services"].items():
            sources = [volume.partition(":")[0] for volume in service["volumes"]]
            files = {source.removeprefix("./files/") for source in sources if source.startswith("./files/")}
            assert files <= {path.name for path in made.iterdir()}
            keys = {file for file in files if file.endswith(".key")}
            assert keys == (set() if name.startswith("nats-") else {f"{name}.key"})
            volumes = {source for source in sources if source[0] not in "./"}
            assert len(volumes) == 1
            assert volumes <= set(parts["volumes"])

    def test_what_a_host_reads_is_given_to_the_user_of_the_image(self, parts):
        """What is made belongs to root and is closed to others."""
        (line,) = (text for text in self.PATH.read_text().splitlines() if "chown" in text)
        _, user, *patterns = shlex.split(line.partition("sudo ")[2])
        assert f"--uid {user} " in (DOCKER / "Dockerfile").read_text()
        for name in "abc":
            sources = [volume.partition(":")[0] for volume in parts["services"][name]["volumes"]]
            read = [source.replace("./", "deploy/cluster/", 1) for source in sources if source[0] == "."]
            assert len(read) == 2
            for path in read:
                assert any(fnmatch(path, pattern) for pattern in patterns), path

    def test_the_addresses_are_those_of_the_cluster_file(self, made, parts):
        shown = {
            name: service["networks"]["cluster"]["ipv4_address"]
            for name, service in parts["services"].items()
        }
        cluster = load_cluster(made / "cluster.toml", "a")
        assert {host: one.address for host, one in cluster.hosts.items()} == {
            host: shown[host] for host in cluster.hosts
        }
        servers = [name for name in shown if name.startswith("nats-")]
        assert [f"nats://{shown[name]}:4222" for name in servers] == list(cluster.nats)
        subnet = ip_network(parts["networks"]["cluster"]["ipam"]["config"][0]["subnet"])
        assert all(ip_address(address) in subnet for address in shown.values())

    def test_each_host_is_started_as_itself_and_may_end_in_order(self, parts):
        for name in "abc":
            service = parts["services"][name]
            command = service["command"]
            assert command[0] == "run"
            assert command[-2:] == ["--host", name]
            known = {option for one in command_line().commands["run"].params for option in one.opts}
            assert {word for word in command if word.startswith("--")} <= known
            assert (
                60 * int(service["stop_grace_period"].removesuffix("m"))
                > Config().run.stop_timeout_s + ENDS_S
            )

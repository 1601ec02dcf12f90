"""Runs what this host holds in a run on several hosts: workers of granted shards, and risk while this host leads.

The cluster agent decides nothing about processes: it shows on its page what this host may run, and ``HostRole``
starts and ends processes by it at each tick of the supervisor.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.cluster_note import ClusterNote, HostView, ShardPlace, decode_cluster_note
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.pages import PageReader
from supervisor.cluster.held import AgentView, Begin, Forget, HeldShards, HeldWorker, Retire
from supervisor.processes.child import Child, ProcessHost
from supervisor.processes.health import PageHealth
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.processes.spares import SparePool
from supervisor.processes.specs import ChildSpecs

_WORKER_ENDS_S = 0.5
"""How long a worker whose grant has ended may take to end; it sends nothing meanwhile."""
_RISK_ENDS_S = 10.0
_RISK_FRESH_NS = 1_000_000_000
"""Risk, or the agent in its place, shows at least this often (ns) that it is alive."""


class HostRole:
    """Carries out on this host what the agent's page shows."""

    def __init__(
        self,
        config: Config,
        files: RunFiles,
        specs: ChildSpecs,
        processes: ProcessSupervisor,
        host: ProcessHost,
        clock: Clock,
        lease_ns: Callable[[], int],
        alert: Callable[[str], None],
        show: Callable[[Mapping[str, int]], None],
    ) -> None:
        """Begin. ``lease_ns`` returns the time of the clock of leases. ``show`` sets counters on the supervisor's
        page.
        """
        assert config.cluster is not None, "only a run on several hosts has a role"
        self._config = config
        self._cluster = config.cluster
        self._files = files
        self._specs = specs
        self._processes = processes
        self._host = host
        self._clock = clock
        self._lease_ns = lease_ns
        self._alert = alert
        self._show = show
        self._page = PageHealth(files.cluster_page, "ready", 1)
        self._held = HeldShards(pauses=self._cluster.replication == "sync")
        self._was_valid = False
        """Whether the workers of this host might trade at the last step."""
        self._risk_term = 0
        """The term of the risk process that was started last."""
        self._risk_ended = 0
        """The newest term whose risk has ended. The agent steps down when it reads that, so none is started again in
        this term."""
        self._risk_was_retired = False
        self._risk_fences: PageReader | None = None
        self.view = AgentView()
        self._stepped_ns = 0
        """When it was acted on the view last, by the clock of leases."""
        self.ordered_phase = 0
        """What an operator has ordered on this host: 1: the cluster ends; 2: the same, positions kept."""
        self.leaves = False
        self.is_over = False
        """Whether nothing is started any more: the workers have drained."""
        self.universe = 0
        """Serial of the universe in force."""
        self._renews = False
        processes.waits = lambda: not self._is_risk_shown()
        processes.restarts_fenced = False
        self._ready_risk = processes.ready_risk = SparePool(
            config.run,
            specs.ready_risk(),
            host,
            alert,
            wanted=0,
            what="risk process that is kept ready",
            plural="risk processes that are kept ready",
        )
        self._ready_risk.gives_starting = True
        if processes.spares is not None:
            processes.spares.gives_starting = True

    # What the page shows.

    @property
    def note(self) -> ClusterNote | None:
        """Return the agent's note; None while there is none."""
        agent = self._processes.get("agent")
        text = self._page.note(agent.pid) if agent is not None and agent.pid else b""
        return decode_cluster_note(text) if text else None

    @property
    def leads(self) -> bool:
        """Return whether risk of this host decides for all."""
        return self.view.leads

    @property
    def leader(self) -> str:
        """Return the name of the leader's host; empty while none is known, and when that host is away."""
        note = self.note
        if note is None:
            return ""
        seen = {self._cluster.host, *(view.host for view in self._others())}
        return note.leader if note.leader in seen else ""

    @property
    def markets(self) -> frozenset[int]:
        """Return the shards whose markets are carried."""
        return self._held.markets(self.view, self._clock.monotonic_ns())

    @property
    def away(self) -> tuple[int, ...]:
        """Return the shards that this host does not hold."""
        return tuple(shard for shard in range(self._cluster.shards) if not self.is_granted(shard))

    def holds_anything(self) -> bool:
        """Return whether the agent has something to give back, or a process of it still runs here."""
        risk = self._processes.get("risk")
        return self.view.leads or any(self.view.grants) or (risk is not None and risk.pid != 0)

    def is_led_elsewhere(self) -> bool:
        """Return whether risk of another host still shows what it decides."""
        note = self.note
        led = note is not None and note.leader not in ("", self._cluster.host)
        return led and self._is_risk_shown()

    def is_granted(self, shard: int) -> bool:
        """Return whether this host holds the shard."""
        return shard < len(self.view.grants) and self.view.grants[shard] > 0

    def place_of(self, shard: int) -> ShardPlace | None:
        """Return where another host runs the shard; None where that is not known."""
        for view in self._others():
            for place in view.shards:
                if place.shard == shard and place.epoch:
                    return place
        return None

    def others_at_work(self) -> tuple[str, ...]:
        """Return the names of the other hosts that still run workers, as far as they can be seen."""
        return tuple(view.host for view in self._others() if any(place.epoch for place in view.shards))

    def unreached(self) -> tuple[str, ...]:
        """Return the names of the other hosts that do not learn of an order now, and have not left."""
        seen = {view.host for view in self._others()}
        note = self.note
        seen |= {view.host for view in note.hosts if view.leaving} if note is not None else set()
        return tuple(name for name in self._cluster.hosts if name not in seen and name != self._cluster.host)

    def why_no_leader(self) -> str:
        """Return what this host waits for until its run can begin."""
        note = self.note
        if note is not None and note.why:
            return note.why
        needed = f"{self._cluster.majority} of {len(self._cluster.hosts)} hosts are needed"
        return f"waiting for a leader: {needed}"

    def fence(self, shard: int) -> int:
        """Return the lowest epoch of the shard that may trade, as risk shows it here, its own page or its mirror."""
        page = self._risk_page()
        return page.value(f"fence_{shard}") if page is not None else 0

    def read_universe(self) -> Universe | None:
        """Return the newest universe of the cluster; None while its file cannot be read."""
        try:
            return msgspec.json.decode(self._files.cluster_universe.read_bytes(), type=Universe)
        except (OSError, msgspec.MsgspecError) as error:
            get_logger().warning("the universe of the cluster cannot be read", error=str(error))
            return None

    # What happens.

    def has_news(self) -> bool:
        """Return whether the agent shows anything that was not read, or this host's permission to trade is over."""
        shown = self._shown()
        is_known = shown._replace(valid_until_ns=self.view.valid_until_ns) == self.view
        could_trade = self._stepped_ns < self.view.valid_until_ns
        return not is_known or could_trade is not (self._lease_ns() < shown.valid_until_ns)

    def read(self) -> None:
        """Read what the agent shows now."""
        self.view = self._shown()

    def _shown(self) -> AgentView:
        agent = self._processes.get("agent")
        pid = agent.pid if agent is not None else 0
        if not pid or not self._page.is_up(pid):
            # Its grants are not known again before its successor shows them; until then the workers' time runs out.
            return self.view._replace(leads=self.view.leads and not self._is_lead_over())
        value = self._page.value
        return AgentView(
            term=value("term", pid),
            leads=value("leads", pid) == 1,
            valid_until_ns=value("valid_until_ns", pid),
            universe=value("universe", pid),
            phase=value("phase", pid),
            grants=tuple(value(f"grant_{shard}", pid) for shard in range(self._cluster.shards)),
        )

    def step(self) -> None:
        """Read the page; start and end the processes of this host by it."""
        self.read()
        self._stepped_ns = self._lease_ns()
        self._step_risk()
        self._keep_risk_ready()
        view = self.view._replace(valid_until_ns=0) if self._renews else self.view
        self._renews = False
        steps = self._plan(view)
        self._prepare_workers(sum(isinstance(step, Retire) for step in steps))
        self._carry_out(steps)
        if any(isinstance(step, Forget) for step in steps):
            self._carry_out(self._plan(view))  # another worker may follow at once
        self._write()

    def _plan(self, view: AgentView) -> list[Begin | Retire | Forget]:
        workers = {
            child.shard: HeldWorker(
                child.epoch, bool(child.pid), child.state == "ended", child.state == "quarantined"
            )
            for child in self._processes.children
            if child.shard is not None
        }
        return self._held.plan(view, workers, self._lease_ns(), ends=self._processes.ending)

    def _carry_out(self, steps: Iterable[Begin | Retire | Forget]) -> None:
        for step in steps:
            name = f"worker-{step.shard}"
            match step:
                case Begin(shard, before, last):
                    if not self.is_over:
                        get_logger().info("shard granted", shard=shard, epoch=before + 1)
                        self._processes.begin(Child(self._specs.worker(shard), self._host, before, last))
                case Retire(_, why):
                    self._processes.retire(name, why, _WORKER_ENDS_S)
                case Forget(_, pause):
                    self._processes.forget(name)
                    if pause:
                        self._alert(f"{name} was fenced again; the next one begins in {pause:g} s")

    def renew_workers(self) -> None:
        """End all workers once, so that their successors begin with the universe in force."""
        self._renews = True

    def close(self) -> None:
        """Close the pages."""
        self._page.close()
        if self._risk_fences is not None:
            self._risk_fences.close()

    def _step_risk(self) -> None:
        """Run risk while this host leads, in the term in which it leads; live, the accounts process beside it."""
        risk = self._processes.get("risk")
        wanted = self.view.leads and not self.is_over
        if risk is None:
            if wanted and self.view.term > self._risk_ended:
                self._risk_term, self._risk_was_retired = self.view.term, False
                self._alert(f"this host leads the cluster from now on (term {self.view.term})")
                self._processes.begin(Child(self._specs.risk(self.view.term), self._host))
            return
        accounts = self._processes.get("accounts")
        if risk.state == "ended" and not risk.pid:
            self._risk_ended = max(self._risk_ended, self._risk_term)
            if risk.reason and not self._risk_was_retired:
                self._alert(f"risk of this host has ended: {risk.reason}")
            self._processes.forget("risk")
        elif not wanted or self.view.term != self._risk_term:
            why = "this host leads no more" if not wanted else f"this host leads in term {self.view.term} now"
            if risk.state != "ended":
                self._alert(why)
            self._risk_was_retired = True
            self._processes.retire("risk", why, _RISK_ENDS_S)
            if accounts is not None:
                self._processes.retire("accounts", why, _WORKER_ENDS_S)
        elif self._config.mode == "live" and risk.state == "running" and accounts is None:
            self._processes.begin(Child(self._specs.accounts(), self._host))
            return
        if accounts is not None and accounts.state == "ended" and not accounts.pid:
            self._processes.forget("accounts")

    def _prepare_workers(self, ended: int) -> None:
        """Prepare workers when the time for which this host may trade is over.

        The leader was lost, or was cut off: its successor will most likely grant the same shards again, and to this
        host its part of those of the lost host. ``ended``: how many workers are ended just now.
        """
        is_valid = self._lease_ns() < self.view.valid_until_ns
        was_valid, self._was_valid = self._was_valid, is_valid
        spares = self._processes.spares
        if spares is None or is_valid:
            return
        expected = ended
        note = self.note
        if was_valid and note is not None and note.leader != self._cluster.host:
            lost = sum(len(view.shards) for view in note.hosts if view.host == note.leader)
            others = max(len(self._cluster.hosts) - 1, 1)
            expected += max(-(-lost // others) - spares.wanted, 0)
        spares.prepare(expected, self._clock.monotonic_ns())

    def _keep_risk_ready(self) -> None:
        """Keep a risk process ready while another host leads, once everything else of this host has been started."""
        pool, processes = self._ready_risk, self._processes
        may_lead = (
            not self.view.leads and not self.leaves and not self.is_over and processes.get("risk") is None
        )
        if not may_lead or len(self._cluster.hosts) == 1:
            pool.wanted = 0
        elif not any(child.state in ("starting", "restarting") for child in processes.children):
            pool.wanted = 1

    def _is_lead_over(self) -> bool:
        return self._lease_ns() >= self._page.newest("lead_until_ns")

    def _write(self) -> None:
        risk = self._processes.get("risk")
        shown = {
            "universe": self.universe,
            "risk_term": self._risk_term if risk is not None and risk.pid else 0,
            "leaves": int(self.leaves),
            "risk_ended": self._risk_ended,  # after ``leaves``: the agent must not show its own page meanwhile
            "phase": self.ordered_phase,
            "ready_risk": self._ready_risk.states.count("ready"),
            "ready_risk_ended": self._ready_risk.ended,
        }
        for shard in range(self._cluster.shards):
            child = self._processes.get(f"worker-{shard}")
            shown[f"epoch_{shard}"] = child.epoch if child is not None and child.pid else 0
            shown[f"back_{shard}"] = self._held.given_back.get(shard, 0)
        self._show(shown)

    def _others(self) -> Iterable[HostView]:
        """Return the newest views of the other hosts that were seen lately."""
        note = self.note
        if note is None:
            return ()
        seen = {host for host, one in note.sights.items() if one.age_ms <= self._cluster.away_s * 1000}
        return tuple(view for view in note.hosts if view.host in seen)

    def _is_risk_shown(self) -> bool:
        page = self._risk_page()
        return page is not None and self._clock.monotonic_ns() - page.value("beat_ns") < _RISK_FRESH_NS

    def _risk_page(self) -> PageReader | None:
        """Return the page that risk, or the agent in its place, writes at present."""
        page = self._risk_fences
        if page is None or self._clock.monotonic_ns() - page.value("beat_ns") > _RISK_FRESH_NS:
            try:
                newest = PageReader.attach(self._files.risk_page)
            except SharedMemoryError:
                return page  # none was made yet
            if page is not None:
                page.close()
            self._risk_fences = newest
        return self._risk_fences

"""Names of the files in a run directory: where the processes of one run find each other."""

from pathlib import Path


class RunFiles:
    """Paths below a run directory. The directory is created and removed by the supervisor."""

    def __init__(self, run_dir: Path) -> None:
        self.dir = run_dir
        self.lock = run_dir / "lock"
        self.config = run_dir / "config.json"
        self.universe = run_dir / "universe.json"
        self.books = run_dir / "books"
        self.sim_ready = run_dir / "sim.json"
        self.supervisor_page = run_dir / "page-supervisor"
        self.risk_page = run_dir / "page-risk"
        self.accounts_page = run_dir / "page-accounts"

    def worker_page(self, shard: int) -> Path:
        """The page of a shard's worker; a successor writes it anew."""
        return self.dir / f"page-worker-{shard}"

    @property
    def risk_endpoint(self) -> str:
        """Where risk answers ZeroMQ: operators, and workers with ``requests = "zmq"``."""
        return f"ipc://{self.dir}/risk.ipc"

    @property
    def risk_socket(self) -> str:
        """Where risk answers workers with ``requests = "unix"``."""
        return f"unix://{self.dir}/risk.sock"

    @property
    def bus_endpoint(self) -> str:
        """Where the supervisor publishes."""
        return f"ipc://{self.dir}/bus.ipc"

    @property
    def accounts_endpoint(self) -> str:
        """Where the accounts process publishes what venues say of our orders."""
        return f"ipc://{self.dir}/accounts.ipc"

    @property
    def control_endpoint(self) -> str:
        """Where the supervisor takes orders from the command line."""
        return f"ipc://{self.dir}/control.ipc"

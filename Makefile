# Two commands matter: `make run` and `make test`. Both set everything up first, and only once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NATIVE := $(VENV)/.native
RAY    := $(VENV)/.ray
COMPILED := $(VENV)/.tests-compiled
ARGS   ?=
# Without bytecode each process would compile all that it imports. Many containers set this.
unexport PYTHONDONTWRITEBYTECODE
# Tests side by side: three for each of two cores, because integration tests wait more than they compute. With two
# for each core a third of the time of both was not used.
JOBS   ?= 6
# Of `make torture`: how many kills, and drawn from which seed (none: a new one, which is said).
N      ?= 1000
SEED   ?=

# Of `make soak`: minutes, and messages per second.
MINUTES ?= 10
RATE    ?= 5000

.PHONY: help run test nightly coverage test-wheel check perf instructions clients torture fuzz fuzz-cluster fuzz-messages soak hosts setup ray lock clean

# `make` alone says what there is; it starts nothing.
help:
	@echo "make run       trades the embedded exchanges on paper until Ctrl-C; ARGS=\"--shards 4\" adds options"
	@echo "make setup     makes .venv with everything that is needed (run and test do it, too)"
	@echo "make test      the tests before a change: about nine minutes on two idle cores, longer on busy ones"
	@echo "make check     style, types, imports and texts"
	@echo "make perf      measures; make coverage, make nightly and make torture test more: see CONTRIBUTING.md"

run: setup
	@echo "starting: the exchanges, risk, the workers and the feeds come up within a few seconds; Ctrl-C ends it"
	@$(BIN)/arbshard run $(ARGS)

test: setup $(COMPILED)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# Everything that is too slow before each change: all tests with more examples and fresh seeds, kills, faults, mutated
# messages, and a run at a steady rate.
nightly: setup ray $(COMPILED)
	ARBSHARD_TESTS=nightly $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	$(BIN)/python tests/torture --kills $(N)
	$(BIN)/python -m arbshard.virtual.fuzz --seeds 100
	$(BIN)/python -m arbshard.virtual.cluster.fuzz --seeds 1000
	$(BIN)/python tests/fuzz --cases 100000
	$(BIN)/python tests/soak --minutes $(MINUTES) --rate $(RATE)

# Branch coverage of all tests, sub-processes too; writes the list of branches of risk and execution that no test enters.
coverage: setup
	rm -f .coverage .coverage.*
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --format=total
	$(BIN)/python scripts/untested_branches.py

# pytest compiles each test module in a way of its own. Processes that begin side by side would all compile all of
# them, which takes each of them three times as long as to collect compiled tests.
$(COMPILED): $(STAMP)
	@echo "compiling the tests, once"
	@for half in 0 1; do \
		$(BIN)/python -m pytest --collect-only -qq $$(ls -d tests/test_*.py tests/[a-z]*/ | awk "NR % 2 == $$half") >/dev/null & \
	done; wait
	@touch $(COMPILED)

# Builds the wheel and runs tests against it, installed without any extra.
test-wheel: setup
	$(BIN)/python scripts/test_wheel.py -n $(JOBS) --dist worksteal $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell arbshard supervisor configs deploy docs examples perf scripts tests *.md --skip "*.tsv,*/out"
	$(BIN)/python scripts/check_prose.py

perf: setup
	$(BIN)/python -m perf $(ARGS)

# Instructions of each stage under valgrind, against those of perf/instructions.json: what CI compares.
instructions: setup
	$(BIN)/python -m perf.instructions $(ARGS)

# Public client libraries against the embedded exchanges and a replay, each in an environment of its own.
clients: setup
	$(BIN)/python -m tests.clients $(ARGS)

# Kills every process of a live run against the simulated exchanges, then compares both to the last digit.
torture: setup
	$(BIN)/python tests/torture --kills $(N) $(if $(SEED),--seed $(SEED)) $(ARGS)

# The whole system on virtual time with faults, seed after seed, until stopped.
fuzz: setup
	$(BIN)/python -m arbshard.virtual.fuzz $(ARGS)

# Simulates several hosts with faults of hosts, network and NATS; see docs/simulation.md.
fuzz-cluster: setup
	$(BIN)/python -m arbshard.virtual.cluster.fuzz $(ARGS)

# Mutated frames and control messages into every codec and socket; `make test` takes a share of them.
fuzz-messages: setup
	$(BIN)/python tests/fuzz --cases 100000 $(if $(SEED),--seed $(SEED)) $(ARGS)

# Three hosts in network namespaces, killed, cut off and paused in turn; needs root and nats-server.
hosts: setup
	$(BIN)/python tests/several_hosts $(ARGS)

# A real run at a steady rate: memory and descriptors must stay flat.
soak: setup
	$(BIN)/python tests/soak --minutes $(MINUTES) --rate $(RATE) $(ARGS)

setup: $(STAMP) $(NATIVE)

# Ray is large (240 MB), and only sweeps over several machines need it: `make nightly` tests them.
ray: $(RAY)

$(RAY): requirements-ray.lock $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-ray.lock
	touch $(RAY)

# Python 3.11 or newer, named or found; uv when the machine has it, plain venv and pip otherwise.
$(STAMP): requirements.lock pyproject.toml scripts/setup_env.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup_env.sh
	@touch $(STAMP)

# The compiled twin of what runs at every frame. Without a compiler this says so, and everything works without it.
$(NATIVE): arbshard/_native.c scripts/build_native.py $(STAMP)
	@$(BIN)/python scripts/build_native.py $(NATIVE)

# Pins every dependency with its hashes for Python 3.11 and newer on every platform; writes no index address. The
# other files, for live orders, for sweeps on Ray and for services, have the versions of the first, with which the tests
# run.
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command 'make lock' --group build
lock: setup
	$(LOCK) --extra dev -o requirements.lock
	$(LOCK) --extra live --extra fast --constraints requirements.lock -o requirements-live.lock
	$(LOCK) --extra sweep --constraints requirements.lock -o requirements-ray.lock
	$(LOCK) --extra live --extra fast --extra metrics --extra analysis --extra alerts --extra telegram --extra cluster --constraints requirements.lock -o requirements-service.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

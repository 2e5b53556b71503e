# Two commands do everything, set-up included: `make run` and `make test`. `make help` lists the others.
#
#   PYTHON     the interpreter the virtual environment is made from (3.11 or newer)
#   VENV       where that environment is
#   ARGS       options for `bcfl run`, e.g. make run ARGS="--devices 50 --rounds 5"
#   PIP_FLAGS  options for pip; pip reads its own PIP_* variables too. On Linux the registry's torch brings
#              several GB of CUDA libraries; for the CPU build alone:
#              make run PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON    ?= python3
VENV      ?= .venv
ARGS      ?=
PIP_FLAGS ?=
WORKERS   ?= 2

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test quick matrix setup dev lint contracts gas bench bench-challenge bench-dp bench-privacy bench-robustness chaos simulate mutants docs clean

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# titanoboa's plugin of pytest hashes before bcfl can choose (bcfl/ledger/__init__.py).
export ETH_HASH_BACKEND := pysha3
# Tests start hundreds of processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

BIN     := $(VENV)/bin
RUN_SET := $(VENV)/.installed-run
DEV_SET := $(VENV)/.installed-dev

# $(call step,NAME): the title of a step of the gate.
step = @printf '\n== %s\n' '$(1)'

# $(call install,WHAT,STAMPS): the environment with WHAT in it. One dot a package; pip's own words only when it fails.
define install
$(if $(shell $(PYTHON) -c 'import sys; print("yes" * (sys.version_info >= (3, 11)))' 2>/dev/null),,$(error \
	bcfl needs Python 3.11 or newer, not '$(PYTHON)' ($(or $(shell $(PYTHON) --version 2>/dev/null),not found)): name one, as in 'make $(MAKECMDGOALS) PYTHON=python3.12'))
@printf '== installing into %s (once; a minute or two)\n' '$(VENV)'
@$(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip install --progress-bar off $(PIP_FLAGS) --editable '$(1)' \
	2>$(VENV)/pip.log | awk '/^ *Collecting/ { printf "."; fflush() } /^Installing/ { printf " unpacking"; fflush() } END { print "" }' \
	|| { cat $(VENV)/pip.log >&2; exit 2; }
@touch $(2)
endef

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

$(RUN_SET): pyproject.toml
	$(call install,.[ui],$(RUN_SET))

$(DEV_SET): pyproject.toml
	$(call install,.[dev],$(RUN_SET) $(DEV_SET))

setup: $(RUN_SET) ## the virtual environment with bcfl in it

dev: $(DEV_SET) ## the same with the compiler and the tools of the gate

run: $(RUN_SET) ## train: 20 devices, 5 miners, 10 rounds (ARGS="..." for others)
	@$(BIN)/bcfl run $(ARGS)

lint: $(DEV_SET) ## style, types and floors
	$(call step,ruff check)
	@$(BIN)/ruff check .
	$(call step,ruff format)
	@$(BIN)/ruff format --check .
	$(call step,mypy --strict)
	@$(BIN)/mypy
	$(call step,floors)
	@$(BIN)/lint-imports --no-cache --no-logo

test: lint ## the gate: lint, contracts, gas snapshot, tests with the contracts' branch coverage
	$(call step,contracts are what their sources compile to and fit EIP-170)
	@$(BIN)/python contracts/compile.py --check
	$(call step,tests)
	@$(BIN)/python -m pytest -p tests.branches --branches 95 -n $(WORKERS) --dist worksteal

quick: lint ## the quick part of the gate, some minutes: lint, and the unit tests without those of the contracts
	@$(BIN)/python -m pytest -q tests/unit --ignore=tests/unit/contracts -n $(WORKERS) --dist worksteal

docs: $(DEV_SET) ## the documentation as a site, in ./site
	@$(BIN)/mkdocs build --strict --quiet
	@printf 'site/index.html\n'

matrix: $(DEV_SET) ## every role away from every phase in every manner, some minutes
	@LIVENESS=all $(BIN)/python -m pytest -q tests/integration/test_matrix.py -n $(WORKERS) --dist loadfile

contracts: $(DEV_SET) ## compile the contracts into bcfl/ledger/artifacts
	@$(BIN)/python contracts/compile.py

gas: $(DEV_SET) ## gas per step of a round
	@$(BIN)/python -m benchmarks.gas

bench-challenge: $(DEV_SET) ## forged proposals against one honest challenger, and what a challenge costs
	@$(BIN)/python -m benchmarks.challenge $(ARGS)

bench-dp: $(DEV_SET) ## what noise costs, tells and is taken for (ARGS="--small")
	@$(BIN)/python -m benchmarks.dp $(ARGS)

bench: $(DEV_SET) ## the figures of docs/figures.md
	@$(BIN)/python -m benchmarks

chaos: $(DEV_SET) ## kill the processes of a federation at random, 20 seeds; stopped, it goes on (ARGS="--seeds 5")
	@$(BIN)/python -m tests.chaos $(ARGS)

simulate: $(DEV_SET) ## play federations in virtual time, faults by seed; stopped, it goes on (ARGS="--rounds 5000 --jobs 2")
	@$(BIN)/python -m tests.simulation $(ARGS)

mutants: $(DEV_SET) ## change the contracts by rule, tests must notice; stopped, it goes on (ARGS="--count 20")
	@$(BIN)/python -m tests.mutants $(ARGS)

bench-robustness: $(DEV_SET) ## accuracy under every attack, resumable (ARGS="--quick", "--grid", "--jobs 2")
	@$(BIN)/python -m benchmarks.robustness $(ARGS)

bench-privacy: $(DEV_SET) ## what an attacker learns of training data, a quarter of an hour (ARGS="--small", "--only membership")
	@$(BIN)/python -m benchmarks.privacy $(ARGS)

clean: ## remove the environment, caches and build output; runs stay
	@rm -rf '$(VENV)' build dist site .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

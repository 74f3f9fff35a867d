# Two commands for a newcomer: `make leaderboard` and `make test`. Both set up what they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Installed first and pinned: whatever pulls in torch later would take its largest build.
TORCH ?= torch==2.13.0
BOARD ?= leaderboards/mine
RUN ?= leaderboards/prompts/quick.toml
# More options of `kwsbench run`: make leaderboard OPTIONS="--dataset prompts/it --encoder mfcc"
OPTIONS ?=
READY := $(VENV)/.ready

.PHONY: leaderboard test check setup bench format

leaderboard: setup
	@mkdir -p $(BOARD)
	@test -e $(BOARD)/board.toml || cp $(dir $(RUN))board.toml $(BOARD)/board.toml
	@test -e $(BOARD)/run.toml || cp $(RUN) $(BOARD)/run.toml
	$(BIN)/kwsbench run $(RUN) --board $(BOARD) $(OPTIONS)
	$(BIN)/kwsbench leaderboard $(BOARD) --write
	$(BIN)/kwsbench leaderboard $(BOARD)

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/kwsbench leaderboard leaderboards/prompts --check
	$(BIN)/kwsbench ablation leaderboards/prompts --check

bench: setup
	$(BIN)/python -m benchmarks

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kwsbench needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "no venv module; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	$(BIN)/pip install --progress-bar on "$(TORCH)"
	$(BIN)/pip install --progress-bar on -e ".[dev]"
	@touch $@

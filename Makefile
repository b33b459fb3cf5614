# What people run is what CI runs. Every target sets itself up in .venv; the second time that costs nothing.
#   PYTHON  the interpreter that .venv is made from
#   TORCH   what pip installs as torch, for instance TORCH="torch==2.13.0+cu126"
PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
READY := $(VENV)/.ready
READY_ALL := $(VENV)/.ready-all
READY_DEV := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.PHONY: help demo studio glyph test test-all check format docs clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 16

demo: $(READY) ## Draw a sheet of pictures with Glyph: demo.png
	@$(BIN)/impasto demo --output demo.png

studio: PORT ?= 8080
studio: $(READY_ALL) ## Start the server and the studio, a web page: http://127.0.0.1:8080, or another PORT
	@$(BIN)/impasto serve --port $(PORT)

# On tiny models threads wait for one another longer than they work, many times longer when the machine has other work.
# Every step goes on from where it was stopped. Needs npm, which fetches the drawings.
glyph: $(READY_ALL) ## Train Glyph again from its makers' drawings, and put it into the package (hours)
	@test -d corpora/glyph || $(BIN)/impasto corpus build recipes/glyph/corpus.toml --output corpora/glyph
	@$(BIN)/impasto train autoencoder recipes/glyph/autoencoder-2.toml --corpus corpora/glyph \
		--start recipes/glyph/autoencoder --output runs/autoencoder
	@$(BIN)/impasto train model recipes/glyph/model.toml --corpus corpora/glyph --autoencoder runs/autoencoder --output runs/glyph
	@$(BIN)/impasto train words recipes/glyph/words.toml --start runs/glyph/model --output runs/words
	@$(BIN)/impasto train model recipes/glyph/model-2.toml --corpus corpora/glyph --autoencoder runs/autoencoder \
		--start runs/words/model --output runs/glyph-2
	@$(BIN)/impasto train words recipes/glyph/words.toml --start runs/glyph-2/model --output runs/words-2
	@$(BIN)/python tools/ship_glyph.py runs/words-2 corpora/glyph --earlier runs/glyph runs/words runs/glyph-2
	@$(BIN)/impasto trace index corpora/glyph --model glyph

test: export OMP_NUM_THREADS ?= 1
test: $(READY_DEV) ## Run the tests, without the slow ones
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-all: $(READY_DEV) ## Run all tests
	@$(BIN)/python -m pytest -m ""

check: $(READY_DEV) ## Check style, types, layers and that docs/cli.md is current
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/cli_reference.py --check

format: $(READY_DEV) ## Put the code into its format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY_DEV) ## Write docs/cli.md from the commands
	@$(BIN)/python tools/cli_reference.py

clean: ## Remove what the tools left behind, and .venv
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo.png
	find src tests tools -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(BIN)/python
	@echo "Installing $(TORCH) and impasto into $(VENV) (the first time takes a few minutes) ..."
	@$(PIP) install "$(TORCH)" --editable .
	@touch $@

$(READY_ALL): $(READY)
	@echo "Installing what corpora and training need ..."
	@$(PIP) install "$(TORCH)" --editable ".[all]"
	@touch $@

# torch is named again so that nothing below moves it. k-diffusion would pull in a tracker, a metrics suite and more, none of
# which its samplers need.
$(READY_DEV): $(READY)
	@echo "Installing what the tests and checks need ..."
	@$(PIP) install "$(TORCH)" --editable ".[dev]"
	@$(PIP) install --no-deps "k-diffusion==0.1.1.post1"
	@touch $@

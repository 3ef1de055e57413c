# Every target sets up what it needs in .venv; PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint format wheels clean

demo: $(STAMP)
	$(BIN)/promptlab demo

test: $(STAMP)
	$(BIN)/promptlab download smollm2
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheels: $(STAMP)
	$(BIN)/python -m build --wheel --outdir dist .
	$(BIN)/python -m build --wheel --outdir dist models/minilm

# torch comes first and pinned: its CPU build is small, an open range would bring gigabytes of CUDA
$(STAMP): pyproject.toml constraints.txt models/minilm/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]' -e models/minilm
	touch $(STAMP)

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

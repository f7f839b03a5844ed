# Needs make, git and Python >= 3.11. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test check clean
.DELETE_ON_ERROR:

demo: .venv/.ready
	$(BIN)/headforge run

test: .venv/.ready
	$(THREADS) $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

check: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# torch is installed first, by itself: its CPU and CUDA builds share a version.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "headforge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "help: choose a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo,dev]'
	$(BIN)/python -m flows.services.dvc_guard
	touch $@

clean:
	rm -rf .venv build dist *.egg-info

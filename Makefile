# Two commands do everything on a fresh clone: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/digits-rram

.PHONY: help demo test lint bench bench-fashion clean

help:
	@echo "make demo           train on digits, build one chip, settle it in ngspice, write the report"
	@echo "make test           ruff, mypy and pytest"
	@echo "make bench          the figures quoted in README and docs (minutes)"
	@echo "make bench-fashion  the same on Fashion-MNIST"
	@echo "make clean          remove the virtual environment"

# torch comes first and pinned: an unpinned install would bring gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# A missing simulator does not stop the demo: the run completes and says that it is not verified.
demo: $(VENV)/.installed
	-@scripts/system-packages.sh ngspice
	$(BIN)/equilog run digits --out $(OUT) --force
	@echo "report: $(abspath $(OUT))/report.html"

test: $(VENV)/.installed lint
	scripts/system-packages.sh ngspice
	-@scripts/system-packages.sh chromium
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/foundation.py --task digits --seeds 0 1 2 --json results/digits.json

bench-fashion: $(VENV)/.installed
	$(BIN)/python benchmarks/foundation.py --task fashion-mnist --seeds 0 --json results/fashion-mnist.json

clean:
	rm -rf $(VENV)

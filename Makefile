PYTHON ?= python3
DEMO_PORT ?= 8080
DEMO_BACKEND_PORT ?= 9090
DEMO_DIR ?= data
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:
	@echo "make setup   make .venv with everything in it; does nothing when nothing changed"
	@echo "make demo    Label Studio and PAM Studio with photographs, ready to click; Ctrl-C stops both"
	@echo "make test    lint, types and all tests, the one in a real browser too (it needs Chromium)"
	@echo "make lint    ruff and mypy alone"
	@echo "make clean   remove .venv and caches; the work in data stays"
	@echo
	@echo "Variables, as in 'make setup PYTHON=python3.12':"
	@echo "  PYTHON           the Python, 3.11 to 3.13, that .venv is made from"
	@echo "  TORCH_INDEX_URL  where pip finds torch; a machine without an NVIDIA GPU saves several GB with the CPU"
	@echo "                   wheel index that pytorch.org names under 'Get Started'"
	@echo "  DEMO_PORT, DEMO_BACKEND_PORT, DEMO_DIR   the demo's ports (8080, 9090) and its folder (data)"

setup:
	@$(PYTHON) scripts/setup.py

demo: setup
	@$(RUN) -m backend.demo --port $(DEMO_PORT) --backend-port $(DEMO_BACKEND_PORT) --data-dir $(DEMO_DIR)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m mypy

test: lint
	$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/artifacts

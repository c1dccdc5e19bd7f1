# Everything is set up in .venv; nothing else is needed but git, make and Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint lab voila bench gallery screenshots browser clean

help:
	@echo "make demo   sample six simulated jobs; charts, tables and a report in demo/"
	@echo "make test   all checks and all tests"
	@echo "make lint   the checks alone: ruff, mypy"
	@echo "make lab    the notebooks in JupyterLab"
	@echo "make voila  the live dashboard as a web page, with simulated jobs"
	@echo "make bench  speed and forecast quality, side by side with the plain ways"
	@echo "make gallery  every chart on the recorded example, in docs/gallery.md"
	@echo "make clean  remove what these made"

demo: .venv/demo
	$(BIN)/mops demo --out demo

test: .venv/dev browser lint
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/lab
	$(BIN)/mops lab

voila: .venv/voila
	$(BIN)/mops dashboard --simulate

bench: .venv/dev
	$(BIN)/python -m benchmarks
	$(BIN)/python benchmarks/eta/score.py
	$(BIN)/python benchmarks/reliability.py

gallery: .venv/dev
	$(BIN)/python docs/gallery.py

# Of the dashboard, for the documents.
screenshots: .venv/dev browser
	cd tests && ../$(BIN)/python screenshots.py

# The browser tests need Chromium. It is installed where that is possible without asking; else those tests say that they
# were skipped, and why.
browser:
	@if command -v chromium chromium-browser google-chrome >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		echo "installing Chromium for the browser tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "NO CHROMIUM: the browser tests will be skipped; install it with: sudo apt-get install chromium"; fi

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# A stamp for each set of extras: installed again only when pyproject.toml has changed.
.venv/demo: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulator]'
	@touch $@

.venv/lab: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook,simulator]'
	@touch $@

.venv/voila: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook,simulator,voila]'
	@touch $@

.venv/dev: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo mops-notebooks .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

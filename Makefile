# `make demo` and `make test` need nothing but Python 3.11 or newer and make: each sets up .venv by itself.
.POSIX:
.DEFAULT_GOAL := help
PY := .venv/bin/python
# Tests side by side: one more than two cores, since many wait for a clock or another process.
JOBS ?= 3
CORE := .venv/.installed-core
FULL := .venv/.installed-full

.PHONY: help demo test pytest fuzz lock sbom audit docs docs-check site-run notebooks wheel-test lint format types bench clean distclean

help:
	@echo "make demo       set up, then show an attack being detected (needs no camera, printer or GPU)"
	@echo "make test       set up with the tools, then lint, types and all tests"
	@echo "make fuzz       try the parsers of what strangers send with FUZZ_EXAMPLES (20000) hostile inputs each"
	@echo "make lint       ruff: check and format"
	@echo "make types      mypy, strict"
	@echo "make docs       build the documentation into build/site, strictly"
	@echo "make docs-check build it, then look at it in Chromium: links, search, menus, desktop, phone, dark"
	@echo "make site-run   a new site with one command: learnt, armed, attacked, reviewed in Chromium (ten minutes)"
	@echo "make notebooks  execute the notebooks of docs/notebooks"
	@echo "make wheel-test run the README's and the tutorial's lines, the installation too, in a fresh clone"
	@echo "make lock       pin the service's environment with hashes (locks/service.txt); make audit looks for known holes"
	@echo "make sbom       write what it is made of to build/sbom.json (CycloneDX)"
	@echo "make bench      time the classifier and the full check on this machine"
	@echo "make format     let ruff mend what it can"
	@echo "make clean      remove caches and built things; make distclean removes .venv too"

$(CORE): pyproject.toml
	@sh .ci/venv core

$(FULL): pyproject.toml
	@sh .ci/venv full

demo: $(CORE)
	@.venv/bin/taintwatch demo

test: $(FULL)
	@echo "== ruff"; $(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@echo "== mypy"; $(PY) -m mypy
	@echo "== pytest"; $(PY) -m pytest -n $(JOBS) --dist loadfile

pytest: $(FULL)
	@$(PY) -m pytest -n $(JOBS) --dist loadfile

fuzz: $(FULL)
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-20000} $(PY) -m pytest tests/test_fuzz.py --timeout 0

lint: $(FULL)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

docs: $(CORE)
	@$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "docs: build/site/index.html"

docs-check: docs $(FULL)
	@TAINTWATCH_SITE=build/site $(PY) -m pytest tests/system/test_site.py

site-run: $(FULL)
	@TAINTWATCH_SITE_RUN=build/site-run $(PY) -m pytest -s tests/system/test_first_site.py
	@echo "screenshots: build/site-run"

lock: $(CORE)
	@$(PY) -m pip install --disable-pip-version-check --quiet '.[audit]'
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet --no-header \
		--no-emit-index-url pyproject.toml --output-file locks/service.txt
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-header \
		--no-emit-index-url --constraint locks/service.txt --override locks/cpu-override.txt pyproject.toml \
		--output-file locks/service-cpu.txt
	@echo "lock: locks/service.txt, locks/service-cpu.txt (with the small ONNX Runtime)"

sbom: $(CORE)
	@$(PY) -m pip install --disable-pip-version-check --quiet '.[audit]'
	@mkdir -p build
	@.venv/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file build/sbom.json locks/service.txt
	@echo "sbom: build/sbom.json"

audit: $(CORE)
	@$(PY) -m pip install --disable-pip-version-check --quiet '.[audit]'
	@.venv/bin/pip-audit --require-hashes --disable-pip --strict --requirement locks/service.txt

notebooks: $(FULL)
	@$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[notebooks]'
	@sh .ci/notebooks

wheel-test:
	@sh .ci/wheel-test

format: $(FULL)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

types: $(FULL)
	@$(PY) -m mypy

bench: $(CORE)
	@$(PY) -m benchmarks.latency $(BENCH)

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find daemon calibration models tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf .venv

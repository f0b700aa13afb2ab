# Thin wrappers around prunebench, snakemake and pytest.
PYTHON ?= python3
PRESET ?= laptop
CORES ?= all
SNAKEMAKE = .venv/bin/snakemake --cores $(CORES)
RAW = $(if $(RAW_DATA),'raw_data=$(subst ','\'',$(RAW_DATA))')

.PHONY: help reproduce smoke figures test test-long bench gpu docs site clean

help:
	@echo "make reproduce   every table, figure and verdict of the laptop preset (minutes); PRESET=, CORES=, RAW_DATA= change it"
	@echo "make smoke       the same on bundled digits, a minute; needs no download"
	@echo "make figures     redraw the figures from the tables, without training"
	@echo "make test        the test suite"
	@echo "make test-long   its longest tests, which CI runs too: whole runs of the tutorial, of ideas, of large networks"
	@echo "make bench       speed and memory against references"
	@echo "make gpu         on a machine with a GPU: its tests, its speed, the cifar preset, in eight minutes; docs/gpu.md"
	@echo "make docs        the documents that are generated from the code"
	@echo "make site        the documents as a website, in build/site"

reproduce: .venv/installed
	@.venv/bin/prunebench run $(PRESET) $(if $(filter-out all,$(CORES)),--cores $(CORES)) $(RAW)

smoke:
	@$(MAKE) --no-print-directory reproduce PRESET=smoke

figures: .venv/installed
	$(SNAKEMAKE) figures --config preset=$(PRESET) $(RAW)

# A file's tests run in one process, which shares its fixtures. Files start in the order of `testpaths`, the longest
# first; pytest-xdist would start with those of most tests.
PYTEST = .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: .venv/installed
	$(PYTEST)

test-long: .venv/installed
	$(PYTEST) -m long

bench: .venv/installed
	.venv/bin/python benchmarks/training_step.py
	.venv/bin/python benchmarks/optimizer_step.py
	.venv/bin/python benchmarks/streaming.py
	.venv/bin/python benchmarks/saving.py

# No .venv here: such a machine may have no network, and a torch of its own.
gpu:
	PYTHON=$(if $(wildcard .venv/installed),.venv/bin/python,$(PYTHON)) benchmarks/gpu.sh

docs: .venv/installed
	.venv/bin/prunebench document
	{ printf '# The rules of the smoke preset\n\nDrawn by `make docs`.\n\n```mermaid\n'; \
	  $(SNAKEMAKE) --quiet --rulegraph mermaid-js --config preset=smoke; printf '```\n'; } > docs/rules.md

site: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "prunebench needs Python 3.11 to 3.13, $(PYTHON) is another; set PYTHON=python3.12, say"; exit 2; }
	@echo "prunebench: creating .venv with the versions of constraints.txt (once; a few minutes, 6 GB)"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .snakemake

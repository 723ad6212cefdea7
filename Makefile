# `make run` and `make test` are what to begin with. All but clean make the virtual environment first.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs
BIN = $(VENV)/bin/python
SA_VAE = $(RUN)/synthetic-oracle-sa_vae-1
VAE = $(RUN)/synthetic-oracle-vae-1

.PHONY: run test lint slow torture install-hashed clean

run: $(VENV)/installed
	$(BIN) bin/train.py --flagfile=synthetic.flags --run_dir=$(SA_VAE)
	$(BIN) bin/train.py --flagfile=synthetic.flags --method=vae --run_dir=$(VAE)
	$(BIN) bin/evaluate.py --run_dir=$(VAE)
	$(BIN) bin/evaluate.py --run_dir=$(SA_VAE)
	$(BIN) bin/analyze.py --run_dir=$(SA_VAE) --compare=$(VAE)

# A file of tests stays in one process, which makes what its tests share once.
test: $(VENV)/installed
	$(BIN) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

# The long tests: kills and restarts, memory, full disk.
slow: $(VENV)/installed
	$(BIN) -m pytest -m slow

# Kills, damages, fills, starves and resumes; prints a table. Its figures are in RELIABILITY.md.
torture: $(VENV)/installed
	$(BIN) -m tests.torture

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy sa_vae_tf bin

$(VENV)/installed: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 10) <= v < (3, 14) or sys.exit("Python %d.%d: expected 3.10 to 3.13; give another by make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# An environment of files whose checksums are known, whatever a package index says.
install-hashed:
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r constraints-hashed.txt
	$(BIN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(VENV)/installed

# Prepared data stays where TensorFlow Datasets keeps it, or where --data_dir said.
clean:
	rm -rf $(VENV) runs
	@echo "Prepared data stays in $${TFDS_DATA_DIR:-~/tensorflow_datasets}, or in the --data_dir that was given."

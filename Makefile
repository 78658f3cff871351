# `make demo` and `make test` need Python 3.11 or newer and the network. Everything goes into .venv and .demo.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The first Python that is new enough; looked for only when the virtual environment is made.
PYTHON = $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

.PHONY: help demo install lint test soak docs constraints clean

help:
	@echo "make demo    run a JupyterHub with everything set up, until Ctrl-C (ARGS='--port 8010 --users ann,ben')"
	@echo "make test    run the linters and all tests (ARGS='tests/unit -k presence' for some)"
	@echo "make soak    drive servers, files and the Y.js server through random attacks (RUNS=300 SECONDS=600)"
	@echo "make lint    run the linters alone"
	@echo "make docs    build the documentation: build/docs/index.html"
	@echo "make constraints  choose the newest versions that the images in deploy/ may be built with"
	@echo "make clean   remove what these have made: $(VENV), .demo"

demo: $(INSTALLED)
	@$(BIN)/jupyter-rtc demo --dir .demo $(ARGS)

# The tests of one file run in one process, which shares its demo among files; those that take long come first. Some
# wait more than they work: one process more than there are cores.
WORKERS ?= 3
test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# As long as one likes: RUNS=2000.
RUNS ?= 300
SECONDS ?= 600
soak: $(INSTALLED)
	RTC_SOAK_RUNS=$(RUNS) $(BIN)/python -m pytest tests/integration/test_simulation.py \
		tests/integration/test_mounts_attack.py -x -q -o faulthandler_timeout=0
	RTC_SOAK_SECONDS=$(SECONDS) RTC_SOAK_IDLE=2000 $(BIN)/python -m pytest tests/integration/test_yjs_soak.py -x -q -o faulthandler_timeout=0

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs
	@echo "file://$(CURDIR)/build/docs/index.html"

# Each image names its own jupyterhub: on Kubernetes it must be the chart's.
constraints: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
		--no-emit-package jupyterhub --no-emit-package jupyter-rtc-amprenta \
		--output-file deploy/jupyterhub/constraints.txt deploy/jupyterhub/constraints.in

install: $(INSTALLED)

# Again whenever what is to be installed has changed; the code itself is used where it lies.
$(INSTALLED): pyproject.toml etc/jupyter/jupyter_server_config.d/jupyter_rtc_amprenta.json \
		$(shell find jupyter_rtc_amprenta/labextension -type f) | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[service,demo,test]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed, and none was found (PYTHON=… names one)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .demo

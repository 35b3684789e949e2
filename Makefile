# A newcomer needs only make lab and make test; docs/installing.md ("Without make") has the plain commands behind them.

PYTHON ?= python3
VENV   ?= .venv
BIN    := "$(VENV)/bin"
# In a target a space must be written "\ ", for a folder with a space in its name.
EMPTY  :=
READY  := $(subst $(EMPTY) ,\ ,$(VENV))/.ready
# What JupyterLab is told where LAB does not: it refuses an option that comes twice, as --ip=0.0.0.0
# and --ServerApp.ip=127.0.0.1 would. `part` is the last part of a name, ip in both.
USUAL  := --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks --ServerApp.ip=127.0.0.1
part    = $(notdir $(subst .,/,$(subst --,/,$(firstword $(subst =, ,$(1))))))
GIVEN  := $(subst notebook-dir,root_dir,$(foreach word,$(LAB),$(call part,$(word))))

# Memory in pages of 2 MiB (glibc; docs/installing.md, "Threads").
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: help lab test test-browser notebooks site bench recorded clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 18

lab: $(READY) ## JupyterLab on the notebooks; LAB="--port 9000" passes options on
	@echo "opening JupyterLab on notebooks/; its address is printed below; Ctrl-C twice ends it"
	$(BIN)/jupyter lab $(foreach usual,$(USUAL),$(if $(filter $(call part,$(usual)),$(GIVEN)),,$(usual))) \
	  $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(LAB)

# Two processes with one torch thread each use two cores better than one process with two threads.
# loadscope keeps a notebook on one kernel and a test file in one process; in their order.
test: $(READY) ## lint, unit tests, all notebooks compared with their outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval -n 2 --dist loadscope --no-loadscope-reorder

test-browser: $(READY) ## every notebook and the site in a real Chromium; apt install chromium npm
	$(BIN)/pytest -m browser

notebooks: $(READY) ## run the notebooks and write their outputs; ONLY="01 03" runs these
	$(BIN)/python tools/run_notebooks.py $(ONLY)

site: $(READY) ## the series as pages, into _site; apt install npm makes 01's page compute
	$(BIN)/sphinx-build -q -W --keep-going docs _site
	@echo "open _site/index.html"

bench: $(READY) ## measure and write benchmarks/results.json; QUICK=1 only prints, in three minutes
	$(BIN)/python -m benchmarks.toy $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.steps $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.speed $(if $(QUICK),--quick,--record)

recorded: $(READY) ## make a study as the recorded one, in runs/: some 15 hours
	$(BIN)/python -m dartslib study --profile lesson --seeds 3

clean: ## remove caches, but not the environment, data and runs
	rm -rf .pytest_cache .ruff_cache .hypothesis ./*.egg-info
	find . -type d \( -path "./$(VENV)" -o -exec test -f {}/pyvenv.cfg \; \) -prune -o \
	  -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# An existing environment is completed, not replaced, so you can install the CPU build of torch first.
# With the stamp, a complete environment needs no time and no network.
$(READY): pyproject.toml
	@[ -x $(BIN)/pip ] || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])' && \
	  echo "creating $(VENV): takes minutes, and about 6 GB with the default torch on Linux" && \
	  $(PYTHON) -m venv "$(VENV)"; }
	@echo "installing what $(VENV) lacks"
	$(BIN)/python -m pip install -e '.[dev]' || { echo "pip could not install all of it. If it finds no\
 torch, this Python may be too new: remove $(VENV), then try make PYTHON=python3.13; or the machine\
 is an Intel Mac: see docs/installing.md" >&2; exit 1; }
	@touch "$(VENV)/.ready"

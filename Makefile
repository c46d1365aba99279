# Two commands: `make demo` and `make test`. Both need Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test lint types check clean

demo: $(VENV)/.demo
	$(BIN)/qdeploy export qwen3-nano --target cpu -o $(DEMO)/qwen3-nano --force
	$(BIN)/qdeploy run $(DEMO)/qwen3-nano "What is 48261 + 7354?" --think --seed 1

# In the order of the folders: the longest tests come early in it, and not last to one worker.
test: $(VENV)/.toy
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types test

# Where git was told to make no symbolic links, it leaves their text instead.
.PHONY: links
links:
	@for name in backends exporters profiles; do \
	  [ -d qdeploy/$$name ] || ln -sfn ../$$name qdeploy/$$name; \
	done

# A stamp file each, so that the second run starts at once.
$(VENV)/.demo: pyproject.toml | links
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[openvino]'
	touch $@

$(VENV)/.dev: pyproject.toml | links
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[optimum,webgpu,onnx-openvino,parity,serve,dev]'
	touch $@ $(VENV)/.demo

# The toy is installed as a third party's package is, so a change to its files takes an installation.
$(VENV)/.toy: $(VENV)/.dev $(wildcard tests/toy_backend/*.py tests/toy_backend/*.toml)
	$(BIN)/python -m pip install --quiet ./tests/toy_backend
	rm -rf tests/toy_backend/build tests/toy_backend/*.egg-info
	touch $@

# vLLM for CPUs in an environment of its own: 3.4 GB, a minute and a half. Tests that find none skip.
.PHONY: engine
engine: $(VENV)/.dev
	$(BIN)/qdeploy engine install vllm --target cpu --ray

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info

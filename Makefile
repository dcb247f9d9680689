# Two commands are enough: `make repro` (set up, then everything) and `make test` (set up, then all tests).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

# Stage code, although none of its dependencies may have changed: the versions of libraries are none. In a second.
CODE := $(if $(wildcard dvc.lock),dvc repro --quiet --force --single-item code)

.PHONY: help setup other-paddle other-python repro status flow experiments serve docs test check format lock
help:            ## list the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## */\1\t/' | expand -t 10

# cpu | gpu: which Paddle the environment has. Chosen once (`make setup PADDLE=gpu`), then kept. The GPU wheel is in no
# lock, because only Paddle's own index has it (for CUDA 12.6; PADDLE_INDEX=.../cu118/ for 11.8).
PADDLE_INDEX ?= https://www.paddlepaddle.org.cn/packages/stable/cu126/
BUILT := $(shell cat .venv/ready 2>/dev/null)
PADDLE ?= $(or $(BUILT),cpu)
ifeq ($(filter cpu gpu,$(PADDLE)),)
$(error PADDLE is "$(PADDLE)", but it is cpu or gpu)
endif

# Python 3.11 or 3.12: the first of these that can make an environment. Chosen once (`make setup PYTHON=python3.12`), then
# kept.
PYTHONS := $(wildcard .venv/bin/python) python3.11 python3.12 python3
CAN_MAKE = $(1) -c 'import ensurepip, sys, venv; v = sys.version_info[:2]; \
	assert (3, 11) <= v <= (3, 12); print("%d.%d" % v)' 2>/dev/null
ifeq ($(origin PYTHON),undefined)
PYTHON = $(shell for p in $(PYTHONS); do if $(call CAN_MAKE,$$p) >/dev/null; then echo $$p; break; fi; done)
else
OTHER_PYTHON := $(if $(wildcard .venv/bin/python),$(filter-out $(shell $(call CAN_MAKE,.venv/bin/python)),$(shell $(call CAN_MAKE,$(PYTHON)))))
endif
define NO_PYTHON
$(if $(PYTHON),$(PYTHON) is no Python 3.11 or 3.12 that can make environments (modules venv and ensurepip),there is no \
Python 3.11 or 3.12 that can make environments: looked for $(strip $(PYTHONS))). Install one (docs/platforms.md says how: Debian \
and Ubuntu `apt-get install python3.11-venv` or `python3.12-venv`, macOS `brew install python@3.12`), or say where \
one is: make setup PYTHON=/path/to/python3.12
endef

LOCK := requirements$(if $(filter gpu,$(PADDLE)),-gpu).lock
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check

setup: .venv/ready  ## make .venv from the hash-locked requirements (PADDLE=gpu: for a GPU)
.venv/ready: $(LOCK) pyproject.toml $(if $(filter $(PADDLE),$(BUILT)),,other-paddle) $(if $(OTHER_PYTHON),other-python)
	$(if $(shell $(call CAN_MAKE,$(or $(PYTHON),false))),,$(error $(NO_PYTHON)))
	$(PYTHON) -m venv$(if $(OTHER_PYTHON), --clear) .venv
	$(PIP) uninstall --quiet --yes $(if $(filter gpu,$(PADDLE)),paddlepaddle,paddlepaddle-gpu)
	$(PIP) install --require-hashes -r $(LOCK)
	$(if $(filter gpu,$(PADDLE)),$(PIP) install paddlepaddle-gpu==3.2.2 --index-url $(PADDLE_INDEX))
	$(PIP) install --no-deps --no-build-isolation -e .
	echo $(PADDLE) > .venv/ready
	-$(CODE)
other-paddle other-python:

repro: setup     ## the whole pipeline, from videos to the report
	pptsm check  # DVC reads params.yaml before any stage can say what is wrong there
	$(CODE)
	dvc repro

status: setup    ## what `dvc repro` would do, by the code and the libraries as they are now
	$(CODE)
	dvc status

flow: setup      ## the same through Prefect: server on loopback, worker, one watched run
	$(CODE)
	python -m pptsm.orchestration.server

experiments: setup  ## compare the experiments of the last commit: pptsm compare
	pptsm compare

serve: setup     ## server and worker, until Ctrl-C; then: prefect deployment run train-pptsm --watch
	python -m pptsm.orchestration.server --stay

docs: setup      ## the guide, one folder that opens from disk: site/index.html
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --config-file docs/guide/mkdocs.yml
	@echo "open site/index.html"

test: setup      ## all tests, the slow ones too, in two processes
	python -m pytest -n 2

check: setup     ## formatting, lint, layers and types
	ruff format --check .
	ruff check .
	lint-imports
	mypy

format: setup    ## put the code in form
	ruff format .
	ruff check --fix .

# One lock for both Pythons, for Linux and macOS, on x86-64 and arm64: its lines have markers, and no address of an index.
RESOLVE := uv pip compile pyproject.toml --universal --python-version 3.11 --extra pipeline --extra flows --extra cpu --extra openvino --extra service \
	--extra tuning --extra mlflow --extra hub --extra docs --extra dev --generate-hashes --no-header
lock: setup      ## resolve both lock files anew (needs uv); beside its CUDA, the GPU wheel needs what the CPU's does
	$(RESOLVE) -o requirements.lock
	cp requirements.lock requirements-gpu.lock  # the versions that are preferred
	$(RESOLVE) --no-emit-package paddlepaddle --no-annotate -o requirements-gpu.lock

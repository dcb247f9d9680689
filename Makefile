# Two commands are enough: `make repro` (set up, then everything) and `make test` (set up, then all tests).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

# Stage code, although none of its dependencies may have changed: the versions of libraries are none. In a second.
CODE := $(if $(wildcard dvc.lock),dvc repro --quiet --force --single-item code)

.PHONY: help setup other-paddle repro status flow experiments serve test check format lock
help:            ## list the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## */\1\t/' | expand -t 10

# cpu | gpu: which Paddle the environment has. Chosen once (`make setup PADDLE=gpu`), then kept. The GPU wheel is in no
# lock, for only Paddle's own index has it (for CUDA 12.6; PADDLE_INDEX=.../cu118/ for 11.8).
PADDLE_INDEX ?= https://www.paddlepaddle.org.cn/packages/stable/cu126/
BUILT := $(shell cat .venv/ready 2>/dev/null)
PADDLE ?= $(or $(BUILT),cpu)
ifeq ($(filter cpu gpu,$(PADDLE)),)
$(error PADDLE is "$(PADDLE)", but it is cpu or gpu)
endif
LOCK := requirements$(if $(filter gpu,$(PADDLE)),-gpu).lock
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check

setup: .venv/ready  ## make .venv from the hash-locked requirements (PADDLE=gpu: for a GPU)
.venv/ready: $(LOCK) pyproject.toml $(if $(filter $(PADDLE),$(BUILT)),,other-paddle)
	$(PYTHON) -m venv .venv
	$(PIP) uninstall --quiet --yes $(if $(filter gpu,$(PADDLE)),paddlepaddle,paddlepaddle-gpu)
	$(PIP) install --require-hashes -r $(LOCK)
	$(if $(filter gpu,$(PADDLE)),$(PIP) install paddlepaddle-gpu==3.2.2 --index-url $(PADDLE_INDEX))
	$(PIP) install --no-deps --no-build-isolation -e .
	echo $(PADDLE) > .venv/ready
	-$(CODE)
other-paddle:

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

experiments: setup  ## what the experiments changed and what came of it, in 120 columns
	python flows/compare.py

serve: setup     ## server and worker, until Ctrl-C; then: prefect deployment run train-pptsm --watch
	python -m pptsm.orchestration.server --stay

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

RESOLVE := uv pip compile pyproject.toml --extra cpu --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header --allow-unsafe
lock: setup      ## resolve both lock files anew (needs uv); beside its CUDA, the GPU wheel needs what the CPU's does
	$(RESOLVE) -o requirements.lock
	$(RESOLVE) --constraint requirements.lock --no-emit-package paddlepaddle --no-annotate -o requirements-gpu.lock

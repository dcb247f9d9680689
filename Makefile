# Two commands are enough: `make repro` (set up, then everything) and `make test` (set up, then all tests).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help setup repro flow serve test check format lock
help:            ## list the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## */\1\t/' | expand -t 10

setup: .venv/ready  ## make .venv from the hash-locked requirements
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch .venv/ready

repro: setup     ## the whole pipeline, from videos to the report
	dvc repro

flow: setup      ## the same through Prefect: server on loopback, worker, one watched run
	python flows/watched.py

serve: setup     ## server and worker, until Ctrl-C; then: prefect deployment run train-pptsm --watch
	python flows/watched.py --stay

test: setup      ## all tests, the slow ones too, in two processes
	python -m pytest -n 2

check: setup     ## formatting, lint and types
	ruff format --check .
	ruff check .
	mypy

format: setup    ## put the code in form
	ruff format .
	ruff check --fix .

lock: setup      ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra cpu --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header --allow-unsafe -o requirements.lock

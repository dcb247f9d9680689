"""Outputs that are whole or absent, and the folder for everything that outlives a run."""

import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path` in one step, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_of(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success it replaces `path`, on failure it is removed."""
    partial = _partial_of(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        remove_tree(path)
        partial.replace(path)
    finally:
        remove_tree(partial)


def _partial_of(path: Path) -> Path:
    """A temporary name beside `path` for this process; what killed processes left under theirs is removed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        process = left.name.split(".")[-2]
        if not process.isdigit() or int(process) == os.getpid() or not psutil.pid_exists(int(process)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_dir(kind: str) -> Path:
    """The folder for finished work that later runs may take up: probes, frame archives, training states.

    It is no output of any stage, so DVC leaves it alone when it empties a stage's outputs. Everything in
    it is keyed by content; it may be deleted at any time and costs only work done again. `PPTSM_STATE`
    names another place than `.pptsm` below the working folder.
    """
    folder = Path(os.environ.get("PPTSM_STATE", ".pptsm")) / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder

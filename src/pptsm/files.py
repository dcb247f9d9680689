"""Outputs that are whole or absent, and the folder for everything that outlives a run."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path` in one step, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # a killed run may have left one
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success it replaces `path`, on failure it is removed."""
    partial = path.with_name(f".{path.name}.partial")
    remove_tree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        remove_tree(path)
        partial.replace(path)
    finally:
        remove_tree(partial)


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

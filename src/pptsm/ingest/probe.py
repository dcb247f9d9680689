"""Probing: what decoding a whole video showed, on all cores, each file's work done only once.

What was found is kept by the file's content and the decoders' versions, so that a new index decodes new files only.
"""

import sqlite3
import zlib
from contextlib import closing, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import diskcache
import pandas as pd

from pptsm.console import note, progress
from pptsm.data.folders import content_of, probe_clip
from pptsm.data.video import Probe, VideoError, name_fault
from pptsm.files import naming_full_disk, remove, state_dir
from pptsm.params import Index
from pptsm.workers import Unfinished, killable

PROBE_VERSION = 2  # raise it when a probe finds out other things: stored ones are then not used


def probe_all(paths: list[Path], params: Index, workers: Literal["auto"] | int) -> pd.DataFrame:
    """Decode every file and say what is in it; files that were decoded before are known.

    Args:
        paths: the files.
        params: section index.
        workers: processes that probe.

    Returns:
        A row for each path, in their order: the fields of `Probe`, duration_sec, size_bytes and sha256.
    """
    rows = []
    _remove_if_damaged(state_dir("probes"))
    note(f"index: decoding {len(paths)} videos to count their frames; what was decoded before is known")
    found = killable(_hash_and_probe, [(path,) for path in paths], workers, params.probe_timeout_sec)
    for path, answer in zip(paths, progress(found, "index", "videos", total=len(paths)), strict=True):
        digest, size, result = _broken(path, answer.reason) if isinstance(answer, Unfinished) else answer
        row = {"duration_sec": result.duration_sec, "size_bytes": size, "sha256": digest}
        rows.append(asdict(result) | row)
    return pd.DataFrame(rows)


def _hash_and_probe(path: Path) -> tuple[str, int, Probe]:
    """Runs in a worker. Decoding is skipped where the same bytes were probed before by the same decoders."""
    if fault := name_fault(path):
        return "", 0, Probe.unreadable(fault)
    try:
        digest, size = content_of(path)
    except OSError as error:
        return "", 0, Probe.unreadable(f"cannot be read: {error.strerror}")
    except VideoError as error:
        return "", 0, Probe.unreadable(str(error))
    key = f"{PROBE_VERSION}-{version('decord')}-{version('av')}-{digest}"
    store = state_dir("probes")
    # what the store cannot give or keep costs only the decoding
    with (
        suppress(KeyError, sqlite3.Error, diskcache.Timeout, zlib.error, ValueError, TypeError),
        _opened(store) as known,
    ):
        return digest, size, Probe(**known[key])
    result = probe_clip(path)
    with suppress(sqlite3.Error, diskcache.Timeout), naming_full_disk(store), _opened(store) as known:
        known.set(key, asdict(result))
    return digest, size, result


def _opened(store: Path) -> diskcache.Cache:
    return diskcache.Cache(str(store), disk=diskcache.JSONDisk)


def _remove_if_damaged(store: Path) -> None:
    """Probes that cannot be read are forgotten; a store that is only in use, or on a full disk, is not."""
    file = store / diskcache.core.DBNAME
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file)) as database:
            damaged = database.execute("PRAGMA quick_check").fetchone() != ("ok",)
    except sqlite3.Error as error:
        primary = error.sqlite_errorcode & 0xFF
        damaged = file.is_dir() or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    if damaged:
        note(f"index: the probes in {store} are damaged and forgotten: all videos are decoded again")
        remove(store)


def _broken(path: Path, reason: str) -> tuple[str, int, Probe]:
    try:
        return *content_of(path), Probe.unreadable(reason)
    except (OSError, VideoError):
        return "", 0, Probe.unreadable(reason)

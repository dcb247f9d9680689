"""Probing: what decoding a whole video showed, on all cores, each file's work done only once.

What was found is kept by the file's content, the code that probes and the decoders' versions, so that a new index
decodes new files only.
"""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pandas as pd

from pptsm.params.schema import Index
from pptsm.runtime import fingerprint
from pptsm.runtime.console import note, progress
from pptsm.runtime.files import atomic_file, remove, state_dir
from pptsm.runtime.jobs import Workers, run_jobs
from pptsm.runtime.pool import TIMED_OUT, JobFailure, limit_memory, watchdog
from pptsm.video.image_sequence import hash_of, probe_clip, size_of
from pptsm.video.types import Probe, VideoError, kind_fault, name_fault
from pptsm.video.video import silence_sec


def probe_all(paths: list[Path], params: Index, workers: Workers) -> pd.DataFrame:
    """Decode every file and say what is in it; files that were decoded before are known.

    Args:
        paths: the files.
        params: section index.
        workers: processes that probe.

    Returns:
        A row for each path, in their order: the fields of `Probe`, size_bytes and sha256.
    """
    note(f"index: decoding {len(paths)} videos to count their frames; what was decoded before is known")
    jobs = [(path, silence_sec(path, params.probe_timeout_sec)) for path in paths]
    found = run_jobs(_hash_and_probe, jobs, workers, timeout_sec=None, prepare=limit_memory)
    answers = list(progress(found, "index", "videos", total=len(paths)))
    broken = [job for job, answer in zip(jobs, answers, strict=True) if isinstance(answer, JobFailure)]
    digests = run_jobs(_digest_if_any, broken, workers, timeout_sec=None)  # not here: reading them may hang, too
    rows = []
    for (path, limit_sec), answer in zip(jobs, answers, strict=True):
        digest, result = _broken(answer, next(digests), limit_sec) if isinstance(answer, JobFailure) else answer
        rows.append(asdict(result) | {"size_bytes": _size_of(path), "sha256": digest})
    return pd.DataFrame(rows)


def _hash_and_probe(path: Path, limit_sec: float) -> tuple[str, Probe]:
    """Runs in a worker. Decoding is skipped where the same bytes were probed before by the same decoders."""
    if fault := name_fault(path) or kind_fault(path):
        return "", Probe.unreadable(fault)
    try:
        digest = _digest(path, limit_sec)
    except OSError as error:
        return "", Probe.unreadable(f"cannot be read: {error.strerror}")
    except VideoError as error:
        return "", Probe.unreadable(str(error))
    stored = _stored(digest)
    if (known := _read(stored)) is not None:
        return digest, known
    with watchdog(limit_sec):
        result = probe_clip(path, decord=True)  # the dataset is one's own; elsewhere decord opens nothing
    with atomic_file(stored, settle=False) as partial:
        partial.write_text(json.dumps(asdict(result)), encoding="utf-8")
    return digest, result


def _digest(path: Path, limit_sec: float) -> str:
    with watchdog(limit_sec):
        return hash_of(path)


def _digest_if_any(path: Path, limit_sec: float) -> str:
    try:
        return _digest(path, limit_sec)
    except (OSError, VideoError):  # it went while it was decoded
        return ""


def _stored(digest: str) -> Path:
    return state_dir("probes") / _made_by() / digest[:2] / f"{digest}.json"


@cache
def _made_by() -> str:
    return fingerprint.digest_of(fingerprint.of_files("video/image_sequence.py"))


def _read(stored: Path) -> Probe | None:
    """A probe of an earlier run; None where there is none, or none that can be read."""
    try:
        return Probe(**json.loads(stored.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        note(f"index: the probe {stored} is damaged and forgotten: its video is decoded again")
        remove(stored)
        return None


def _broken(unfinished: JobFailure, digest: str | JobFailure, limit_sec: float) -> tuple[str, Probe]:
    silent = f": nothing came of it for {limit_sec:.0f} s" if unfinished == TIMED_OUT else ""
    return "" if isinstance(digest, JobFailure) else digest, Probe.unreadable(f"{unfinished.reason}{silent}")


def _size_of(path: Path) -> int:
    try:
        return size_of(path)
    except (OSError, VideoError):  # it went while the others were decoded
        return 0

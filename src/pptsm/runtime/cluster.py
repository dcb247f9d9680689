"""Jobs on the machines of a Dask cluster that runs already (`compute.cluster`), with the results that they have here.

A worker of the cluster decodes nothing itself: it hands each job to a process of a pool that it keeps for this run. So
what hangs or crashes is ended there as it is here, and a worker that dies takes its processes with it; Dask gives its
jobs to another. The processes work in the folder in which the command was typed, with its PPTSM_STATE: all machines see
the project, the videos and the state at the same paths, and have the same code and decoders, or a sentence says who
has not.
"""

import logging
import os
import pickle
import platform
import secrets
import socket
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from multiprocessing import current_process
from pathlib import Path
from typing import Any, TypeVar

from pebble import ProcessPool

from pptsm.runtime import fingerprint
from pptsm.runtime.errors import UserError
from pptsm.runtime.extras import require
from pptsm.runtime.files import state_dir
from pptsm.runtime.pool import JobFailure, outcome, process_pool, was_ended

CONNECT_SEC = 10
LOOK_SEC = 5  # between two looks at whether there is still a worker
ALONE_SEC = 60  # without any worker; one that was ended may be started anew
END_SEC = 1  # between two looks at whether a job's command was ended
JOBS_AHEAD = 1000  # handed out; the rest waits here

# What decides what a job does, with all that these import; and what carries it.
CODE = ("runtime/pool.py", "runtime/cluster.py", "frames/extract.py", "ingest/time_spans.py", "ingest/probe.py")
PACKAGES = ("distributed", "dask", "pebble")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Run:
    """What the workers must know of the command that they work for."""

    id: str
    folder: str  # in which it was typed
    state: str | None  # PPTSM_STATE
    token: Path  # a file of this run in the state folder: who sees it sees the same folder
    made_with: dict[str, str]
    prepare: bytes  # a pickled function, or None, and its arguments: only processes with the code of now unpack them


def on_cluster(
    address: str,
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    timeout_sec: float | None,
    prepare: Callable[..., None] | None,
    prepare_with: tuple[Any, ...],
) -> Iterator[Result | JobFailure]:
    """`jobs.run_jobs` on the cluster whose scheduler is at `address`.

    Raises:
        UserError: no scheduler or worker is there or left, or one that cannot do what would be done here.
        Exception: whatever `work` raises.
    """
    with _connected(address) as client, _begun(prepare, prepare_with) as run:
        waiting, to_come = deque[Any](), iter(jobs)
        try:
            while True:
                for job in islice(to_come, JOBS_AHEAD - len(waiting)):
                    order = pickle.dumps((work, job))
                    waiting.append(client.submit(_do, run, order, timeout_sec, _facts_of_files(job), pure=False))
                if not waiting:
                    return
                answer = _result(client, waiting.popleft(), address)
                yield answer if isinstance(answer, JobFailure) else pickle.loads(answer)
        finally:
            with suppress(Exception):  # workers that went meanwhile
                client.cancel(list(waiting), force=True)
                client.run(_end, run.id, on_error="ignore")


@contextmanager
def _begun(prepare: Callable[..., None] | None, prepare_with: tuple[Any, ...]) -> Iterator[Run]:
    token = state_dir("cluster").absolute() / secrets.token_hex(8)
    token.touch()
    try:
        state = os.environ.get("PPTSM_STATE")
        yield Run(token.name, str(Path.cwd()), state, token, _made_with(), pickle.dumps((prepare, prepare_with)))
    finally:
        token.unlink(missing_ok=True)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    require(f"compute.cluster ({address})", ["cluster"])
    from distributed import Client

    for name in (name for name in logging.root.manager.loggerDict if name.startswith("distributed")):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what matters is said in a sentence
    client = _in_time(Client, address)
    try:
        _require_workers(client, address)
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=CONNECT_SEC)


def _in_time(connect: Callable[..., Any], address: str) -> Any:
    """A client; Dask itself waits for ever where something else than a scheduler listens."""
    found: list[Any] = []

    def try_it() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions: compared below
            try:
                found.append(connect(address, timeout=CONNECT_SEC, set_as_default=False))
            except Exception as error:  # OSError, ValueError and what other versions raise
                found.append(error)

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(2 * CONNECT_SEC)
    if not found or isinstance(found[0], Exception):
        why = str(found[0]) if found else f"what listens there gave no answer in {2 * CONNECT_SEC} s"
        raise UserError(
            f"compute.cluster is {address}, but no Dask scheduler can be reached there from {socket.gethostname()} "
            f"({why}). Start one with `dask scheduler` and workers with `dask worker`, of the version that is here "
            f"({version('distributed')}), or set compute.cluster to null: then the cores here do the work."
        )
    return found[0]


def _require_workers(client: Any, address: str) -> None:
    """Wait for a worker, and refuse those that could not even read what they are sent: it would end them."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SEC)
        found = client.get_versions()
        modules = client.run(find_spec, "pptsm.runtime.cluster", on_error="return")
    except Exception as error:  # TimeoutError, and what a scheduler of another version makes of the question
        raise _no_workers(address, f"none in {CONNECT_SEC} s: {error}") from None
    own = found["client"]["packages"]
    for name, at in {"the scheduler": found["scheduler"], **found["workers"]}.items():
        for what in ("python", "dask", "distributed"):
            there = ((at or {}).get("packages") or {}).get(what)
            _require_equal(what, there, own[what], f"{name} of compute.cluster")
    for name, module in modules.items():
        if module is None or isinstance(module, Exception):
            raise UserError(f"{name} of compute.cluster cannot import pptsm.runtime.cluster ({module}): {REMEDY}")


REMEDY = "start it in an environment made by `make setup` from the same checkout (docs/operations.md)."


def _require_equal(what: str, there: object, here: object, name: str) -> None:
    if there != here:
        raise UserError(
            f"{name} has {what} {there}, but here it is {here}: what is decoded there would not be the same. "
            f"Not started anew since the code changed, or of another environment: {REMEDY}"
        )


def _no_workers(address: str, found: str) -> UserError:
    return UserError(
        f"compute.cluster is {address}, but its scheduler has no worker for the jobs ({found}). Start workers with "
        f"`dask worker {address}`, or set compute.cluster to null: then the cores here do the work."
    )


def _result(client: Any, future: Any, address: str) -> bytes | JobFailure:
    """What became of a job; whoever did it, as often as its workers were lost."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    alone_sec = 0
    while True:
        try:
            answer: bytes | JobFailure = future.result(timeout=LOOK_SEC)
            return answer
        except TimeoutError:
            alone_sec = 0 if _has_workers(client) else alone_sec + LOOK_SEC
            if alone_sec >= ALONE_SEC:
                raise _no_workers(address, f"none for {ALONE_SEC} s; they were ended") from None
        except KilledWorker as error:
            raise UserError(
                f"worker after worker of compute.cluster {address} died at the same job ({error})."
            ) from None
        except (FutureCancelledError, CommClosedError) as error:
            raise UserError(
                f"the scheduler {address} of compute.cluster is gone ({error}). What was done is kept: start it and "
                "its workers again, and the same command goes on."
            ) from None
        except ModuleNotFoundError as error:
            raise UserError(f"a worker of compute.cluster {address} lacks a module ({error}): {REMEDY}") from None


def _has_workers(client: Any) -> bool:
    try:
        return bool(client.nthreads())
    except Exception:  # while it looks for its scheduler
        return False


# ---- on a worker of the cluster -------------------------------------------------------------------------------------


@dataclass
class _Pool:
    processes: ProcessPool
    jobs: int = 0


_pools: dict[str, _Pool] = {}  # by run
_lock = threading.Lock()


def _do(
    run: Run, order: bytes, timeout_sec: float | None, files: list[tuple[Path, tuple[int, bool]]]
) -> bytes | JobFailure:
    """In a thread of a worker: have a process of its pool do a job; the pickled result."""
    for is_last in (False, True):  # once more where its process was ended from outside, as it is on one machine
        with _pool_of(run) as pool:
            for path, facts in files:
                if facts != _facts_of(path):
                    raise UserError(
                        f"{_self()} does not see {path} as the machine that asks (size in bytes, readable: {facts} "
                        f"there, {_facts_of(path)} here). All must see the videos at the same path, and may read them."
                    )
            try:
                running = pool.schedule(_work, args=(order,), timeout=timeout_sec)
            except RuntimeError:  # the pool has just broken
                continue
            while pool.active and not wait([running], timeout=END_SEC).done:
                pass
            if running.done() and (is_last or not was_ended(running)):
                return outcome(running, timeout_sec)
        with _lock:
            if run.id not in _pools:  # the command was ended in the moment this was handed over: nobody would do it
                return JobFailure("the command was ended")
    return JobFailure("its process was ended twice")


@contextmanager
def _pool_of(run: Run) -> Iterator[ProcessPool]:
    with _lock:
        if run.id not in _pools or not _pools[run.id].processes.active:
            for other in [name for name, pool in _pools.items() if not pool.jobs]:  # of commands that were killed
                _stop(_pools.pop(other))
            _pools[run.id] = _Pool(_new_pool(run))
        pool = _pools[run.id]
        pool.jobs += 1
    try:
        yield pool.processes
    finally:
        with _lock:
            pool.jobs -= 1


def _new_pool(run: Run) -> ProcessPool:
    from distributed import get_worker

    for what, here in _made_with().items():
        _require_equal(what, here, run.made_with[what], _self())
    if not (run.token.exists() and Path(run.folder).is_dir()):
        raise UserError(
            f"{_self()} does not see {run.folder} and its state folder {run.token.parent.parent}: the project's folder "
            "(and PPTSM_STATE, if it is set) must lie on a disk that all machines share, at the same path on each."
        )
    current_process().daemon = False  # Dask's nanny makes it one, which may have no children; ours end with it
    return process_pool(get_worker().state.nthreads, _begin, (run,))


def _begin(run: Run) -> None:
    """In a process of the pool."""
    os.chdir(run.folder)
    if run.state is not None:
        os.environ["PPTSM_STATE"] = run.state
    else:
        os.environ.pop("PPTSM_STATE", None)
    prepare, prepare_with = pickle.loads(run.prepare)
    if prepare is not None:
        prepare(*prepare_with)


def _work(order: bytes) -> bytes:
    """In a process of the pool."""
    work, job = pickle.loads(order)
    return pickle.dumps(work(*job))


def _end(run_id: str) -> None:
    with _lock:
        pool = _pools.pop(run_id, None)
    if pool is not None:
        _stop(pool)


def _stop(pool: _Pool) -> None:
    pool.processes.stop()
    pool.processes.join()


def _self() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address} on {socket.gethostname()}"


# ---- on both sides --------------------------------------------------------------------------------------------------


def _made_with() -> dict[str, str]:
    """What must be the same for the same bytes."""
    code = fingerprint.of_files(*CODE)  # as the files are on the disk now, where new processes read them
    libraries = {name: code.pop(name) for name in list(code) if name in fingerprint.DECIDING}
    own = {"python": platform.python_version(), "the code of pptsm": fingerprint.digest_of(code)}
    return own | libraries | {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _facts_of_files(job: tuple[Any, ...]) -> list[tuple[Path, tuple[int, bool]]]:
    """The files here that a job names (of numbered frames, their folder), and what a worker must see of them, too."""
    named = [each.absolute() for each in job if isinstance(each, Path)]
    seen = [each if each.exists() else each.parent for each in named]
    return [(file, _facts_of(file)) for file in seen if file.exists()]


def _facts_of(file: Path) -> tuple[int, bool]:
    try:
        return file.stat().st_size, os.access(file, os.R_OK)
    except OSError:
        return -1, False

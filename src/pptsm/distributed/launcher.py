"""The processes that train or score together, each on a core or a GPU of its own: ranks.

`launch(function, arguments, ...)` calls `function(*arguments, ranks)` in each of them, as `paddle.distributed.spawn`
does. Other than there, the process that a person started is rank 0: it starts the others, shares the work with them,
and alone writes and prints. Processes of `paddle.distributed.launch` (several nodes) find who they are in their
environment and start nobody.

Paddle's own launchers are not what `compute.devices` starts: they would be one more process between an orchestrator's
signal and the rank that answers it, hold back the output of rank 0, and report a dead rank with a page of its log.
"""

import io
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import paddle
from paddle import distributed

from pptsm.distributed.device import gpus, use_device, use_threads
from pptsm.distributed.ranks import GRACE_SEC, RANK, Ranks, is_helper
from pptsm.params.schema import Compute
from pptsm.runtime.console import note, printable
from pptsm.runtime.cores import GPU, LOCAL_SIZE, SIZE, cpu_processes, training_threads
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import die_with_parent

READY = "PPTSM_RANK_READY"  # number of the open file that a rank writes into when it is about to join
HERE, LOOPBACK = "127.0.0.1", b"lo"
OPEN_FILES = Path("/proc/self/fd")
LOOK_SEC = 0.1  # how often rank 0 looks whether the others live
LEAVE_SEC = 60.0  # so long a rank may take to end when its work is done
LAST_LINES = 10
BE_RANK = "import sys; from pptsm.distributed.launcher import be_rank; be_rank(*map(int, sys.argv[1:]))"

Result = TypeVar("Result")


def launch(
    function: Callable[..., Result], arguments: tuple[Any, ...], compute: Compute, *, most: int, what: str
) -> Result | None:
    """Call `function(*arguments, ranks)` in each of the processes that `compute.devices` asks for.

    This process, whose device is chosen already (`use_device`), is rank 0. Whatever ends it, ends the others; a rank
    that fails or dies ends the call with its sentence within seconds. The environment of this process is afterwards
    as it was.

    Args:
        function: of a module. In the other ranks it is called with copies of the arguments.
        arguments: whatever can be pickled: what all ranks need is computed once, before.
        compute: devices.
        most: items that there are to share at a time: more ranks there will not be.
        what: the name of the work, for a note.

    Returns:
        What rank 0's call returned; None in a process that was launched as another rank.

    Raises:
        UserError: more ranks were launched than can be used, a rank failed, or a GPU is not there.
    """
    if (size := int(os.environ.get(SIZE, "1"))) > 1:
        if size > most:
            raise UserError(
                f"{what}: {size} processes were launched, but at most {most} have something to do (a training step has "
                "as many groups of clips, training.batch_norm_clips). Launch fewer, or take larger batches."
            )
        result = function(*arguments, _joined(int(os.environ[RANK])))
        return None if is_helper() else result
    places = _places(compute)
    if len(used := places[:most]) < 2 or SIZE in os.environ:  # a launcher that asks for one process gets one
        return function(*arguments, Ranks())
    mine, *others = _environments(used)
    with _Others(pickle.dumps((function, arguments, compute))) as group, _as_a_rank(mine):
        for environment in others:
            group.start(environment)
        group.watch()
        on = "GPUs" if GPU in os.environ else f"processes, threads each: {training_threads()}"
        idle = f", of {len(places)}: there is no more to share at a time" if len(places) > len(used) else ""
        note(f"{what}: computes on {len(used)} {on} (compute.devices{idle})")
        result = function(*arguments, _joined(0, group))
        group.join()
    return result


@contextmanager
def _as_a_rank(environment: dict[str, str]) -> Iterator[None]:
    """Inside, this process has these variables, and its share of the cores; afterwards it is as before."""
    before = dict(os.environ)
    os.environ |= environment
    use_threads()
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():  # Paddle adds some
            del os.environ[name]
        os.environ |= before
        use_threads()


def _places(compute: Compute) -> Sequence[int | None]:
    """The GPU of each rank, or None for a CPU."""
    if paddle.get_device() == "cpu":
        return [None] * cpu_processes(compute.devices if isinstance(compute.devices, int) else "auto")
    return gpus(compute.devices)


def _environments(places: Sequence[int | None]) -> list[dict[str, str]]:
    """What Paddle reads in each rank when they join."""
    with socket.socket() as probe:  # a port that nobody listens at
        probe.bind((HERE, 0))
        port = int(probe.getsockname()[1])
    endpoints = [f"{HERE}:{port + rank}" for rank in range(len(places))]  # only the first one is listened at
    common = {SIZE: str(len(places)), LOCAL_SIZE: str(len(places))}
    common |= {"PADDLE_MASTER": endpoints[0], "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints)}
    return [
        common
        | {RANK: str(rank), "PADDLE_CURRENT_ENDPOINT": endpoints[rank]}
        | ({"PADDLE_DISTRI_BACKEND": "gloo"} if gpu is None else {GPU: str(gpu)})
        for rank, gpu in enumerate(places)
    ]


def _joined(rank: int, others: "_Others | None" = None) -> Ranks:
    """This process among the ranks that its environment names; `others` are those that it started."""
    ranks = Ranks(rank, int(os.environ[SIZE]), others.raise_reason if others else None)
    if others is not None:
        others.wait_until_ready()
    elif READY in os.environ:
        os.write(int(os.environ[READY]), b"ready")
    with ranks.explained(), redirect_stderr(io.StringIO()):  # it lists flags that Paddle itself has set
        distributed.init_parallel_env()
    if others is not None:  # all ranks are on this machine
        for listener in store_listeners():
            with listener, suppress(OSError):  # Linux before 5.7 lets only root do it
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LOOPBACK)
    return ranks


def store_listeners() -> list[socket.socket]:
    """Where this process listens for ranks that join: Paddle's store, on all interfaces and without a password.

    Paddle has no setting for either. Bound to the loopback device, it takes no connection from outside any more.
    """
    port, found = int(os.environ["PADDLE_MASTER"].split(":")[1]), []
    sockets = []  # all before the first copy, which would be another of them
    for link in OPEN_FILES.iterdir() if OPEN_FILES.exists() else []:
        with suppress(OSError):  # closed meanwhile, as the listing itself
            if str(link.readlink()).startswith("socket:"):
                sockets.append(int(link.name))
    for number in sockets:
        with suppress(OSError):  # closed meanwhile
            one = socket.socket(fileno=os.dup(number))
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == port:
                found.append(one)
            else:
                one.close()
    return found


class _Rank(NamedTuple):
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]  # what it prints
    error: IO[bytes]  # the sentence of its UserError
    ready: IO[bytes]  # not empty once it is about to join


class _Others:
    """The other ranks, as rank 0 sees them: it starts them, looks whether they live, and ends them."""

    def __init__(self, call: bytes) -> None:
        """Of ranks that make a pickled call, which all of them read in one file."""
        self.ranks: list[_Rank] = []  # from 1 on
        self._files = ExitStack()
        self._call = self._file()
        self._call.write(call)
        self._call.flush()
        self.reason: UserError | None = None
        self._fallen, self._leaving = threading.Event(), threading.Event()

    def __enter__(self) -> "_Others":
        """The ranks, which none has yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""
        self._leaving.set()
        for rank in self.ranks:
            rank.process.kill()
        for rank in self.ranks:
            rank.process.wait()
        self._files.close()

    def start(self, environment: dict[str, str]) -> None:
        """Start one more rank."""
        log, error, ready = self._file(), self._file(), self._file()
        shared = [file.fileno() for file in (self._call, error, ready)]
        process = subprocess.Popen(
            [sys.executable, "-c", BE_RANK, str(os.getpid()), *map(str, shared[:2])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=shared,
            env=os.environ | environment | {READY: str(ready.fileno())},
        )
        self.ranks.append(_Rank(process, log, error, ready))

    def _file(self) -> IO[bytes]:
        # without a name: nothing of it can be left
        return self._files.enter_context(tempfile.TemporaryFile())

    def wait_until_ready(self) -> None:
        """Wait until the others are about to join.

        Paddle's joining keeps the interpreter's lock: of a rank that died before it, nobody could tell then.
        """
        while not all(_read(rank.ready) for rank in self.ranks):
            if self._fallen.wait(LOOK_SEC) and self.reason is not None:
                raise self.reason

    def watch(self) -> None:
        """Look after the ranks from now on."""
        threading.Thread(target=self._look, daemon=True).start()

    def raise_reason(self) -> None:
        """Raise why a rank is no more, if one is found dead within a moment."""
        if self._fallen.wait(GRACE_SEC) and self.reason is not None:
            raise self.reason from None

    def join(self) -> None:
        """Wait for the ranks to end, because their work is done."""
        self._leaving.set()
        until = time.monotonic() + LEAVE_SEC
        for rank in self.ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(max(0.0, until - time.monotonic()))

    def _look(self) -> None:
        while not self._leaving.wait(LOOK_SEC):
            for number, rank in enumerate(self.ranks, 1):
                if code := rank.process.poll():
                    self.reason = self._reason(number, rank, code)
                    self._fallen.set()
                    # in the queue of a GPU no call returns, and nothing else would end this process
                    if not self._leaving.wait(2 * GRACE_SEC):
                        print(printable(f"error: {self.reason}"), file=sys.stderr, flush=True)
                        os._exit(self.reason.exit_code)
                    return

    def _reason(self, number: int, rank: "_Rank", code: int) -> UserError:
        if sentence := _read(rank.error):
            reason = UserError(sentence)
            reason.exit_code = code
            return reason
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if -code == signal.SIGKILL:
            how += ", as the system does when memory runs out"
        last = _read(rank.log).splitlines()[-LAST_LINES:]
        wrote = "\nIts last lines:\n" + "\n".join(f"  {line}" for line in last) if last else " It wrote nothing."
        return UserError(
            f"process {number} of {len(self.ranks) + 1} (counted from 0) {how}, and the others were ended with it. "
            f"The same command goes on from the last saved state; compute.devices: 1 does without others.{wrote}"
        )


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def be_rank(starter: int, call: int, error_file: int) -> None:
    """The life of a rank that was started here: it joins and makes its call.

    Args:
        starter: the process that it does not outlive.
        call: number of the open file with what it calls.
        error_file: number of the open file that gets the sentence of a UserError.
    """
    die_with_parent(starter)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: rank 0 answers it
    code = 0
    try:
        with mmap.mmap(call, 0, access=mmap.ACCESS_READ) as content:  # a file's position would be that of all ranks
            function, arguments, compute = pickle.loads(content)
        use_device(compute.device, compute.devices)
        function(*arguments, _joined(int(os.environ[RANK])))
    except UserError as error:
        os.write(error_file, str(error).encode())
        code = error.exit_code
    except SystemExit:  # all ranks leave
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do, and threads of the communication would wait for their peers

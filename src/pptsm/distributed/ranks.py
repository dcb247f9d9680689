"""The processes that train or score together, each on a core or a GPU of its own: ranks.

The process that a person started is rank 0. It starts the others, which run the same function with the same
arguments, shares the work with them, and alone writes and prints. Processes of `paddle.distributed.launch`
(several nodes) find who they are in their environment and start nobody.

Paddle's own launcher is not what `compute.devices` starts: it would be one more process between an orchestrator's
signal and the rank that answers it, holds back the output of rank 0, and tells of a dead rank with a page of its log.
"""

import io
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

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed

from pptsm.distributed.device import gpus, use_threads
from pptsm.params.schema import Compute
from pptsm.runtime.console import note, printable
from pptsm.runtime.cores import GPU, LOCAL_SIZE, SIZE, cpu_processes, training_threads
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import die_with_the_starter

RANK = "PADDLE_TRAINER_ID"
READY = "PPTSM_RANK_READY"  # number of the open file that a rank writes into when it is about to join
HERE, LOOPBACK = "127.0.0.1", b"lo"
OPEN_FILES = Path("/proc/self/fd")
LOOK_SEC = 0.1  # how often rank 0 looks whether the others live
GRACE_SEC = 5.0  # after a rank's death: so long the others may take to notice it and to leave in good order
LEAVE_SEC = 60.0  # so long a rank may take to end when its work is done
LAST_LINES = 10
BE_RANK = "import sys; from pptsm.distributed.ranks import be_rank; be_rank(*map(int, sys.argv[1:]))"

Item = TypeVar("Item")


class Ranks:
    """One process's number among those that work together, and what they say to one another.

    Alone (`Ranks()`) everything is the identity, and Paddle's communication is never started. Every other method than
    `share` must be called by all ranks alike.
    """

    def __init__(self, rank: int = 0, size: int = 1, company: "_Company | None" = None) -> None:
        self.rank = rank
        self.size = size
        self._company = company

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What of `items` is this rank's: the shares together are all of them, each once."""
        return items[self.rank :: self.size]

    def sum_tensor(self, values: paddle.Tensor) -> paddle.Tensor:
        """The sum of a tensor of the same shape and type in each rank."""
        if self.size == 1:
            return values
        with self._heard():
            distributed.all_reduce(values)
        return values

    def sum_over_ranks(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of an array of the same shape in each rank, as float64."""
        if self.size == 1:
            return array
        return np.asarray(self.sum_tensor(paddle.to_tensor(array, dtype="float64")).numpy())

    def gather(self, rows: Sequence[Item]) -> list[Item]:
        """The results of all items whose `share` each rank has worked on, in the order of the items."""
        if self.size == 1:
            return list(rows)
        shares = self._all_of(list(rows))
        whole: list[Any] = [None] * sum(map(len, shares))
        for rank, share in enumerate(shares):
            whole[rank :: self.size] = share
        return whole

    def from_first(self, make: Callable[[], Item]) -> Item:
        """What rank 0 makes, in all ranks; the others wait for it."""
        if self.size == 1:
            return make()
        made: Item = self._all_of(None if self.rank else make())[0]
        return made

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is true in any rank."""
        return bool(self.sum_over_ranks(np.array([flag], dtype=np.float64))[0] > 0)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.any_rank(False)

    def _all_of(self, value: Any) -> list[Any]:
        values: list[Any] = []
        with self._heard():
            distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Around what fails when another rank is no more: the reason is reported instead, where it can be known."""
        try:
            yield
        except RuntimeError:
            if self._company is not None:
                self._company.tell_why()
            time.sleep(GRACE_SEC)  # rank 0, or the launcher, will end this one, and report the reason
            raise


def is_helper() -> bool:
    """Whether this process is one of several and not their first, whom alone a person and the disk hear of."""
    return os.environ.get(RANK, "0") != "0"


@contextmanager
def together(
    work: Callable[..., None], arguments: dict[str, Any], compute: Compute, most: int, what: str
) -> Iterator[Ranks]:
    """Inside, this process is one of the ranks that `compute.devices` asks for.

    Rank 0 starts the others here; they call `work(**arguments)`, which comes here, too. Whatever ends rank 0, ends
    them; a rank that fails or dies ends this block with its sentence within seconds.

    Args:
        work: a function of a module.
        arguments: what this process called it with.
        compute: devices.
        most: items that there are to share at a time: more ranks there will not be.
        what: the name of the work, for a note.

    Raises:
        UserError: more ranks were launched than can be used, a rank failed, or a GPU is not there.
    """
    if (size := int(os.environ.get(SIZE, "1"))) > 1:
        if size > most:
            raise UserError(
                f"{what}: {size} processes were launched, but at most {most} have something to do (a training step has "
                "as many groups of clips, training.batch_norm_clips). Launch fewer, or take larger batches."
            )
        yield _joined(int(os.environ[RANK]), None)
        return
    places = _places(compute)
    if len(used := places[:most]) < 2 or SIZE in os.environ:  # a launcher that wants one process gets one
        yield Ranks()
        return
    before = dict(os.environ)
    company = _Company()
    try:
        mine, *others = _environments(used)
        for environment in others:
            company.start(pickle.dumps((work, arguments)), environment)
        company.watch()
        os.environ |= mine
        use_threads()
        on = "GPUs" if GPU in os.environ else f"processes, threads each: {training_threads()}"
        idle = f", of {len(places)}: there is no more to share at a time" if len(places) > len(used) else ""
        note(f"{what}: computes on {len(used)} {on} (compute.devices{idle})")
        yield _joined(0, company)
        company.part()
    finally:
        company.end()
        os.environ.clear()
        os.environ.update(before)
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


def _joined(rank: int, company: "_Company | None") -> Ranks:
    """This process among the ranks that its environment describes."""
    ranks = Ranks(rank, int(os.environ[SIZE]), company)
    if company is not None:
        company.wait_until_ready()
    elif READY in os.environ:
        os.write(int(os.environ[READY]), b"ready")
    with ranks._heard(), redirect_stderr(io.StringIO()):  # it lists flags that Paddle itself has set
        distributed.init_parallel_env()
    if company is not None:  # all ranks are on this machine
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
    told: IO[bytes]  # what it wants a user to be told
    ready: IO[bytes]  # not empty once it is about to join


class _Company:
    """The other ranks, as rank 0 sees them: it starts them, looks whether they live, and ends them."""

    def __init__(self) -> None:
        self.ranks: list[_Rank] = []  # from 1 on
        self._files = ExitStack()
        self.reason: UserError | None = None
        self._fallen, self._leaving = threading.Event(), threading.Event()

    def start(self, call: bytes, environment: dict[str, str]) -> None:
        """Start a rank that makes a pickled call."""
        # without names: nothing of them can be left
        log = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        told = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        ready = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        process = subprocess.Popen(
            [sys.executable, "-c", BE_RANK, str(os.getpid()), str(told.fileno())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[told.fileno(), ready.fileno()],
            env=os.environ | environment | {READY: str(ready.fileno())},
        )
        self.ranks.append(_Rank(process, log, told, ready))
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:  # of a rank that is dead already `watch` tells
            pipe.write(call)

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

    def tell_why(self) -> None:
        """Raise the reason why a rank is no more, if one is found dead within a moment."""
        if self._fallen.wait(GRACE_SEC) and self.reason is not None:
            raise self.reason from None

    def part(self) -> None:
        """Wait for the ranks to end, as their work is done."""
        self._leaving.set()
        until = time.monotonic() + LEAVE_SEC
        for rank in self.ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(max(0.0, until - time.monotonic()))

    def end(self) -> None:
        """Kill what still runs."""
        self._leaving.set()
        for rank in self.ranks:
            rank.process.kill()
        for rank in self.ranks:
            rank.process.wait()
        self._files.close()

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
        if told := _read(rank.told):
            reason = UserError(told)
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


def be_rank(starter: int, told: int) -> None:
    """The life of a rank: it makes the call that it reads from stdin; a mistake's sentence goes into file `told`."""
    die_with_the_starter(starter)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: rank 0 answers it
    code = 0
    try:
        work, arguments = pickle.load(sys.stdin.buffer)
        work(**arguments)
    except UserError as error:
        os.write(told, str(error).encode())
        code = error.exit_code
    except SystemExit:  # all ranks leave
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do, and threads of the communication would wait for their peers

"""From a model file to a service that listens, and to its end."""

import asyncio
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from pptsm.runtime.console import note, one_line, say
from pptsm.runtime.cores import cores
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import limit_memory
from pptsm.serving.limits import Limits, is_loopback
from pptsm.serving.predictor import Predictor
from pptsm.serving.service import Settings, build_app

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SEC = 30  # for what is under way when the service is asked to end
MOST_CONNECTIONS = 512  # below the 1024 files that a process may have open
BACKLOG = 128


@contextmanager
def listening(host: str, port: int, *, has_token: bool) -> Iterator[socket.socket]:
    """A socket for the service.

    Raises:
        UserError: there is no such address here, it is taken, or others could reach it and no token is set.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if not has_token and not is_loopback(str(address[0])):
            raise UserError(
                f"--host {host} can be reached from other machines, and no token is set, so anybody could ask. Set "
                "one: PPTSM_TOKEN=$(python -c 'import secrets; print(secrets.token_urlsafe(32))'), or leave --host out."
            )
        sock = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
        # asyncio does it for sockets that name their protocol, which these do not; without, each answer that is sent in
        # two parts waits for the client's delayed acknowledgement, 40 ms
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    except OSError as error:  # that of a name that nobody knows is one, too
        raise UserError(
            f"cannot listen on {one_line(host)}, port {port}: {error.strerror or error}. Name another --host or --port."
        ) from None
    with sock:
        yield sock


def run_until_stopped(
    sock: socket.socket,
    open_predictor: Callable[[], Predictor],
    name: str | None,
    limits: Limits,
    token: str | None,
    decoders: int | None,
) -> None:
    """Serve a model until Ctrl-C, SIGTERM or SIGHUP; what is under way then has `GRACE_SEC` to end.

    Raises:
        UserError: as `Predictor`, or the service cannot start.
    """
    limit_memory()  # a few bytes of a graph may ask for any amount
    predictor = open_predictor()
    note(f"serve: {predictor.runtime} in {predictor.precision}")
    if predictor.metadata.warning:
        note(f"warning: {predictor.metadata.warning}")
    with tempfile.TemporaryDirectory(prefix="pptsm-serve-") as folder:  # for its owner alone
        settings = Settings(
            name or predictor.file.stem.removesuffix(".int8"), limits, token, decoders or cores(), Path(folder)
        )
        config = uvicorn.Config(
            build_app(predictor, settings),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SEC,
        )
        server = _Server(config)
        asyncio.run(server.serve([sock]))
    if not server.was_ready:
        raise UserError("the service did not start; what is above says why.")
    note("serve: ended; what was under way has its answers")


class _Server(uvicorn.Server):
    """uvicorn's, which says where it listens and ends with exit code 0 when a signal asks it to."""

    was_ready = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            self.was_ready = True
            address, port, *_ = sockets[0].getsockname()
            host = f"[{address}]" if ":" in address else address
            say(f"serving on http://{host}:{port} (Ctrl-C ends it)")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while this serves; uvicorn's own would raise them once more at the end."""
        before = {number: signal.signal(number, self.handle_exit) for number in ENDS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

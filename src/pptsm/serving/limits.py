"""What a service takes, and how it says no: limits, the places in its queue, and a refusal with its status code."""

import hmac
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

RETRY_SEC = 1  # what a refused client is told to wait
MOST_CLIPS = 32  # in one tensor
MOST_VALUES = 1 << 22  # of one tensor: 16 MB as float32, about 90 MB as JSON
BYTES_A_VALUE = 24  # of a number in JSON, with its comma
BYTES_AROUND = 1 << 16  # of what else stands in such a request


class Refused(Exception):  # noqa: N818 (an answer, not a fault of the program)
    """A request gets no answer: the status code of HTTP, and a sentence for the client."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Limits:
    """What one request may be.

    Attributes:
        bytes: of its body.
        seconds: of the video, by the times of its frames.
        pixels: of a frame.
        decode_sec: how long a process may work on it.
        waiting: how many requests may wait beside those that are worked on.
    """

    bytes: int
    seconds: float
    pixels: int
    decode_sec: float
    waiting: int

    def most_clips(self, values: int) -> int:
        """How many clips of so many values a tensor may hold."""
        return max(1, min(MOST_CLIPS, MOST_VALUES // values))

    def tensor_bytes(self, values: int) -> int:
        """How long the JSON with a tensor may be, for clips of so many values."""
        return BYTES_AROUND + BYTES_A_VALUE * values * self.most_clips(values)


class Places:
    """The requests that are under way: so many have a place, one more is refused.

    A place is taken before the body is read, so that it bounds the memory and the disk that bodies take.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Refused: (503) none is free.
        """
        if self.taken >= self.most:
            raise Refused(
                503,
                f"{self.taken} requests are under way, and no more may wait. Send it again in a moment.",
                Retry_After=str(RETRY_SEC),
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def is_right_token(authorization: str | None, token: str) -> bool:
    """Whether the header `Authorization` has the token; as long for a wrong one as for the right one."""
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return same and scheme.lower() == "bearer"


def is_loopback(host: str) -> bool:
    """Whether an address, or a name as it stands in the header `Host`, is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False

"""Videos to pixels in processes of their own, while the process that asked computes the network.

A file that keeps its decoder busy, or crashes it, costs one such process and gets an error; its memory is limited, as
that of all processes that open files from elsewhere. These processes never see a network, and begin while it is opened.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pptsm.runtime.jobs import Pools, started_pools
from pptsm.runtime.pool import JobFailure, limit_memory

if TYPE_CHECKING:
    from pathlib import Path

    from pptsm.data.spec import ClipSpec
    from pptsm.data.transforms import Pixels
    from pptsm.params.choices import Sampling
    from pptsm.video.types import Part


@contextmanager
def decoders(processes: int) -> Iterator["Decoders"]:
    """Processes that decode; they end with the context, whatever they do then."""
    with started_pools(processes, _prepare) as pools:
        yield Decoders(pools)


class Decoders:
    """Processes that make pixels of videos; `decoders` starts them."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def pixels(
        self, files: Iterable[tuple["Path", "Part"]], spec: "ClipSpec", sampling: "Sampling", timeout_sec: float | None
    ) -> Iterator["Pixels | JobFailure"]:
        """The evaluation views of each file, or of a part of it, in their order; a few files are decoded ahead.

        Args:
            files: each with the part of it to look at; None: all.
            spec: of the network.
            sampling: which frames.
            timeout_sec: a file that takes longer is an error.

        Returns:
            Views [V*S, 3, H, W] as `pptsm.data.views.pixels_of_file`, or why there are none.
        """
        return self._pools.run(_pixels, ((file, spec, sampling, part) for file, part in files), timeout_sec)


def _prepare() -> None:
    """What takes a new process a few tenths of a second, before its first file is there."""
    limit_memory()
    import av

    import pptsm.data.views

    del av, pptsm


def _pixels(file: "Path", spec: "ClipSpec", sampling: "Sampling", part: "Part") -> "Pixels | JobFailure":
    from pptsm.data.views import pixels_of_file
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.pool import memory_limit

    try:
        return pixels_of_file(file, spec, sampling, part)
    except UserError as error:
        return JobFailure(str(error))
    except MemoryError:
        return JobFailure(f"it takes more memory than {memory_limit()}")

"""The processes of a service that open what clients send: videos, and tensors as JSON.

Each process is a pool of its own, so that one that hangs or crashes costs nothing but itself and its request. None of
them loads a network, and the process with the network opens nothing.
"""

import asyncio
import base64
import io
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from PIL import Image

from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import Pixels, views_of
from pptsm.data.views import evaluation_indices, middle_clip, seen_clip
from pptsm.params.choices import Sampling
from pptsm.runtime.pool import JOB_BYTES, LOOK_SEC, finished, limit_memory, process_pool
from pptsm.serving.limits import Limits, Refused
from pptsm.video.image_sequence import open_clip
from pptsm.video.types import Frames, Part, VideoError
from pptsm.video.video import Video

STARTS_SEC = 120  # a process may take so long to start
PICTURE_PX = 112  # height of the pictures for the page

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """What a process made of a video."""

    pixels: Pixels  # of the views, [V*S, 3, H, W]
    pictures: list[str]  # of the middle clip, in the centre of the frames, as data URIs; empty unless asked for


class Decoders:
    """Processes that each do one job at a time; a job waits until one is idle.

    Args:
        size: how many.
        timeout_sec: a job that takes longer is ended, with its process.
    """

    def __init__(self, size: int, timeout_sec: float) -> None:
        self.size = size
        self.ended = 0  # processes that were ended, or ended by themselves, while they worked
        self._timeout_sec = timeout_sec
        self._idle: asyncio.Queue[ProcessPool] = asyncio.Queue()
        self._pools: set[ProcessPool] = set()
        self._running: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Start all processes, and wait until they work."""
        for _ in range(self.size):
            self._add()
        async with asyncio.timeout(STARTS_SEC):
            await asyncio.gather(*(self.run(warm_up) for _ in range(self.size)))

    async def stop(self) -> None:
        """End all processes, whatever they do."""
        pools, self._pools = self._pools, set()
        await asyncio.gather(*(asyncio.to_thread(_stop, pool) for pool in pools))

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do `work(*arguments)` in a process. Who is cancelled while it runs leaves it to its end, and then it is idle.

        Raises:
            Refused: (422) it hung or crashed; (503) no process lives long enough to begin it.
            Exception: what `work` raises.
        """
        for _ in range(2):  # an idle process may have been ended from outside, as happens when memory runs out
            pool = await self._idle.get()
            task = asyncio.create_task(self._on(pool, work, arguments))
            self._running.add(task)
            task.add_done_callback(self._forget)
            try:
                return await asyncio.shield(task)
            except BrokenProcessPool:
                continue
        raise Refused(503, "the processes that decode are ended from outside. Send it again in a moment.")

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, or asyncio complains of one that nobody waits for any more

    async def _on(self, pool: ProcessPool, work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        try:
            answer = asyncio.wrap_future(future := self._scheduled(pool, work, arguments))
            while not (await asyncio.wait({answer}, timeout=LOOK_SEC))[0]:
                await asyncio.to_thread(finished, pool, {future})  # a job that its pool has forgotten fails here
            return answer.result()
        except TimeoutError:
            self.ended += 1
            raise Refused(422, f"it took longer than {self._timeout_sec:g} s to decode.") from None
        except ProcessExpired as error:
            self.ended += 1
            raise Refused(422, f"the decoder crashed on it (exit code {error.exitcode}).") from None
        finally:
            if pool.active:
                self._idle.put_nowait(pool)
            elif pool in self._pools:  # else all are stopped
                self._pools.discard(pool)
                await asyncio.to_thread(_stop, pool)
                self._add()

    def _scheduled(
        self, pool: ProcessPool, work: Callable[..., Result], arguments: tuple[Any, ...]
    ) -> "Future[Result]":
        try:
            future: Future[Result] = pool.schedule(work, args=arguments, timeout=self._timeout_sec)
        except RuntimeError as error:  # which a pool raises that is no longer active
            raise BrokenProcessPool(str(error)) from None
        return future

    def _add(self) -> None:
        pool = process_pool(1, limit_memory)
        self._pools.add(pool)
        self._idle.put_nowait(pool)


def _stop(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def warm_up() -> None:
    """Load what a first video would have to wait for."""
    import av  # noqa: F401


def decode_video(
    path: Path, clip: ClipSpec, sampling: Sampling, part: Part, limits: Limits, with_pictures: bool
) -> Decoded:
    """The views that evaluation has of a video, not yet normalised, with the pixels of `views_of_file`.

    Args:
        path: of the file.
        clip: what the network takes.
        sampling: which clips and crops.
        part: of the video.
        limits: on its frames and its length.
        with_pictures: whether the frames of the middle clip are wanted for a person, too.

    Raises:
        VideoError: the file cannot be decoded, is cut off, has no such part, or is larger or longer than may be.
    """
    try:
        video = open_clip(path)
        require_within(video, limits)
        video.require_whole()
        span = video.span(part)
        once, places = np.unique(evaluation_indices(span.num_frames, clip, sampling), return_inverse=True)
        frames = video.frames(span.first + once)
        pixels = views_of(frames, clip, sampling, places)
        pictures: list[str] = []
        if with_pictures:
            middle = np.searchsorted(once, middle_clip(span.num_frames, clip, sampling))
            of_clip = Frames([frames.images[place] for place in middle], frames.native)
            pictures = [picture(image) for image in seen_clip(of_clip, clip, sampling).images]
        return Decoded(pixels, pictures)
    except MemoryError:
        raise VideoError(f"it takes more memory than {JOB_BYTES / (1 << 30):.1f} GB") from None


def require_within(video: Any, limits: Limits) -> None:
    """Refuse a video for its size before a frame of it is decoded, and for its length where the packets tell that.

    Raises:
        VideoError: naming size or length, and the limit.
    """
    assert isinstance(video, Video)  # the name of an upload is ours: it stands for no folder of frames
    width, height = video.packets.width, video.packets.height
    if width * height > limits.pixels:
        raise VideoError(
            f"its frames have {width}x{height} pixels, {width * height / 1e6:.1f} million, and may have "
            f"{limits.pixels / 1e6:g} million here"
        )
    if (length_sec := video.timing().end_sec) > limits.seconds:
        raise VideoError(f"it lasts {length_sec:.0f} s, and may last {limits.seconds:g} s here")


def picture(image: NDArray[np.uint8]) -> str:
    """A frame [H, W, 3] as a data URI of a JPEG."""
    whole = Image.fromarray(image)
    width = max(1, round(whole.width * PICTURE_PX / whole.height))
    buffer = io.BytesIO()
    whole.resize((width, PICTURE_PX)).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

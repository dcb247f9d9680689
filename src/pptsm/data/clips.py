"""From an index row to what the network is given: a training clip, or a video's evaluation views.

The way of a clip: frame count -> indices (`sampling`) -> frames (`kept` or `video`) -> places (`geometry`) ->
pixels (`transforms`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pptsm.data.sampling import dense_indices, uniform_indices
from pptsm.data.spec import ClipSpec
from pptsm.data.table import ClipRef, excerpts
from pptsm.data.transforms import Pixels, training_clip, views_of
from pptsm.data.views import evaluation_indices, middle_clip, seen_clip, views_of_file  # noqa: F401  former names
from pptsm.frames.archive import EXTRACT_AGAIN
from pptsm.frames.store import Kept, call_damaged
from pptsm.params.choices import Sampling, Source
from pptsm.params.schema import Params, Training
from pptsm.runtime.errors import UserError, unusable
from pptsm.runtime.paths import StrPath
from pptsm.runtime.pool import watchdog
from pptsm.video.image_sequence import open_clip, source_path
from pptsm.video.types import DecodedWhenAsked, Frames, VideoError
from pptsm.video.video import silence_sec


class FrameSource:
    """Where frames come from: kept ones below a folder, one file per clip or in shards, or the video files themselves.

    Of these a process of a pool is ended where a decoder shows no frame for `limit_sec` (0: for ever).
    """

    def __init__(self, kind: Source, folder: StrPath, limit_sec: float = 0.0, frame_name: str | None = None) -> None:
        folder = Path(folder)
        self.kind = kind
        self.limit_sec = limit_sec
        self.frame_name = frame_name  # of the frames, where what the index calls a video is a folder of them
        self.folder = folder.absolute()  # for processes that were started in another working folder
        self.kept = None if kind == "video" else Kept(kind, self.folder)

    def read(self, excerpt: ClipRef, indices: NDArray[np.int64]) -> Frames:
        """The frames at 0-based `indices` of a clip, with the video's native size.

        Raises:
            UserError: naming the clip, now or when a frame is asked for; a bad clip stops the run, it is never replaced
                by another.
        """
        try:
            if self.kept is not None:
                frames = self.kept.read(excerpt.id, indices)
            else:
                path = source_path(self.folder, excerpt.path, self.frame_name)
                with watchdog(silence_sec(path, self.limit_sec)):
                    return open_clip(path).frames(excerpt.first_frame + indices)
        except VideoError as error:
            raise self._unreadable(excerpt, error) from None

        def image(place: int) -> NDArray[np.uint8]:
            try:
                return frames.images[place]
            except VideoError as error:
                raise self._unreadable(excerpt, error) from None

        return Frames(DecodedWhenAsked(len(frames.images), image), frames.native)

    def _unreadable(self, excerpt: ClipRef, error: VideoError) -> UserError:
        if self.kept is None:
            remedy = "`dvc repro index` looks at it again if it has changed; if not, leave it out (index.exclude)."
        else:
            call_damaged(self.kept.file_of(excerpt.id))
            remedy = f"{EXTRACT_AGAIN} extracts what is damaged again."
        return UserError(f"clip {excerpt.id!r} cannot be read: {error}. {remedy}")


def frame_source(params: Params, frames: Path) -> FrameSource:
    """Where all stages take frames from, as `frames.source` says.

    Raises:
        UserError: there is no such folder.
    """
    if params.frames.source == "video":
        index = params.index
        return FrameSource("video", Path(index.root), index.probe_timeout_sec, index.frame_name)
    if not frames.is_dir():
        raise unusable("the kept frames", frames, "there is no such folder", "frames")
    return FrameSource(params.frames.source, frames)


@dataclass(frozen=True)
class Dataset:
    """Videos that networks are shown, with the names of their classes."""

    videos: pd.DataFrame  # rows of the index, at least one
    classes: list[str]
    source: FrameSource


def clips_of_a_video(training: Training, videos: int, epochs: int) -> int:
    """Clips sampled from each of so many videos per epoch: `clips_per_video`, or as many as `min_clips` asks for."""
    return max(training.clips_per_video, math.ceil(training.min_clips / max(1, videos * epochs)))


class TrainingClips:
    """The clips of one epoch: `clips[i]` is (pixels [T, 3, H, W], label), the same for the same epoch and i.

    Every clip has its own generator, seeded by (seed, epoch, i): the order of work, the number of worker
    processes and a restart between epochs change nothing.
    """

    def __init__(
        self,
        videos: pd.DataFrame,
        source: FrameSource,
        labels: list[str],
        spec: ClipSpec,
        training: Training,
        seed: int,
        epoch: int,
    ) -> None:
        self.excerpts = excerpts(videos)
        self.num_frames = videos["num_frames"].tolist()
        self.label_indices = videos["label_index"].tolist()
        self.source = source
        self.spec = spec
        self.training = training
        self.seed_epoch = (seed, epoch)
        self.mirrored = mirrored_labels(labels, training.flip_labels)

    def __len__(self) -> int:
        return len(self.excerpts) * self.training.clips_per_video

    @property
    def may_hang(self) -> bool:
        """Whether clips come straight from video files."""
        return self.source.kind == "video"

    def video_of(self, number: int) -> str:
        """The id of the row that clip `number` is sampled from."""
        return str(self.excerpts[number % len(self.excerpts)].id)

    def label_of(self, number: int) -> int:
        """The label of clip `number`: that of its video or, where the clip is mirrored, of what is seen then."""
        _, flip, _ = self._sampled(number)
        return self._label(number, flip)

    def __getitem__(self, number: int) -> tuple[Pixels, np.int64]:
        indices, flip, rng = self._sampled(number)
        clip = training_clip(
            self.source.read(self.excerpts[number % len(self.excerpts)], indices),
            self.spec,
            rng,
            crop=self.training.crop,
            flip=flip,
            brightness=self.training.brightness,
        )
        return clip, np.int64(self._label(number, flip))

    def _label(self, number: int, flip: bool) -> int:
        label: int = self.label_indices[number % len(self.excerpts)]
        return self.mirrored[label] if flip else label

    def _sampled(self, number: int) -> tuple[NDArray[np.int64], bool, np.random.Generator]:
        """The frames of clip `number`, whether it is mirrored, and the generator for all that is random after that."""
        rng = np.random.default_rng([*self.seed_epoch, number])
        indices = self._indices(self.num_frames[number % len(self.excerpts)], rng)
        return indices, self.training.flip == "horizontal" and rng.random() < 0.5, rng

    def _indices(self, num_frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.spec.sampling == "uniform":
            return uniform_indices(num_frames, self.spec.segments, rng)
        return dense_indices(num_frames, self.spec.segments, rng, window=self.spec.dense_window).ravel()


class EvaluationVideos:
    """All views of each video, in the table's order: `videos[i]` is (pixels [V*S, 3, H, W], label)."""

    def __init__(self, videos: pd.DataFrame, source: FrameSource, spec: ClipSpec, sampling: Sampling) -> None:
        self.excerpts = excerpts(videos)
        self.num_frames = videos["num_frames"].tolist()
        self.label_indices = videos["label_index"].tolist()
        self.source = source
        self.spec = spec
        self.sampling = sampling

    def __len__(self) -> int:
        return len(self.excerpts)

    @property
    def may_hang(self) -> bool:
        """Whether clips come straight from video files."""
        return self.source.kind == "video"

    def video_of(self, number: int) -> str:
        """The id of a row."""
        return self.excerpts[number].id

    def label_of(self, number: int) -> int:
        """The label of a row."""
        return int(self.label_indices[number])

    def __getitem__(self, number: int) -> tuple[Pixels, np.int64]:
        indices = evaluation_indices(self.num_frames[number], self.spec, self.sampling)
        once, places = np.unique(indices, return_inverse=True)  # the clips of a dense view share frames
        views = views_of(self.source.read(self.excerpts[number], once), self.spec, self.sampling, places)
        return views, np.int64(self.label_indices[number])


def mirrored_labels(labels: list[str], flip_labels: Mapping[str, str]) -> list[int]:
    """For each class the index of the class that its mirror image shows (itself, unless named).

    Raises:
        UserError: `flip_labels` names an unknown class.
    """
    if unknown := set(flip_labels) - set(labels):
        raise UserError(f"training.flip_labels names {sorted(unknown)}, but the classes are {labels[:20]}.")
    return [labels.index(flip_labels.get(label, label)) for label in labels]

"""What preparing clips costs in CPU time, beside a plain re-enactment of the official steps, in one run.

    python benchmarks/input_pipeline.py VIDEO [--params FILE] [--turns N] [--json]      # a minute with 15 turns

Ours is what training and evaluation do with the preset `k400-r50-uniform` (or FILE): `load_batches`, from the index row
to the batch that is handed to the device. The official steps are those of PaddleVideo's pipeline, written down plainly:
frames as loose JPEGs of native size, EVERY frame resized by Pillow to a short side of 256, for training cut by a
multi-scale box, resized again, cut, perhaps mirrored; for evaluation cut (dense: all 80 frames, three crops each);
normalised to float32 on the host; from video by decord, as it opens a file by itself, eight frames in one call
(PaddleVideo's default, OpenCV, decodes the whole video).

A turn is a batch of eight clips in training, one video in evaluation. Prints, for each way, the median CPU time (user
and system, of this process and of those that it starts) in ms per clip or video, and the ratio of turns with its
quartiles; with --json one object with the times and ratios alone. Turns alternate, so that both see the same machine.
To expect: a training clip from an archive in a quarter of the official steps' time or less, dense evaluation in a
seventh.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and Paddle are imported

import decord
import numpy as np
import paddle
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from measure import in_turns, machine, median_ms, ratio
from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips, evaluation_indices
from pptsm.data.geometry import crop_places, multi_scale_box
from pptsm.data.loader import load_batches
from pptsm.data.sampling import uniform_indices
from pptsm.data.spec import ClipSpec, clip_spec
from pptsm.frames.archive import archive_name
from pptsm.frames.store import write_archive
from pptsm.params.checking import load_params
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.video.types import resized_size
from pptsm.video.video import Video

PRESET = "k400-r50-uniform"
CLIPS = 8  # of a training batch: one turn

Steps = Callable[[int], object]  # does the turn of this number


def main() -> None:
    """Prepare, take turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--params", type=Path)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = load_params(arguments.params) if arguments.params else chosen_params(PRESETS, Choice(PRESET, None))
        ways = ways_of(arguments.video.resolve(), given, Path(folder), arguments.turns + 1)
        measured = in_turns(ways, arguments.turns)
    times = {name: median_ms(seconds, CLIPS if name.startswith("train") else 1) for name, seconds in measured.items()}
    names = [name for name in measured if not name.endswith("_official")]
    ratios = {name: ratio(measured[f"{name}_official"], measured[name]) for name in names}
    if arguments.json:
        values = {name: round(ms, 2) for name, ms in times.items()}
        print(json.dumps(values | {f"{name}_ratio": round(ratios[name].median, 2) for name in names}))
        return
    print(f"{arguments.video.name}; {machine()}; {arguments.turns} turns")
    print(f"{'CPU ms':16} {'official':>9} {'ours':>9}   ratio (half of the turns)")
    for name in names:
        print(f"{name:16} {times[f'{name}_official']:9.1f} {times[name]:9.1f}   {ratios[name]}")


def ways_of(video: Path, params: Params, folder: Path, most: int) -> dict[str, Steps]:
    """Each way by name; every one reads frames that are on disk (or the video itself) anew."""
    segments = params.student.network.num_segments
    uniform, dense = (clip_spec(params.clip, segments, sampling) for sampling in ("uniform", "dense"))
    num_frames = len(Video(video))
    row = pd.DataFrame(
        {"id": [video.name], "path": video.name, "first_frame": 0, "num_frames": num_frames, "label_index": 0}
    )
    archives, videos = FrameSource("archive", folder), FrameSource("video", video.parent)
    write_archive(folder / archive_name(video.name), video, num_frames, params.frames)
    for number, frame in enumerate(Video(video)):
        Image.fromarray(frame).save(folder / f"{number}.jpg", quality=95)
    drawn = params.training.model_copy(update={"clips_per_video": most * CLIPS, "flip_labels": {}})

    def training(source: FrameSource) -> Steps:
        return loaded(TrainingClips(row, source, ["any"], uniform, drawn, params.seed, epoch=0), CLIPS)

    def evaluation(spec: ClipSpec) -> Steps:
        videos = EvaluationVideos(row, archives, spec, spec.sampling)
        return lambda _: loaded(videos, 1)(0)

    def jpegs(indices: NDArray[np.int64]) -> list[Image.Image]:
        return [Image.open(folder / f"{index}.jpg").convert("RGB") for index in indices]

    def decoded(indices: NDArray[np.int64]) -> list[Image.Image]:
        return [Image.fromarray(frame) for frame in decord.VideoReader(str(video)).get_batch(indices).asnumpy()]

    def official_training(read: Callable[[NDArray[np.int64]], list[Image.Image]]) -> Steps:
        def clip(number: int) -> NDArray[np.float32]:
            rng = np.random.default_rng(number)
            images = read(uniform_indices(num_frames, uniform.segments, rng).ravel())
            return official_clip(images, uniform, rng)

        return lambda turn: batch_of([clip(CLIPS * turn + number) for number in range(CLIPS)])

    def official_evaluation(spec: ClipSpec) -> Steps:
        indices = evaluation_indices(num_frames, spec, spec.sampling)
        return lambda _: batch_of([official_views(jpegs(indices), spec)])

    return {
        "train_archive": training(archives),
        "train_archive_official": official_training(jpegs),
        "train_video": training(videos),
        "train_video_official": official_training(decoded),
        "dense_archive": evaluation(dense),
        "dense_archive_official": official_evaluation(dense),
        "uniform_archive": evaluation(uniform),
        "uniform_archive_official": official_evaluation(uniform),
    }


def loaded(clips: TrainingClips | EvaluationVideos, batch_size: int) -> Steps:
    """A batch, as the loader hands it to the device."""

    def batch(turn: int) -> object:
        numbers = list(range(batch_size * turn, batch_size * (turn + 1)))
        return next(iter(load_batches(clips, [numbers], workers=0)))

    return batch


def batch_of(clips: list[NDArray[np.float32]]) -> object:
    """The same, of clips by the official steps: in one piece, and Paddle's."""
    return paddle.to_tensor(np.stack(clips))


def official_clip(images: list[Image.Image], spec: ClipSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """A training clip float32 [T, 3, H, W] by the official steps."""
    images = [resized(image, spec) for image in images]
    left, top, width, height = multi_scale_box(*images[0].size, spec.resize_px, rng)
    box, size = (left, top, left + width, top + height), (spec.resize_px, spec.resize_px)
    images = [image.crop(tuple(map(int, box))).resize(size, Image.Resampling.BILINEAR) for image in images]  # type: ignore[arg-type]
    x, y = (int(rng.integers(spec.resize_px - spec.crop_px + 1)) for _ in range(2))
    images = [image.crop((x, y, x + spec.crop_px, y + spec.crop_px)) for image in images]
    if rng.random() < 0.5:
        images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    return normalised(images, spec)


def official_views(images: list[Image.Image], spec: ClipSpec) -> NDArray[np.float32]:
    """All evaluation views float32 [V*S, 3, H, W] by the official steps."""
    side, crops = spec.test_crop_px, spec.crops if spec.sampling == "uniform" else spec.dense_crops
    images = [resized(image, spec) for image in images]
    places = crop_places(crops, images[0].size, side)
    cut = [image.crop((left, top, left + side, top + side)) for left, top, _ in places for image in images]
    return normalised(cut, spec)


def resized(image: Image.Image, spec: ClipSpec) -> Image.Image:
    """Every frame, whatever will be cut from it."""
    return image.resize(resized_size(image.size, spec.resize_px, spec.aspect), Image.Resampling.BILINEAR)


def normalised(images: list[Image.Image], spec: ClipSpec) -> NDArray[np.float32]:
    """float32 [N, 3, H, W] on the host."""
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (spec.mean, spec.std))
    values = np.stack([np.asarray(image) for image in images]).astype(np.float32).transpose(0, 3, 1, 2) / np.float32(
        255
    )
    values -= mean
    values /= std
    return values


if __name__ == "__main__":
    main()

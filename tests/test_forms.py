"""One dataset in many forms: however a user's clips are kept and named, the index and the weights are the same."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, copy_project, merged, params_with, pptsm, run, write_params
from pptsm.data.table import load_index
from pptsm.ingest.motion import PAIRS, draw_video
from pptsm.video.encode import write_video

pytestmark = pytest.mark.slow

LABELS = ("left", "right", "up")
SPLITS = ("train", "train", "train", "val", "test")
# what a form does not know, or is its own
OF_THE_FORM = ["id", "path", "first_frame", "size_bytes", "sha256", "decoder", "fps", "duration_sec"]
TRAIN = (
    "--labels",
    "labels.txt",
    "--frames",
    "frames",
    "--start",
    "start",
    "--out",
    "teacher",
    "--history",
    "teacher.csv",
)
NETWORK = merged(
    TINY,
    {
        "motion": {"videos_per_class": 0},
        "validate": {"min_frames": 4},
        "training": {"warmup_epochs": 0},
        "teacher": {"epochs": 1},
    },
)
PATTERN = r"(?P<label>[^/]+)/(?P<split>train|val|test)_(?P<group>\d+)(\.mp4)?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders, with split and group in the names; indexed, extracted and trained on."""
    place = tmp_path_factory.mktemp("folders")
    motion = params_with(**TINY).motion
    for label in LABELS:
        for number, split in enumerate(SPLITS):
            rngs = (np.random.default_rng([seed, number]) for seed in (1, 2))
            path = place / "videos" / label / f"{split}_{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, draw_video(label, motion, *rngs), motion.fps, motion.codec)
    trained(place, root="videos", pattern=PATTERN)
    return place


def trained(place: Path, **index: Any) -> None:
    """Index, frames and a teacher of one epoch in a folder, by the commands."""
    write_params(place / "params.yaml", NETWORK, {"index": index})
    (place / "start").mkdir()
    (place / "checked").touch()
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=place)
    pptsm("frames", "--index", "index.csv", "--checked", "checked", "--out", "frames", cwd=place)
    pptsm("teacher", "--index", "index.csv", *TRAIN, cwd=place)


def same(place: Path, folders: Path) -> None:
    """The rows but for what is of the form, in the same order; and weights, byte for byte."""
    rows, expected = (load_index(folder / "index.csv").drop(columns=OF_THE_FORM) for folder in (place, folders))
    pd.testing.assert_frame_equal(rows[rows["split"] != ""].reset_index(drop=True), expected)
    digests = [
        hashlib.sha256((each / "teacher/weights.pdparams").read_bytes()).hexdigest() for each in (place, folders)
    ]
    assert digests[0] == digests[1]


def rows_of(folders: Path) -> pd.DataFrame:
    return load_index(folders / "index.csv")


def test_as_a_table(tmp_path: Path, folders: Path) -> None:
    """A CSV says everything; names say nothing."""
    (tmp_path / "flat").mkdir()
    rows = rows_of(folders)
    names = [f"{number:03d}.mp4" for number in range(len(rows))]
    for name, path in zip(names, rows["path"], strict=True):
        (tmp_path / "flat" / name).symlink_to(folders / "videos" / path)
    rows[["label", "split", "group"]].assign(path=names).to_csv(tmp_path / "own.csv", index=False)
    trained(tmp_path, root="flat", annotations="own.csv")
    same(tmp_path, folders)


def test_as_lists_of_paddlevideo(tmp_path: Path, folders: Path) -> None:
    """As `pptsm lists` writes them."""
    pptsm("lists", "--format", "paddlevideo", "--out", tmp_path / "lists", "--index", "index.csv",
          "--labels", "labels.txt", cwd=folders)  # fmt: skip
    files = [str(tmp_path / "lists" / f"{split}.list") for split in ("train", "val", "test")]
    labels = str(folders / "labels.txt")
    trained(
        tmp_path, root=str(folders / "videos"), annotations=files, format="list", label_file=labels, pattern=PATTERN
    )
    same(tmp_path, folders)


def test_as_frame_folders(tmp_path: Path, folders: Path) -> None:
    """Unpacked from archives, and packed again."""
    pptsm("unpack", "frames", "--out", tmp_path / "unpacked", cwd=folders)
    trained(tmp_path, root="unpacked", frame_name="img_%05d.jpg", pattern=PATTERN)
    same(tmp_path, folders)


CLASSES = (*PAIRS, *PAIRS.values(), "still", "there and back")
SECONDS, FPS = 10, 5


def long_clip(name: str, number: int) -> np.ndarray:
    """The frames of ten seconds of a class: those of the embedded dataset and two more made of them."""
    motion = params_with(motion={"frame_px": 32, "num_frames": SECONDS * FPS, "fps": FPS}).motion
    rngs = np.random.default_rng([3, number]), np.random.default_rng([4, number])
    frames = draw_video(name if name in (*PAIRS, *PAIRS.values()) else "right", motion, *rngs)
    if name == "still":
        return np.repeat(frames[:1], len(frames), axis=0)
    return np.concatenate([frames[::2], frames[::-2]]) if name == "there and back" else frames


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one video of ten minutes, 60 annotated ranges of ten classes, and all that a run makes."""
    project = copy_project(tmp_path_factory.mktemp("long") / "clone")
    (project / "data/raw/long").mkdir(parents=True)
    parts = [(name, number) for number in range(6) for name in CLASSES]
    write_video(project / "data/raw/long/day.mp4", np.concatenate([long_clip(*part) for part in parts]), FPS, "h264")
    lines = [
        f"day.mp4,{name},{SPLITS[min(number, 4)]},scene {number},{SECONDS * place},{SECONDS * (place + 1)}"
        for place, (name, number) in enumerate(parts)
    ]
    text = "\n".join(["path,label,split,group,start_sec,end_sec", *lines]) + "\n"
    (project / "data/annotations/day.csv").write_text(text, encoding="utf-8")
    index = {"root": "data/raw/long", "annotations": "data/annotations/day.csv"}
    write_params(project / "params.yaml", NETWORK, {"index": index, "student": {"epochs": 1}})
    run("dvc", "repro", cwd=project)
    return project


def test_a_long_file_goes_the_whole_way(long_file: Path) -> None:
    """60 clips, each of its seconds, evaluated and served as the same ones."""
    rows = load_index(long_file / "data/index.csv")
    assert rows["num_frames"].tolist() == [SECONDS * FPS] * 60
    assert sorted(rows["first_frame"]) == list(range(0, 3000, SECONDS * FPS))
    assert rows["path"].unique().tolist() == ["day.mp4"]
    assert rows["split"].value_counts().to_dict() == {"train": 30, "val": 10, "test": 20}
    predictions = pd.read_csv(long_file / "reports/evaluation/predictions.csv")
    assert set(predictions["id"]) == set(rows.loc[rows["split"] == "test", "id"])
    done = run("dvc", "status", "--json", cwd=long_file)
    assert done.stdout.strip() == "{}"


def test_a_long_file_trains_as_its_clips_apart(tmp_path: Path, long_file: Path) -> None:
    """The same clips as 60 frame folders: the same rows and the same weights, byte for byte."""
    pptsm("unpack", "data/frames", "--out", tmp_path / "apart", cwd=long_file)
    rows = load_index(long_file / "data/index.csv")
    rows[["id", "label", "split", "group"]].rename(columns={"id": "path"}).to_csv(tmp_path / "own.csv", index=False)
    trained(tmp_path, root="apart", frame_name="img_%05d.jpg", annotations="own.csv")
    found = load_index(tmp_path / "index.csv").drop(columns=OF_THE_FORM)
    pd.testing.assert_frame_equal(found, rows.drop(columns=OF_THE_FORM))
    weights = [folder / "weights.pdparams" for folder in (tmp_path / "teacher", long_file / "models/teacher")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

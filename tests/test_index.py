"""From a folder of videos, good and bad, to the index."""

import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import as_anyone, default_values, merged, moving_square, params_with, pptsm, write_params
from pptsm.data.table import load_index, save_index
from pptsm.ingest.index import build_index
from pptsm.ingest.probe import _digest_if_any, probe_all
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import MARKER
from pptsm.video.encode import write_video
from pptsm.video.scan import scan_for_videos

SEED = 9  # with it the hash puts each class of the six groups into each split


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of six videos each, in six groups."""
    monkeypatch.chdir(tmp_path)
    for label in ("left turn", "nan"):
        for group in range(6):
            path = tmp_path / "videos" / label / f"g{group}_1.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, moving_square(12, seed=group + 10 * (label == "nan")), 10, "h264")
    return tmp_path / "videos"


def index_of(root: Path, **changes: object) -> tuple[pd.DataFrame, list[str]]:
    params = params_with(index={"root": str(root), "probe_timeout_sec": 20, "split_seed": SEED, **changes})
    return build_index(params.index, 8, 1)


def test_every_video_gets_a_row_with_what_decoding_showed(videos: Path) -> None:
    """Label, group, frames, size and rate."""
    table, labels = index_of(videos)
    assert labels == ["left turn", "nan"]
    assert len(table) == 12
    row = table.iloc[0]
    assert (row["id"], row["label"], row["group"]) == ("left turn/g0_1.mp4", "left turn", "g0")
    assert (row["status"], row["num_frames"], row["width"], row["fps"]) == ("ok", 12, 32, 10)
    assert row["duration_sec"] == pytest.approx(1.2)


def test_the_table_survives_writing_and_reading(videos: Path, tmp_path: Path) -> None:
    """A class called "nan" stays a class."""
    table, _ = index_of(videos)
    save_index(table, tmp_path / "index.csv")
    pd.testing.assert_frame_equal(load_index(tmp_path / "index.csv"), table)


def test_no_group_is_on_two_sides(videos: Path) -> None:
    """Each group's videos share a split, and each class is in each split."""
    table, _ = index_of(videos)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert (pd.crosstab(table["label"], table["split"]) > 0).all(axis=None)


def test_bad_files_keep_a_row_with_the_reason(videos: Path) -> None:
    """Text, nothing, a cut-off file, and a file outside the pattern: none vanishes, none takes part."""
    whole = (videos / "nan" / "g0_1.mp4").read_bytes()
    (videos / "nan" / "g7_text.mp4").write_text("not a video")
    (videos / "nan" / "g7_empty.avi").touch()
    (videos / "nan" / "g7_cut.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "outside.mp4").write_bytes(whole)
    table = index_of(videos, max_unmatched_share=0.1)[0].set_index("id")
    bad = table.loc[["nan/g7_text.mp4", "nan/g7_empty.avi", "nan/g7_cut.mp4", "outside.mp4"]]
    assert bad["status"].tolist() == ["unreadable", "unreadable", "unreadable", "unmatched"]
    assert (bad["reason"] != "").all()
    assert (bad["split"] == "").all()
    assert (table.drop(bad.index)["split"] != "").all()


def test_a_video_cut_off_in_the_middle_is_truncated(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first half decodes; the header promises more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos" / "archery").mkdir(parents=True)
    data = (shared / "data" / "clips" / "archery_k400.avi").read_bytes()
    (tmp_path / "videos" / "archery" / "a_1.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "videos" / "archery" / "b_1.avi").write_bytes(data)
    (tmp_path / "videos" / "other").mkdir()
    (tmp_path / "videos" / "other" / "c_1.avi").write_bytes(data)
    table, _ = index_of(tmp_path / "videos")
    assert table["status"].tolist() == ["truncated", "ok", "ok"]
    assert "promises 131 frames, 67 decode" in table["reason"][0]


def test_names_with_spaces_quotes_and_letters_of_any_language_work(videos: Path) -> None:
    """A path is never put through a shell or an encoding."""
    odd = videos / "élan \"vital\" 'x' 走る" / "gü 1_$HOME;&.mp4"
    odd.parent.mkdir()
    odd.write_bytes((videos / "nan" / "g0_1.mp4").read_bytes())
    table, labels = index_of(videos)
    assert odd.parent.name in labels
    assert table.set_index("id").loc[f"{odd.parent.name}/{odd.name}", "status"] == "ok"


def test_a_name_that_is_no_text_is_a_row_like_any_bad_file(videos: Path, tmp_path: Path) -> None:
    """A file's and a folder's: a stand-in that can be written anywhere, the reason, no part; the others go on.

    Also where the same bytes were decoded under another name.
    """
    whole = (videos / "nan" / "g0_1.mp4").read_bytes()
    for name in (b"nan/g7_\xff.mp4", b"caf\xe9/g0_1.mp4"):
        path = Path(os.fsdecode(os.fsencode(videos) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole)
    table = index_columns(tmp_path)
    bad = table.loc[["nan/g7_\\xff.mp4", "caf\\xe9/g0_1.mp4"]]
    assert bad["status"].tolist() == ["unreadable"] * 2
    assert bad["reason"].tolist() == ["its name is no UTF-8 text: rename it"] * 2
    assert bad["split"].tolist() == ["", ""]
    assert (table.drop(bad.index)["status"] == "ok").all()
    assert len(table) == 14


def test_an_empty_root_says_what_was_looked_for(tmp_path: Path) -> None:
    """Where, what, how many other files, and what to do; nothing is written."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "readme.txt").touch()
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos"}})
    done = pptsm("index", "--out", "i.csv", "--labels", "l.txt", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "no video in videos" in done.stderr
    assert "found 1 other files" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*i.csv*"))


def index_columns(folder: Path, **changes: object) -> pd.DataFrame:
    """The index that the command writes for folder/videos, by id."""
    write_params(folder / "params.yaml", {"index": {"root": "videos", "split_seed": SEED, **changes}})
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=folder)
    return load_index(folder / "index.csv").set_index("id")


def test_one_video_more_moves_no_other(videos: Path, tmp_path: Path) -> None:
    """Through the command: a video in an old group, one in a new group and a class more; old rows stay as they were."""
    before = index_columns(tmp_path)
    some = (videos / "nan" / "g0_1.mp4").read_bytes()
    for name in ("nan/g0_2.mp4", "left turn/a6_1.mp4", "new/g1_1.mp4", "new/h1_1.mp4"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_bytes(some)
    after = index_columns(tmp_path)
    assert len(after) == len(before) + 4
    assert set(before["split"]) == {"train", "val", "test"}
    pd.testing.assert_series_equal(after.loc[before.index, "split"], before["split"])
    assert after.loc["nan/g0_2.mp4", "split"] == before.loc["nan/g0_1.mp4", "split"]


def test_the_seed_of_the_training_is_not_that_of_the_split(videos: Path, tmp_path: Path) -> None:
    """Three seeds are three trainings on one dataset."""
    before = index_columns(tmp_path)
    write_params(tmp_path / "params.yaml", {"seed": 5, "index": {"root": "videos", "split_seed": SEED}})
    pptsm("index", "--out", "other.csv", "--labels", "labels.txt", cwd=tmp_path)
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "index.csv").read_bytes()
    assert not index_columns(tmp_path, split_seed=SEED + 1)["split"].equals(before["split"])


def test_the_embedded_dataset_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """Another training seed draws the same bytes, another motion.seed others."""
    drawn = []
    for seed, motion_seed in ((1, 5), (2, 5), (1, 6)):
        small = {"videos_per_class": 1, "num_frames": 4, "seed": motion_seed}
        write_params(tmp_path / "params.yaml", {"seed": seed, "motion": small})
        pptsm("motion", "--out", "drawn", cwd=tmp_path)
        drawn.append({path.parent.name: path.read_bytes() for path in (tmp_path / "drawn").rglob("*.mp4")})
    assert len(drawn[0]) == 8
    assert drawn[0] == drawn[1]
    assert all(drawn[0][label] != drawn[2][label] for label in drawn[0])


def test_whoever_has_other_videos_is_not_told_of_an_empty_folder(tmp_path: Path) -> None:
    """DVC warns of an empty output; nothing is said where nothing is drawn."""
    write_params(tmp_path / "params.yaml", {"motion": {"videos_per_class": 0}})
    done = pptsm("motion", "--out", "drawn", cwd=tmp_path)
    assert done.stdout + done.stderr == ""
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [MARKER, "nothing_drawn.txt"]


def test_a_pattern_that_misses_a_class_stops_and_names_the_folder(videos: Path, tmp_path: Path) -> None:
    """Otherwise one class is left, and is recognised in 100 % of the cases; nothing is written."""
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos", "pattern": "(?P<label>nan)/(?P<group>g.).*"}})
    done = pptsm("index", "--out", "i.csv", "--labels", "l.txt", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "6 of the 12 videos in videos are not matched by index.pattern" in done.stderr
    assert "6 in 'left turn' (for example 'left turn/g0_1.mp4')" in done.stderr
    assert "index.max_unmatched_share" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.csv")) + list(tmp_path.glob("*.txt"))


def test_the_command_says_what_fell_where(videos: Path, tmp_path: Path) -> None:
    """Sizes and a few groups of each split; a warning with a seed that helps, where a split misses a class."""
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos", "split_seed": SEED}})
    done = pptsm("index", "--out", "i.csv", "--labels", "l.txt", cwd=tmp_path)
    assert "12 files (12 ok), 2 classes, 6 groups" in done.stderr
    assert "index: val: 2 videos of 1 groups (g0)" in done.stderr
    assert "index: test: 4 videos of 2 groups (g2, g3)" in done.stderr
    assert "warning" not in done.stderr
    for path in videos.glob("nan/g0_*"):
        path.unlink()
    done = pptsm("index", "--out", "i.csv", "--labels", "l.txt", cwd=tmp_path)
    assert "index: warning: val has no video of 'nan'" in done.stderr
    seed = int(done.stderr.split("With index.split_seed: ")[1].split()[0])
    assert seed > SEED
    table = index_columns(tmp_path, split_seed=seed)
    assert (pd.crosstab(table["label"], table["split"]) > 0).all(axis=None)


def test_linked_folders_are_followed_and_hidden_ones_left_out(videos: Path, tmp_path: Path) -> None:
    """A class that lies elsewhere counts; a link in a circle ends; a link to nothing is reported."""
    (videos / "nan").rename(tmp_path / "elsewhere")
    (videos / "nan").symlink_to(tmp_path / "elsewhere")
    (videos / "left turn" / "circle").symlink_to(videos)
    (videos / "left turn" / ".g0_1.mp4").write_text("hidden")
    (videos / ".cache").mkdir()
    (videos / ".cache" / "g0_1.mp4").write_text("hidden")
    (videos / "left turn" / "g9_1.mp4").symlink_to(tmp_path / "nowhere.mp4")
    table = index_columns(tmp_path)
    expected = [f"{label}/g{group}_1.mp4" for label in ("left turn", "nan") for group in range(6)]
    assert list(table.index) == sorted([*expected, "left turn/g9_1.mp4"])
    assert table.loc["left turn/g9_1.mp4", "reason"] == "cannot be read: No such file or directory"
    assert scan_for_videos(videos) == [videos / name for name in table.index]


def test_a_folder_that_cannot_be_looked_into_is_a_row(videos: Path, tmp_path: Path) -> None:
    """Its videos would vanish from the index otherwise; nor does a folder end it that may be listed but not entered."""
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos", "split_seed": SEED}})
    (videos / "shut").mkdir()
    (videos / "no entry").mkdir()
    (videos / "no entry" / "g1_2.mp4").touch()
    (videos / "shut").chmod(0)
    (videos / "no entry").chmod(0o444)
    done = as_anyone("pptsm", "index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = load_index(tmp_path / "index.csv").set_index("id")
    assert table.loc["shut", ["status", "label_index", "split"]].tolist() == ["unreadable", -1, ""]
    assert table.loc["shut", "reason"] == "a folder that cannot be looked into: Permission denied"
    assert table.loc["no entry/g1_2.mp4", "reason"] == "cannot be read: Permission denied"
    assert table["status"].value_counts().to_dict() == {"ok": 12, "unreadable": 2}


def test_a_root_that_cannot_be_looked_into_is_a_sentence(tmp_path: Path) -> None:
    """Not an index of one row."""
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos"}})
    (tmp_path / "videos").mkdir(0)
    done = as_anyone("pptsm", "index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "index.root is 'videos', but there is no such folder that can be looked into (Permission denied" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_file_that_goes_after_it_was_listed_is_a_row(videos: Path) -> None:
    """Whether its turn has not come yet, or its decoding was given up."""
    gone = videos / "nan" / "gone.mp4"
    params = params_with(index={"probe_timeout_sec": 300}).index
    row = probe_all([videos / "nan" / "g0_1.mp4", gone], params, 1).iloc[1]
    assert row[["status", "reason"]].tolist() == ["unreadable", "cannot be read: No such file or directory"]
    assert row[["size_bytes", "sha256"]].tolist() == [0, ""]
    assert _digest_if_any(gone, 300) == ""


def test_files_that_take_no_part_are_not_opened(videos: Path, tmp_path: Path) -> None:
    """Videos that a subset list leaves out cost no decoding, and may be broken."""
    (videos / "nan" / "g0_2.mp4").write_text("no video")
    (videos / "other").mkdir()
    (videos / "other" / "g0_1.mp4").write_text("no video")
    names = [f"{label}/g{group}_1.mp4" for label in ("left turn", "nan") for group in range(6)]
    (tmp_path / "train.txt").write_text("".join(f"{name} 1\n" for name in names if "g5" not in name))
    (tmp_path / "test.txt").write_text("".join(f"{name}\n" for name in names if "g5" in name))
    table = index_columns(tmp_path, train_list="train.txt", test_list="test.txt")
    assert table["status"].value_counts().to_dict() == {"ok": 12, "unlisted": 2}
    assert table.loc["other/g0_1.mp4", ["label_index", "split", "num_frames"]].tolist() == [-1, "", 0]
    assert table.loc[names, "split"].value_counts().to_dict() == {"train": 10, "test": 2}
    assert (tmp_path / "labels.txt").read_text() == "left turn\nnan\n"


def test_excluded_videos_take_no_part_and_count_in_no_share(videos: Path) -> None:
    """A broken one, one outside the pattern and one of a class of its own: rows with the pattern, nothing else."""
    for name in ("nan/g7_blurred.mp4", "outside.mp4", "third/g8_blurred.mp4"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_text("no video")
    patterns = ["*_blurred.mp4", "outside*"]
    table, labels = index_of(videos, exclude=patterns, max_unmatched_share=0.0)
    excluded = table[table["status"] == "excluded"].set_index("id")
    assert excluded["reason"].to_dict() == {
        "nan/g7_blurred.mp4": "index.exclude has '*_blurred.mp4'",
        "outside.mp4": "index.exclude has 'outside*'",
        "third/g8_blurred.mp4": "index.exclude has '*_blurred.mp4'",
    }
    assert set(excluded["split"]) == {""}
    assert labels == ["left turn", "nan"]
    assert table["status"].value_counts().to_dict() == {"ok": 12, "excluded": 3}


def test_an_excluded_video_of_a_list_is_not_missed(videos: Path, tmp_path: Path) -> None:
    """Neither as missing nor as unlisted."""
    names = [f"{label}/g{group}_1.mp4" for label in ("left turn", "nan") for group in range(6)]
    (tmp_path / "train.txt").write_text("".join(f"{name}\n" for name in [*names[:5], *names[6:11], "nan/gone.mp4"]))
    (tmp_path / "test.txt").write_text(f"{names[5]}\n{names[11]}\n")
    lists = {"train_list": "train.txt", "test_list": "test.txt", "max_missing_share": 0.0, "max_unlisted_share": 0.0}
    table = index_of(videos, exclude=["nan/g[01]_1.mp4", "nan/gone.mp4"], **lists)[0].set_index("id")
    assert table.loc[["nan/g0_1.mp4", "nan/g1_1.mp4"], "status"].tolist() == ["excluded"] * 2
    assert table["split"].value_counts().to_dict() == {"train": 8, "": 2, "test": 2}


def test_a_pattern_that_excludes_nothing_is_mentioned(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be mistyped; or the video is gone, which must not stop a run."""
    table, _ = index_of(videos, exclude=["*_blured.mp4"])
    assert set(table["status"]) == {"ok"}
    said = capsys.readouterr().err
    assert "index.exclude has '*_blured.mp4', which no path is like (they are like 'left turn/g0_1.mp4')" in said


@pytest.mark.parametrize(("short_videos", "status"), [("leave_out", "short"), ("error", "ok")])
def test_a_short_video_is_left_out_with_a_reason_or_left_to_validation(
    videos: Path, tmp_path: Path, short_videos: str, status: str
) -> None:
    """Seven frames where eight are asked for; eight are enough. Left out, it does not stop the validation."""
    write_video(videos / "nan" / "g7_short.mp4", moving_square(7, seed=3), 10, "h264")
    write_video(videos / "nan" / "g8_enough.mp4", moving_square(8, seed=4), 10, "h264")
    table = index_columns(tmp_path, short_videos=short_videos)
    row = table.loc["nan/g7_short.mp4"]
    assert (row["status"], row["split"] == "") == (status, status == "short")
    assert row["reason"] == ("7 frames, fewer than validate.min_frames (8)" if status == "short" else "")
    assert table.loc["nan/g8_enough.mp4", "status"] == "ok"
    options = ["--index", "index.csv", "--labels", "labels.txt", "--out", "result.json", "--docs", "docs"]
    done = pptsm("validate", *options, cwd=tmp_path, check=False)
    assert done.returncode == (1 if status == "ok" else 0), done.stderr
    assert (f"nan/g7_short.mp4 (class nan, {row['split']}): num_frames is 7" in done.stderr) == (status == "ok")
    assert ("1 videos of too few frames, which index.short_videos leaves out" in done.stderr) == (status == "short")


def test_a_missing_root_and_a_pattern_that_never_matches_are_explained(videos: Path) -> None:
    """Each with the value found and an example."""
    with pytest.raises(UserError, match="there is no such folder"):
        index_of(videos / "nowhere")
    with pytest.raises(UserError, match="matches none of the 12 videos"):
        index_of(videos, pattern="(?P<label>x)")


def test_held_out_groups_decide(videos: Path) -> None:
    """Named groups go where they are named, all others to training."""
    table, _ = index_of(videos, test_groups=["g1", "g4"])
    assert set(table.loc[table["split"] == "test", "group"]) == {"g1", "g4"}
    assert set(table["split"]) == {"train", "test"}
    with pytest.raises(UserError, match="name \\['gx'\\]"):
        index_of(videos, test_groups=["gx"])


def test_the_pattern_may_name_the_split(videos: Path) -> None:
    """Kinetics-style folders: train/, Validation/ above the classes."""
    for split, groups in (("train", "g[0-3]"), ("Validation", "g[45]")):
        for label in ("left turn", "nan"):
            (videos / split / label).mkdir(parents=True)
            for path in list((videos / label).glob(f"{groups}_1.mp4")):
                path.rename(videos / split / label / path.name)
    table, labels = index_of(videos, pattern="(?P<split>[^/]+)/(?P<label>[^/]+)/[^/]*")
    assert labels == ["left turn", "nan"]
    assert table.groupby(table["id"].str.split("/").str[0])["split"].unique().map(list).to_dict() == {
        "Validation": ["val"],
        "train": ["train"],
    }


@pytest.mark.parametrize("lines", [["nan", "left turn"], ["0 nan", "1 left turn"], ["NaN", "left_turn"]])
def test_a_label_file_gives_the_order_of_the_classes(videos: Path, tmp_path: Path, lines: list[str]) -> None:
    """With or without numbers, as published lists have them."""
    (tmp_path / "names.txt").write_text("\n".join(lines))
    table, labels = index_of(videos, label_file=str(tmp_path / "names.txt"))
    names = [line.split(" ", 1)[1] if line[0].isdigit() else line for line in lines]
    assert labels == names
    assert set(table.loc[table["label"] == names[1], "label_index"]) == {1}
    assert set(table["label"]) == set(names)


def test_probing_twice_decodes_once(videos: Path, tmp_path: Path) -> None:
    """Probes are kept by content: the second index takes them from the store."""
    first, _ = index_of(videos)
    for probe in probes_in(tmp_path):
        probe.write_text(probe.read_text().replace('"width": 32', '"width": 7'))  # no decoding would find this
    for path in videos.rglob("*.mp4"):
        path.rename(path.with_name(f"x{path.name}"))
    second, _ = index_of(videos)
    np.testing.assert_array_equal(first["sha256"], second["sha256"])
    assert set(second["width"]) == {7}


def probes_in(folder: Path) -> list[Path]:
    return sorted((folder / ".pptsm" / "probes").rglob("*.json"))


def test_damaged_probes_are_said_and_probed_again(
    videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever became of them, the index is the same, and the store works again."""
    first, _ = index_of(videos)
    whole = {probe: probe.read_bytes() for probe in probes_in(tmp_path)}
    damages = {"garbage": b"\xff" * 500, "cut off": b"", "empty": b"", "other fields": b'{"colour": "red"}'}
    damages |= {"a list": b"[1, 2]", "null": b"null", "folder": b""}
    assert len(whole) == first["sha256"].nunique() >= len(damages)
    done = {}
    for (probe, content), damage in zip(whole.items(), itertools.cycle(damages), strict=False):
        probe.unlink()
        if damage == "folder":
            probe.mkdir()
            (probe / "something").touch()
        else:
            probe.write_bytes(content[:40] if damage == "cut off" else damages[damage])
        done[probe] = damage
    capfd.readouterr()
    second, _ = index_of(videos)
    pd.testing.assert_frame_equal(first, second)
    said = [line for line in capfd.readouterr().err.splitlines() if "is damaged and forgotten" in line]
    assert [damage for probe, damage in done.items() if not any(probe.name in line for line in said)] == []
    assert len(said) == len(whole)
    assert [damage for probe, damage in done.items() if not probe.is_file() or probe.read_bytes() != whole[probe]] == []


def test_default_values_are_not_changed_by_tests() -> None:
    """`merged` copies."""
    values = default_values()
    merged(values, {"clip": {"crop_px": 1}})
    assert values["clip"]["crop_px"] != 1

"""From a folder of videos, good and bad, to the index."""

from pathlib import Path

import diskcache
import numpy as np
import pandas as pd
import pytest

from conftest import default_values, merged, moving_square, params_with, pptsm, write_params
from pptsm.data.index import assign_splits, build_index
from pptsm.data.table import load_index, save_index
from pptsm.data.video import write_video
from pptsm.errors import UserError


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
    params = params_with(index={"root": str(root), "probe_timeout_sec": 20, **changes})
    return build_index(params.index, seed=1)


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
    table = index_of(videos)[0].set_index("id")
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
    table, _ = index_of(tmp_path / "videos")
    assert table["status"].tolist() == ["truncated", "ok"]
    assert "promises 131 frames, 67 decode" in table["reason"][0]


def test_names_with_spaces_quotes_and_letters_of_any_language_work(videos: Path) -> None:
    """A path is never put through a shell or an encoding."""
    odd = videos / "élan \"vital\" 'x' 走る" / "gü 1_$HOME;&.mp4"
    odd.parent.mkdir()
    odd.write_bytes((videos / "nan" / "g0_1.mp4").read_bytes())
    table, labels = index_of(videos)
    assert odd.parent.name in labels
    assert table.set_index("id").loc[f"{odd.parent.name}/{odd.name}", "status"] == "ok"


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


def test_a_missing_root_and_a_pattern_that_never_matches_are_explained(videos: Path) -> None:
    """Each with the value found and an example."""
    with pytest.raises(UserError, match="there is no such folder"):
        index_of(videos / "nowhere")
    with pytest.raises(UserError, match="matches none of the 12 videos"):
        index_of(videos, pattern="(?P<label>x)")


def test_held_out_groups_and_split_lists_decide(videos: Path, tmp_path: Path) -> None:
    """Named groups go where they are named; videos in no list take no part."""
    table, _ = index_of(videos, test_groups=["g1", "g4"])
    assert set(table.loc[table["split"] == "test", "group"]) == {"g1", "g4"}
    assert set(table["split"]) == {"train", "test"}
    with pytest.raises(UserError, match="name \\['gx'\\]"):
        index_of(videos, test_groups=["gx"])
    (tmp_path / "train.txt").write_text("nan/g0_1.mp4 2\nnan/g1_1.mp4 2\nnan/gone_1.mp4 2\n")
    (tmp_path / "test.txt").write_text("left turn/g2_1.mp4\n")
    table, _ = index_of(videos, train_list=str(tmp_path / "train.txt"), test_list=str(tmp_path / "test.txt"))
    assert table.groupby("split").size().to_dict() == {"": 10, "test": 1, "train": 2}
    assert table.set_index("id").loc["nan/gone_1.mp4", "status"] == "missing"  # it does not vanish
    (tmp_path / "test.txt").write_text("nan/g0_1.mp4\n")
    with pytest.raises(UserError, match="1 videos stand in both split lists"):
        index_of(videos, train_list=str(tmp_path / "train.txt"), test_list=str(tmp_path / "test.txt"))


def test_shares_come_out_evenly_in_every_class() -> None:
    """100 classes with groups of their own: each class has 7/1/2 of its ten groups."""
    rows = [{"label": f"c{c}", "group": f"c{c}g{g}"} for c in range(100) for g in range(10)]
    params = params_with().index
    splits = assign_splits(pd.DataFrame(rows), params, seed=3)
    counts = pd.crosstab(pd.DataFrame(rows)["label"], splits)
    assert (counts["train"] == 7).all()
    assert (counts["val"] == 1).all()
    assert (counts["test"] == 2).all()


def test_the_split_follows_from_the_seed() -> None:
    """Same seed, same split; another seed, another."""
    rows = pd.DataFrame([{"label": "a", "group": f"g{g}"} for g in range(30)])
    params = params_with().index
    assert assign_splits(rows, params, 1).equals(assign_splits(rows, params, 1))
    assert not assign_splits(rows, params, 1).equals(assign_splits(rows, params, 2))


def test_the_pattern_may_name_the_split(videos: Path) -> None:
    """Kinetics-style folders: train/, val/ above the classes."""
    for old, new in (("left turn", "train"), ("nan", "val")):
        (videos / new).mkdir()
        (videos / old).rename(videos / new / "jump")
    table, labels = index_of(videos, pattern="(?P<split>train|val)/(?P<label>[^/]+)/[^/]*")
    assert labels == ["jump"]
    assert table["split"].value_counts().to_dict() == {"train": 6, "val": 6}


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
    with diskcache.Cache(str(tmp_path / ".pptsm" / "probes"), disk=diskcache.JSONDisk) as known:
        for key in known:
            known[key] = known[key] | {"width": 7}  # no decoding would find this
    for path in videos.rglob("*.mp4"):
        path.rename(path.with_name(f"x{path.name}"))
    second, _ = index_of(videos)
    np.testing.assert_array_equal(first["sha256"], second["sha256"])
    assert set(second["width"]) == {7}


def test_default_values_are_not_changed_by_tests() -> None:
    """`merged` copies."""
    values = default_values()
    merged(values, {"clip": {"crop_px": 1}})
    assert values["clip"]["crop_px"] != 1

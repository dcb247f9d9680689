"""The split as lists of other toolboxes: they say it as those read it, and read back they are the same split."""

from pathlib import Path

import pandas as pd
import pytest

from conftest import good_index, params_with, pptsm
from pptsm.data.table import SPLITS, save_index, save_labels
from pptsm.ingest.export_lists import Toolbox, lists_for
from pptsm.ingest.index import plan_index
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import MARKER

LABELS = ["jump", "run"]


def index_with(**changes: object) -> pd.DataFrame:
    """Two classes, a video of each in each split; the first row with changes."""
    table = good_index()
    table.loc[0, list(changes)] = list(changes.values())
    return table


def write(table: pd.DataFrame, folder: Path, *options: str) -> tuple[dict[str, str], str]:
    """Write lists as a person does: their texts by name, and what was said."""
    (folder / "data").mkdir()
    save_index(table, folder / "data" / "index.csv")
    save_labels(LABELS, folder / "data" / "labels.txt")
    done = pptsm("lists", *options, "--out", "lists", cwd=folder)
    files = [path for path in (folder / "lists").iterdir() if path.name != MARKER]
    return {path.name: path.read_text() for path in files}, done.stdout + done.stderr


@pytest.mark.parametrize(("options", "names", "line"), [
    (["paddlevideo"], ["train.list", "val.list", "test.list"], "run/a.mp4 1"),
    (["paddlevideo", "--frames"], ["train.list", "val.list", "test.list"], "run/a.mp4 30 1"),
    (["mmaction2"], [f"{split}_list_videos.txt" for split in SPLITS], "run/a.mp4 1"),
    (["mmaction2", "--frames"], [f"{split}_list_rawframes.txt" for split in SPLITS], "run/a.mp4 30 1"),
    (["paddlex"], ["train.txt", "val.txt", "label.txt"], "videos/run/a.mp4 1"),
])  # fmt: skip
def test_lists_are_written_as_the_toolbox_reads_them_and_read_back_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], names: list[str], line: str
) -> None:
    """Names, lines and numbers; through index.annotations they give the same clips, classes and splits."""
    table = good_index()
    texts, said = write(table, tmp_path, "--format", *options)
    assert sorted(texts) == sorted(names)
    assert line in texts[names[0]].splitlines()
    assert all(len(row.split(" ")) == len(line.split(" ")) for name in names[:2] for row in texts[name].splitlines())
    prefix = "videos/" if options[0] == "paddlex" else ""
    assert ("ln -s ROOT lists/videos" in said) == bool(prefix)
    monkeypatch.chdir(tmp_path)
    changes: dict[str, object] = {"root": "videos", "annotations": "lists"}
    if "--frames" in options:
        changes["frame_name"] = "img_%05d.jpg"
    if not prefix:
        changes["label_file"] = "data/labels.txt"
    expected = table if not prefix else table[table["split"] != "test"]
    params = params_with(index=changes | {"max_unlisted_share": 0.5}).index
    read, labels = plan_index([prefix + name for name in table["id"]], params)
    assert labels == LABELS
    read = read[read["status"] == "ok"].sort_values("id")
    assert read["id"].tolist() == [prefix + name for name in expected["id"]]
    for column in ("label", "label_index", "split"):
        assert read[column].tolist() == expected[column].tolist(), column


def test_an_index_without_validation_gives_paddlex_its_test(tmp_path: Path) -> None:
    """And says so; the others have no list for it, and say that."""
    table = good_index()
    table.loc[table["split"] == "val", "split"] = "train"
    texts, said = write(table, tmp_path, "--format", "paddlex")
    assert texts["val.txt"] == "videos/jump/c.mp4 0\nvideos/run/c.mp4 1\n"
    assert texts["label.txt"] == "0 jump\n1 run\n"
    assert "val.txt has those of the test" in said
    texts, notes = lists_for("paddlevideo", table, LABELS, frames=False)
    assert list(texts) == ["train.list", "test.list"]
    assert notes == ["no clip is for val, so there is no val.list"]


def test_the_test_that_paddlex_does_not_look_at_is_said() -> None:
    """It is left out; a dataset that lies in videos/ already stays there."""
    table = good_index()
    table["id"] = table["path"] = "videos/" + table["id"]
    texts, notes = lists_for("paddlex", table, LABELS, frames=False)
    assert texts["train.txt"] == "videos/jump/a.mp4 0\nvideos/run/a.mp4 1\n"
    assert notes == ["PaddleX looks at one split beside train: val. The test (2 clips) is left out"]


def test_rows_that_take_no_part_are_in_no_list() -> None:
    """A broken file, say."""
    texts, _ = lists_for("mmaction2", index_with(split="", status="unreadable"), LABELS, frames=False)
    assert texts["train_list_videos.txt"] == "run/a.mp4 1\n"


@pytest.mark.parametrize(("toolbox", "frames", "changes", "sentence"), [
    ("paddlevideo", False, {"id": "jump/a b.mp4", "path": "jump/a b.mp4"},
     "1 clips of the index have spaces in their paths, at which paddlevideo ends a path: 'jump/a b.mp4'. Rename"),
    ("mmaction2", False, {"id": "jump/a.mp4#1-2"}, "are parts of files, .*'jump/a.mp4#1-2'. `pptsm unpack` makes"),
    ("paddlevideo", False, {"id": "jump/a", "path": "jump/a"}, "are folders of frames, not videos: 'jump/a'. --frames"),
    ("paddlex", True, {}, "PaddleX reads video files only"),
])  # fmt: skip
def test_what_lists_cannot_say_is_refused(
    toolbox: Toolbox, frames: bool, changes: dict[str, object], sentence: str
) -> None:
    """Left out, it would be another dataset."""
    with pytest.raises(UserError, match=sentence):
        lists_for(toolbox, index_with(**changes), LABELS, frames)


def test_parts_of_files_are_listed_as_folders_of_frames() -> None:
    """Each part has an archive of its own, so a folder when it is unpacked."""
    texts, _ = lists_for("mmaction2", index_with(id="jump/a.mp4#1-2"), LABELS, frames=True)
    assert texts["train_list_rawframes.txt"].splitlines()[0] == "jump/a.mp4#1-2 30 0"


def test_an_index_that_is_unfit_is_refused() -> None:
    """Nothing to train on, or nothing at all."""
    table = good_index()
    with pytest.raises(UserError, match="no clip in any split"):
        lists_for("paddlevideo", table.assign(split=""), LABELS, frames=False)
    with pytest.raises(UserError, match=r"needs a train\.txt and a val\.txt, but the index has no clip for val"):
        lists_for("paddlex", table.assign(split="train"), LABELS, frames=False)
    with pytest.raises(UserError, match="no clip for train"):
        lists_for("paddlex", table.assign(split="test"), LABELS, frames=False)


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    """Lists that were written before are."""
    write(good_index(), tmp_path, "--format", "paddlevideo")
    pptsm("lists", "--format", "mmaction2", "--out", "lists", cwd=tmp_path)
    assert (tmp_path / "lists" / "train_list_videos.txt").is_file()
    assert not (tmp_path / "lists" / "train.list").exists()
    done = pptsm("lists", "--format", "mmaction2", "--out", ".", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "would be replaced with all that is in it" in done.stderr
    assert "Traceback" not in done.stderr

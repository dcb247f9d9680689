"""Videos with annotations: what the index makes of both."""

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from conftest import params_with, pptsm, write_params
from helpers.annotations import (
    ENTRIES,
    FILES,
    NAMES,
    PULLING,
    SEED,
    TEST,
    TRAIN,
    VALIDATE,
    Write,
    labels,
    plan,
    read,
    refused,
    rows,
    write,
)
from pptsm.data.table import UNANNOTATED, UNLABELLED, load_index
from pptsm.ingest.index import plan_index
from pptsm.ingest.splits import advice
from pptsm.presets.compose import PRESETS
from pptsm.runtime.errors import ParamsError, UserError

__all__ = ["write"]  # a fixture


def test_annotations_tell_the_class_and_the_pattern_the_group(write: Write) -> None:
    """A group that the table names goes before; a file outside the pattern is a group of its own; shares decide."""
    ids = [*FILES, "loose.mp4"]
    table = plan(write("mine.csv", rows(ids)), ids)
    assert table.loc[["p0/0.mp4", "p0/1.mp4", "loose.mp4"], "label"].tolist() == ["jump", "run", "jump"]
    assert table.loc[["p0/0.mp4", "p5/3.mp4", "loose.mp4"], "group"].tolist() == ["p0", "p5", "loose.mp4"]
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "val", "test"}
    named = rows(FILES).replace("\n", ",team\n").replace("path,label,team", "path,label,group") + ",team"
    assert set(plan(write("mine.csv", named), train_share=1.0, val_share=0.0, test_share=0.0)["group"]) == {"team"}


def test_the_split_of_the_pattern_does_not_decide_beside_annotations(write: Write) -> None:
    """A table without splits leaves them to the shares, whatever the folders are called."""
    table = plan(write("mine.csv", rows(FILES)), pattern=r"(?P<split>(?P<group>p\d))/.*")
    assert set(table["split"]) == {"train", "val", "test"}


def test_parts_of_a_file_are_rows_of_their_own_and_fall_to_one_split(write: Write) -> None:
    """Their ids have the seconds; where nothing tells a group it is the file."""
    text = "path,label,start_sec,end_sec\n" + "\n".join(
        f"{name},{label},{start},{start + 1.5}" for name in FILES for start, label in enumerate(("jump", "run"))
    )
    table = plan(write("mine.csv", text), pattern="")
    assert len(table) == 2 * len(FILES)
    row = table.loc["p0/0.mp4#1-2.5"]
    assert row[["path", "label", "group", "start_sec", "end_sec", "where"]].tolist() == [
        "p0/0.mp4", "run", "p0/0.mp4", 1, 2.5, "mine.csv line 3"
    ]  # fmt: skip
    assert (table.groupby("path")["split"].nunique() == 1).all()


def test_files_that_no_annotation_names_and_clips_that_are_gone_stay_rows(write: Write) -> None:
    """With label and reason, up to the shares; above them the sentence names the parameter."""
    name = write("mine.csv", rows(FILES[:-1], "gone/1.mp4,swim"))
    table = plan(name, max_missing_share=0.05)
    assert table.loc["gone/1.mp4", ["label", "status", "split"]].tolist() == ["swim", "missing", ""]
    assert table.loc["gone/1.mp4", "label_index"] == 2
    assert table.loc[FILES[-1], ["label", "status", "reason", "split"]].tolist() == ["", "unlisted", UNANNOTATED, ""]
    with pytest.raises(UserError, match=r"1 of the 24 videos in index.annotations are not in videos, .*max_missing_sh"):
        plan(name, max_missing_share=0.04)
    with pytest.raises(UserError, match=r"1 of the 24 videos are named by no annotation: .*max_unlisted_share"):
        plan(name, max_missing_share=0.05, max_unlisted_share=0.04)


def test_what_is_excluded_is_neither_missed_nor_unlisted(write: Write) -> None:
    """Also where a clip is found by its name alone; of two files of a name, one may be excluded."""
    text = "label,youtube_id,time_start,time_end,split\n" + "\n".join(
        f"{label},{number:011d},0,10,{split}"
        for number, (label, split) in enumerate([("jump", "train"), ("run", "train"), ("run", "val"), ("run", "val")])
    )
    ids = [f"{folder}/{number:011d}_000000_000010.mp4" for folder in ("a", "b") for number in range(3)]
    ids += ["c/00000000003.mp4", "c/d/00000000003.mp4"]
    table = plan(write("k.csv", text), ids, exclude=["b/*", "c/*"], max_missing_share=0.0, max_unlisted_share=0.0)
    assert table["status"].to_dict() == dict.fromkeys(ids[:3], "ok") | dict.fromkeys(ids[3:], "excluded")
    assert table["label"].tolist()[:3] == ["jump", "run", "run"]


def test_videos_of_a_test_without_labels_take_no_part(write: Write) -> None:
    """They count in no share."""
    files = [write("train.csv", TRAIN + "run,ghijklmnop7,0,10,train,0\n"), write("test.csv", TEST)]
    ids = ["x/_bcd-efg_h2.mp4", "x/ghijklmnop7.mp4", "x/efghijklmn5.mp4"]
    table = plan(files, ids, max_missing_share=0.5, max_unlisted_share=0.0)
    assert table.loc["x/efghijklmn5.mp4", ["status", "reason", "label_index"]].tolist() == ["unlisted", UNLABELLED, -1]
    assert table["status"].value_counts().to_dict() == {"ok": 2, "missing": 2, "unlisted": 1}


def test_the_numbers_of_annotations_are_the_order_of_the_classes(write: Write) -> None:
    """label_file goes before; without either, they are sorted by name."""
    ids = [f"{number}.mp4" for number in range(12)]
    numbered = write("all.list", "\n".join(f"{number}.mp4 {11 - number}" for number in range(12)))
    table = plan(numbered, ids, format="list")
    assert table["label_index"].to_dict() == {f"{number}.mp4": 11 - number for number in range(12)}
    names = write("names.txt", "\n".join(f"class {number:02d}" for number in range(12)))
    table = plan(numbered, ids, format="list", label_file=names)
    assert table.loc["0.mp4", ["label", "label_index"]].tolist() == ["class 11", 11]
    order = write("order.txt", "run\njump\n")
    assert set(plan(write("mine.csv", rows(FILES)), label_file=order).loc["p0/0.mp4", ["label"]]) == {"jump"}
    assert plan(write("mine.csv", rows(FILES)), label_file=order).loc["p0/0.mp4", "label_index"] == 1
    with pytest.raises(UserError, match=r"classes \['run'\] are not in index.label_file .*, which names \['jump'\]"):
        plan(write("mine.csv", rows(FILES)), label_file=write("order.txt", "jump\n"))


def test_a_number_that_ends_a_folder_is_no_class(write: Write) -> None:
    """Where a path ends is seen from what is there, for the order of the classes too."""
    ids = ["walk/subject 1", "walk/subject 2", "run/subject 1", "run/subject 2", "walk/subject 7"]
    train = write("train.list", "\n".join(f"{name} {number}" for name, number in zip(ids, [0, 0, 1, 1], strict=False)))
    files = [train, write("test.list", ids[4])]
    changes: dict[str, object] = {"format": "list", "frame_name": "img_%05d.jpg"}
    assert read(files, ids, **changes)["label"].to_dict() == dict(zip(ids, ["0", "0", "1", "1", ""], strict=True))
    assert labels(files, ids, **changes) == ["0", "1"]


def test_held_out_groups_go_with_annotations_unless_these_have_splits(write: Write) -> None:
    """Groups of the pattern."""
    table = plan(write("mine.csv", rows(FILES)), test_groups=["p0"], val_groups=["p1"])
    assert table.groupby("group")["split"].first().to_dict() == {
        "p0": "test", "p1": "val", "p2": "train", "p3": "train", "p4": "train", "p5": "train"
    }  # fmt: skip
    train, test = write("train.csv", rows(FILES[4:])), write("test.csv", rows(FILES[:4]))
    table = plan([train, test], val_groups=["p1"])
    assert table["split"].value_counts().to_dict() == {"train": 16, "val": 4, "test": 4}
    with pytest.raises(UserError, match="test_groups is given, but the annotations already say"):
        plan([train, test], test_groups=["p1"])


def test_advice_is_given_only_where_shares_decide(write: Write) -> None:
    """A test list that misses a class is no matter of the seed; what falls to a split by its hash is."""
    train, test = write("train.csv", rows(FILES[4:])), write("test.csv", "path,label\np0/0.mp4,jump\n")
    shares: dict[str, Any] = {"train_share": 0.8, "val_share": 0.0, "test_share": 0.2}
    table = plan([train, test], max_unlisted_share=0.2, **shares)
    params = params_with(index={"annotations": [train], "pattern": "", "split_seed": SEED, **shares}).index
    assert advice(table[table["split"] != ""], params) is None
    drawn = plan(write("mine.csv", rows(FILES)), **shares)
    drawn.loc[drawn["split"] == "test", "label"] = "jump"
    assert "test has no video of 'run'" in str(advice(drawn, params))


@pytest.mark.parametrize(("change", "sentence"), [
    ({"annotations": "a.csv", "train_list": "a", "test_list": "b"}, "annotations and train_list both name the clips"),
    ({"annotations": 3}, "annotations is 3, but should be a valid list"),
    ({"annotations": [""]}, "is no path: it is empty"),
    ({"format": "ava"}, "format is 'ava', but should be 'auto', 'csv', 'kinetics'"),
    ({"official_split": 4}, "official_split is 4, but should be less than or equal to 3"),
])  # fmt: skip
def test_parameters_that_contradict_themselves_are_refused(change: dict[str, object], sentence: str) -> None:
    """Before anything is read."""
    with pytest.raises(ParamsError, match=sentence):
        params_with(index=change)


RUNS = ["run/1.mp4", "run/2.mp4", "walk/1.mp4", "walk/2.mp4"]


@pytest.mark.parametrize("form", ["{} {}", "{}\t{}", '"{}" {}', "./{}   {}", "{} {}\r"])
@pytest.mark.parametrize("names", [("other", "straight"), ("air drumming", "ZumbA-2"), ("走る", "a, b")])
def test_a_list_of_class_names_is_read_as_what_it_says(write: Write, form: str, names: tuple[str, str]) -> None:
    """Not as UCF101's, where the folder is the class: here every folder has both."""
    texts = [form.format(path, names[number % 2]) for number, path in enumerate(RUNS)]
    clips = read(write("train.txt", "\n".join(texts)), RUNS)
    assert clips["label"].to_dict() == {path: names[number % 2] for number, path in enumerate(RUNS)}
    assert labels(write("train.txt", "\n".join(texts))) is None


@pytest.mark.parametrize("line", ["run/3.mp4 -1", "run/3.mp4"])
def test_a_clip_of_the_test_without_a_label_takes_no_labels_from_the_others(
    write: Write, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others keep theirs; that one stays a row without."""
    files = [
        write("train.list", "run/1.mp4 1\nwalk/1.mp4 0\n"),
        write("test.list", f"run/2.mp4 0\n{line}\nwalk/2.mp4 1\n"),
    ]
    clips = read(files, [*RUNS, "run/3.mp4"])
    assert clips["label"].to_dict() == {
        "run/1.mp4": "1", "walk/1.mp4": "0", "run/2.mp4": "0", "run/3.mp4": "", "walk/2.mp4": "1"
    }  # fmt: skip
    assert "1 of 3 clips in the test's list have no label" in capsys.readouterr().err
    table = plan(files, [*RUNS, "run/3.mp4"], pattern="", max_unlisted_share=0.0)
    assert table.loc["run/3.mp4", ["status", "reason", "split"]].tolist() == ["unlisted", UNLABELLED, ""]


@pytest.mark.parametrize("form", ["auto", "list"])
@pytest.mark.parametrize(("line", "sentence"), [
    ("run/3.mp4 0,2", "train.list line 3 gives 'run/3.mp4' several labels, '0,2', but a video is of one class"),
    ("run/3.mp4 0;2", "several labels, '0;2'"),
    ("run/3.mp4 0 2", r"several labels, '0 2' \(or the frames of a folder: then set index.frame_name\)"),
    ("run/3.mp4 0 2 5", "several labels, '0 2 5'"),
    ("run/3 0 2 5", "several labels, '0 2 5'"),
    ("run/3 0 2", "several labels, '0 2'"),
    ("run/3.mp4 -1", "line 3 gives 'run/3.mp4' no label"),
    ("run/3.mp4", "line 3 gives 'run/3.mp4' no label"),
    ("run/3.mp4 -2", "line 3 gives 'run/3.mp4' the class -2, which is no number of a class"),
    ("run/3.mp4 " + "9" * 30, "line 3 gives 'run/3.mp4' the class 99999999999999999999, which is no number"),
    ("run/3.mp4 other", "line 3 gives 'run/3.mp4' the label 'other', where most lines have a number"),
    ("# run, walk", "line 3 is '# run, walk', a comment"),
    ("run/3", 'line 3 is \'run/3\', not "path number"'),
])  # fmt: skip
def test_one_odd_line_neither_changes_the_others_nor_is_it_guessed(
    write: Write, form: str, line: str, sentence: str
) -> None:
    """In a list for training."""
    refused(sentence, write("train.list", f"run/1.mp4 1\nwalk/1.mp4 0\n{line}\n"), RUNS, format=form)


@pytest.mark.parametrize("sign", [*map(chr, range(1, 32)), *"\x7f\x85\xa0\u2028\ufeff\",;'=-#"], ids=ascii)
def test_a_name_of_any_characters_is_found_by_annotations(write: Write, sign: str) -> None:
    """By a table of one's own, and by a list where a line can say it."""
    found = [f"run/a{sign}b.mp4", f"walk/{sign}.mp4", f"x{sign}/c.mp4"]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["path", "label"], *([name, "yes"] for name in found)])
    assert list(read(write("mine.csv", text.getvalue()), found).index) == found
    if sign != "\n":
        assert list(read(write("train.list", "".join(f"{name} 1\n" for name in found)), found).index) == found


def test_where_a_path_ends_is_seen_from_what_is_there(write: Write) -> None:
    """Folders of frames whose names end with numbers, quotes in names, a folder that is named like a video."""
    found = ["clip 1", "clip", '"q".mp4', "my.mp4 clips/x", "#1 (a).mp4", "# b.mp4"]
    text = "clip 1 0\nclip 121 1\n\"q\".mp4 0\nmy.mp4 clips/x 1\n#1 (a).mp4 1\n'# b.mp4' 0\n"
    clips = read(write("train.list", text), found, format="list", frame_name="img_%05d.jpg")
    assert clips["label"].to_dict() == dict(zip(found, "010110", strict=True))


@pytest.mark.parametrize(("given", "sentence"), [
    (["other", "straight", "straight"], "line 1 gives 'run/1.mp4' the label 'other', but the class is 'run'"),
    (["1", "2", "2"], "line 2 gives 'run/2.mp4' the number 2, but its class 'run' or its number stood in another pair"),
    (["1", "1", "1"], "line 3 gives 'walk/1.mp4' the number 1, but its class"),
])  # fmt: skip
def test_the_folder_is_the_class_only_where_nothing_else_is_given(
    write: Write, given: list[str], sentence: str
) -> None:
    """In lists that are called as UCF101's, and in index.train_list."""
    train = "\n".join(f"{path} {label}" for path, label in zip(RUNS, given, strict=False))
    files = [write("trainlist01.txt", train), write("testlist01.txt", "walk/2.mp4\n")]
    assert "set index.format to list" in refused(f"trainlist01.txt {sentence}", files, RUNS)
    changes = {"train_list": files[0], "test_list": files[1], "pattern": "(?P<label>[^/]+)/.*"}
    remedy = "name the lists in index.annotations and set index.format to list"
    # the same number behind all paths is no label
    expected = contextlib.nullcontext() if len(set(given)) == 1 else pytest.raises(UserError, match=remedy)
    with expected:
        plan_index(RUNS, params_with(index={"root": "videos", **changes}).index)


def test_a_pattern_may_join_classes_that_lists_number(write: Write) -> None:
    """As UCF101's Playing...: several numbers are one class then; one number of several classes is refused."""
    ids = ["PlayCello/1.avi", "PlayDhol/1.avi", "WalkDog/1.avi", "WalkDog/2.avi"]
    changes: dict[str, Any] = {"pattern": "(?P<label>Play|Walk).*", "root": "videos"}
    lists = {"train_list": write("trainlist01.txt", "\n".join(f"{name} {62 + n}" for n, name in enumerate(ids[:3])))}
    lists["test_list"] = write("testlist01.txt", ids[3])
    table, _ = plan_index(ids, params_with(index=changes | lists).index)
    assert table.set_index("id")["label"].to_dict() == dict(zip(ids, ["Play", "Play", "Walk", "Walk"], strict=True))
    write("trainlist01.txt", "PlayCello/1.avi 62\nPlayDhol/1.avi 63\nWalkDog/1.avi 63\n")
    with pytest.raises(UserError, match=r"trainlist01.txt line 3 gives 'WalkDog/1.avi' the number 63, but"):
        plan_index(ids, params_with(index=changes | lists).index)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_behind_folders_may_count_from_0_or_from_1(write: Write, first: int) -> None:
    """Of one count in all lines, as classInd.txt orders them."""
    train = f"run/1.mp4 {first}\nwalk/1.mp4 {first + 1}\n"
    files = [write("classInd.txt", "1 run\n2 walk\n"), write("trainlist01.txt", train)]
    assert read(files)["label"].tolist() == ["run", "walk"]
    files[1] = write("trainlist01.txt", f"run/1.mp4 {first}\nwalk/1.mp4 {2 - first}\n")
    refused("the number ., classInd.txt another or none", files)


UNKNOWN = "cannot be known whether the lists count classes from 0 or from 1"
COUNTS = [  # numbers in the lists, names file, index.first_class, labels or a sentence
    ([0, 1, 2], "run\nwalk\njump", "auto", ["run", "walk", "jump"]),
    ([0, 1], "run\nwalk\njump", "auto", ["run", "walk"]),
    ([0, 2], "0 run\n1 walk\n2 jump", "auto", ["run", "jump"]),
    ([0, 1, 2], "1 run\n2 walk\n3 jump", "auto", ["run", "walk", "jump"]),
    ([1, 2, 3], "1 run\n2 walk\n3 jump", "auto", ["run", "walk", "jump"]),
    ([3, 1], "2 walk\n3 jump\n1 run", "auto", ["jump", "run"]),
    ([1, 2], "1 run\n2 walk\n3 jump", "auto", UNKNOWN),
    ([1, 2], "0 run\n1 walk\n2 jump", "auto", ["walk", "jump"]),
    ([2], "1 walk\n2 jump\n0 run", "auto", ["jump"]),
    ([1, 2], "run\nwalk\njump", "auto", UNKNOWN),
    ([1, 2, 3], "run\nwalk\njump", "auto", "3 are named, from 0. None has the class 0, so the lists may count from 1"),
    ([1, 2, 3], "0 run\n1 walk\n2 jump", "auto", "the lists may count from 1: then set index.first_class to 1"),
    ([0, 3], "run\nwalk\njump", "auto", "has the class 3, but 3 are named, from 0[.] Mend"),
    ([1, 4], "1 run\n2 walk\n3 jump", "auto", "has the class 4, but 3 are named, from 1"),
    ([1, 2], "run\nwalk\njump", 1, ["run", "walk"]),
    ([1, 2], "run\nwalk\njump", 0, ["walk", "jump"]),
    ([1, 2], "1 run\n2 walk\n3 jump", 0, ["walk", "jump"]),
    ([1, 2, 3], "0 run\n1 walk\n2 jump", 1, ["run", "walk", "jump"]),
    ([0, 1], "run\nwalk\njump", 1, "has the class 0, but 3 are named, from 1"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["list", "paddlex"])
@pytest.mark.parametrize(("numbers", "names", "first", "expected"), COUNTS)
def test_no_class_is_shifted_by_one(
    write: Write, tmp_path: Path, form: str, numbers: list[int], names: str, first: object, expected: object
) -> None:
    """Where only one count fits, or names count from 0, that is taken; else index.first_class says which."""
    write("set/train.txt", "".join(f"{number}.mp4 {number}\n" for number in numbers))
    label_file = write("set/label.txt" if form == "paddlex" else "names.txt", names)
    changes: dict[str, object] = {"format": form, "first_class": first}
    if form == "list":
        changes["label_file"] = label_file
    annotations = str(tmp_path / "set")
    if isinstance(expected, str):
        refused(expected, annotations, **changes)
    else:
        clips = read(annotations, **changes)
        assert clips["label"].to_dict() == {
            f"{number}.mp4": label for number, label in zip(numbers, expected, strict=True)
        }
        assert labels(annotations, **changes) == ["run", "walk", "jump"]


def test_names_from_0_decide_and_it_is_said(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """A published folder of which class 0 has no video here."""
    names = write("label.txt", "0 abseiling\n1 archery\n2 bowling\n")
    train = write("train.txt", "a.mp4 1\nb.mp4 2\n")
    assert read([names, train])["label"].to_dict() == {"a.mp4": "archery", "b.mp4": "bowling"}
    said = " ".join(capsys.readouterr().err.split())
    assert "no clip has the class 0, 'abseiling'" in said
    assert "set index.first_class to 1" in said
    write("train.txt", "a.mp4 0\nb.mp4 2\n")
    read([names, train])
    assert "no clip has the class" not in capsys.readouterr().err


def test_lists_from_0_under_names_from_1_are_said(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """As UCF101's classInd.txt beside another toolbox's lists."""
    names = write("classes.txt", "1 run\n2 walk\n")
    read(write("train.list", "a.mp4 0\nb.mp4 1\n"), format="list", label_file=names)
    assert "the lists count classes from 0 and" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["# classes of my set", "#\twalk"])
def test_a_comment_in_a_file_of_class_names_is_refused(write: Write, line: str) -> None:
    """It would be class 0."""
    names = write("names.txt", f"{line}\nrun\n#walk\n")
    refused("Every line is a class there, and a comment would shift all that follow", write("train.list", "a.mp4 0\n"),
            format="list", label_file=names)  # fmt: skip
    names = write("names.txt", "run\n#walk\n")
    assert labels(write("train.list", "a.mp4 0\n"), format="list", label_file=names) == ["run", "#walk"]


@pytest.mark.parametrize("form", ["auto", "ssv2"])
def test_the_package_of_something_something_has_the_labels_of_its_test(write: Write, tmp_path: Path, form: str) -> None:
    """test-answers.csv gives them; an answer that is no line of one is named."""
    write("ssv2/train.json", json.dumps(ENTRIES))
    write("ssv2/validation.json", json.dumps([{"id": "7", "template": PULLING}]))
    write("ssv2/test.json", json.dumps([{"id": "8"}, {"id": "9"}]))
    write("ssv2/labels.json", json.dumps(NAMES))
    write("ssv2/test-answers.csv", "9;Holding something next to something\n8;Pulling something from left to right\n")
    write("ssv2/readme.txt", "see the web page")
    clips = read(str(tmp_path / "ssv2"), format=form)
    assert clips.loc["8.webm", ["label", "split"]].tolist() == ["Pulling something from left to right", "test"]
    assert clips.loc["9.webm", ["label", "split"]].tolist() == ["Holding something next to something", "test"]
    assert clips["split"].tolist() == ["test", "test", "train", "train", "val"]
    write("ssv2/test-answers.csv", "8,Pulling something from left to right\n")
    refused("test-answers.csv line 1 is no line as", str(tmp_path / "ssv2"), format=form)


@pytest.mark.parametrize("form", ["auto", "kinetics"])
def test_the_package_of_kinetics_has_the_same_as_json(write: Write, tmp_path: Path, form: str) -> None:
    """K400 to K700: the CSV files are read."""
    for name, text in (("train", TRAIN), ("validate", VALIDATE), ("test", TEST)):
        write(f"k700/{name}.csv", text)
        write(f"k700/{name}.json", json.dumps({"--abc_def-1": {"annotations": {"label": "x", "segment": [0, 10]}}}))
    write("k700/K700_2020_readme.txt", "Kinetics")
    clips = read(str(tmp_path / "k700"), format=form)
    assert clips["split"].value_counts().to_dict() == {"train": 3, "val": 1, "test": 1}
    refused("train.json is JSON; of Kinetics the CSV", str(tmp_path / "k700" / "train.json"), format="kinetics")


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_lists_of_three_splits_as_other_toolboxes_name_them(
    write: Write, tmp_path: Path, dataset: str, frames: bool, number: int
) -> None:
    """index.official_split chooses, index.frame_name tells lists of folders from lists of videos."""
    for split in (1, 2, 3):
        for part, clip in (("train", split), ("val", split + 10)):
            write(f"lists/{dataset}_{part}_split_{split}_videos.txt", f"Run/{clip}.avi 1\nJump/{clip}.avi 0\n")
            write(f"lists/{dataset}_{part}_split_{split}_rawframes.txt", f"Run/{clip} 29 1\nJump/{clip} 31 0\n")
    frame_name = "img_%05d.jpg" if frames else None
    clips = read(str(tmp_path / "lists"), official_split=number, frame_name=frame_name)
    suffix = "" if frames else ".avi"
    assert clips["split"].to_dict() == {
        f"Run/{number}{suffix}": "train", f"Jump/{number}{suffix}": "train",
        f"Run/{number + 10}{suffix}": "val", f"Jump/{number + 10}{suffix}": "val",
    }  # fmt: skip
    assert clips["label"].tolist() == ["1", "0", "1", "0"]


def test_a_label_that_is_no_text_is_refused_before_any_video_is_opened(write: Write) -> None:
    """JSON may have halves of characters, and CSV line breaks."""
    entries = [{"id": str(number), "template": ("a\ud800", "b")[number % 2]} for number in range(4)]
    with pytest.raises(UserError, match=r"class names .* have a line break, a NUL, what is no UTF-8 text"):
        plan(write("train.json", json.dumps(entries)), [f"{number}.webm" for number in range(4)], pattern="")
    with pytest.raises(UserError, match=r"class names .* have a line break"):
        plan(write("mine.csv", 'path,label\na.mp4,"a\nb"\nb.mp4,c\n'), ["a.mp4", "b.mp4"], pattern="")


def test_a_video_without_a_group_is_one_even_if_another_has_its_name(write: Write) -> None:
    """By the pattern of the base, and by annotations: the group is the path."""
    pattern = YAML(typ="safe").load((PRESETS / "base.yaml").read_text())["index"]["pattern"]
    table, _ = plan_index(RUNS, params_with(index={"root": "videos", "pattern": pattern}).index)
    assert table["group"].tolist() == RUNS
    assert plan(write("mine.csv", rows(RUNS)), RUNS, pattern="")["group"].tolist() == RUNS


def index_of(folder: Path, root: Path, **changes: object) -> pd.DataFrame:
    """The index that the command writes, by id."""
    write_params(folder / "params.yaml", {"index": {"root": str(root), **changes}})
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=folder)
    return load_index(folder / "index.csv").set_index("id")


@pytest.mark.slow
def test_real_videos_are_indexed_by_a_table_of_ones_own(shared: Path, write: Write, tmp_path: Path) -> None:
    """Nine people, three actions: classes of another kind than the folders, actors as groups, parts of a file."""
    root = shared / "data" / "weizmann"
    names = [f"{action}/{actor}_{action}.avi" for action in ("bend", "run", "walk") for actor in ("lena", "eli", "ira")]
    whole = [f"{name},{name[:4] if 'bend' in name else 'goes'},train,{name.split('/')[1][:3]}" for name in names[:6]]
    parts = [f"{name},goes,test,{name.split('/')[1][:3]},0.2,0.8" for name in names[6:]]
    lines = ["path,label,split,group,start_sec,end_sec", *(f"{line},," for line in whole), *parts]
    table = index_of(tmp_path, root, annotations=write("mine.csv", "\n".join(lines)), max_unlisted_share=1.0)
    used = table[table["split"] != ""]
    assert used["label"].value_counts().to_dict() == {"bend": 3, "goes": 6}
    assert used["group"].value_counts().to_dict() == {"len": 3, "eli": 3, "ira": 3}
    cut = used.loc["walk/lena_walk.avi#0.2-0.8"]
    assert cut["path"] == "walk/lena_walk.avi"
    assert cut["first_frame"] == pytest.approx(0.2 * cut["fps"], abs=1)
    assert cut["num_frames"] == pytest.approx(0.6 * cut["fps"], abs=1)
    assert cut["duration_sec"] == pytest.approx(0.6, abs=0.05)
    assert (tmp_path / "labels.txt").read_text() == "bend\ngoes\n"


@pytest.mark.slow
def test_real_videos_are_indexed_by_the_official_lists_of_ucf101(shared: Path, tmp_path: Path) -> None:
    """A part of the dataset under its lists: groups from the names, the rest missing, logits in the official order."""
    root = shared / "data" / "ucf_style"
    lists = shared / "reference" / "ucf101"
    pattern = r"(?P<label>[^/]+)/v_[^/]*_(?P<group>g\d+)_c\d+\.[^/]*"
    changes = {"annotations": str(lists), "pattern": pattern, "max_missing_share": 1.0, "max_unlisted_share": 1.0}
    table = index_of(tmp_path, root, **changes)
    there = table[table["status"] != "missing"]
    assert sorted(there.index) == sorted(path.relative_to(root).as_posix() for path in root.rglob("*.avi"))
    assert set(there["status"]) == {"ok"}
    official = {line.split()[0] for line in (lists / "testlist01.txt").read_text().splitlines()}
    assert set(there.index[there["split"] == "test"]) == official & set(there.index)
    assert set(there["group"]) <= {f"g{number:02d}" for number in range(1, 26)}
    assert len(table) == 13_320
    assert there.loc[there["label"] == "TaiChi", "label_index"].unique().tolist() == [90]
    old = {"train_list": "trainlist01.txt", "test_list": "testlist01.txt", "label_file": "classInd.txt"}
    changes |= {"annotations": None} | {name: str(lists / file) for name, file in old.items()}
    pd.testing.assert_frame_equal(index_of(tmp_path, root, **changes), table)

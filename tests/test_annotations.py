"""Annotation files of all formats: what is read, what is told apart, and what is refused with its line."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.annotations import (
    ENTRIES,
    NAMES,
    PULLING,
    TEST,
    TRAIN,
    VALIDATE,
    Write,
    labels,
    plan,
    read,
    refused,
    write,
)
from pptsm.runtime.errors import UserError

__all__ = ["write"]  # a fixture

# Of files that are none: what may stand in them, and be their names.
TEXTS = [
    "",
    "path,label\na.mp4,run\nb/c.avi,jump\n",
    "path,label,split,group,start_sec,end_sec\na.mp4,run,train,x,1,2\na.mp4,jump,train,y,2,3\n",
    "label,youtube_id,time_start,time_end,split\nrun,1,0,10,train\njump,a,1,2,train\n",
    "run/1.mp4 1\na/a.avi 2\n",
    "run/1.mp4 jump\na/a.avi -1\nb 1 2 3\n",
    "7;Pulling x\n",
    "a.mp4 1\nb/c.avi 0\n",
    "0 run\n1 jump\n",
    '[{"id": "1", "template": "[x] y"}]',
    '{"x y": "0"}',
]
PIECES = [
    *',"[]{}:;\n\r\t\\\0é \ufeff\u2028',
    "../",
    "/",
    "-1",
    "1e400",
    "nan",
    "null",
    "9" * 30,
    "train",
    "val",
    '"id"',
    ".mp4 ",
]
FILE_NAMES = [
    "train.csv",
    "my.csv",
    "val.txt",
    "trainlist01.txt",
    "testlist01.txt",
    "classInd.txt",
    "run_test_split1.txt",
]
FILE_NAMES += ["train.json", "labels.json", "label.txt", "train.txt", "test.list", "test-answers.csv"]
MINE = """path,label,split,group,start_sec,end_sec
a/1.mp4,jump,train,anna,,
a/2.mp4,run,train,bert,0.5,2
a/2.mp4,jump,train,bert,2,3.25
b/3.mp4,run,test,,,
"""


@pytest.mark.parametrize("form", [
    str,
    lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\n\n"),
    lambda text: text.replace("a/", "./a/").replace("b/", ".//b//"),
    lambda text: text.replace("a/", "a\\").replace(",jump", ", jump "),
    lambda text: text.replace("train", "Training").replace("path", "Path"),
    lambda text: text + ",,,,,\n",
    lambda text: "\n".join(",".join([row.split(",")[n] for n in (5, 1, 4, 0, 3, 2)]) for row in text.splitlines()),
])  # fmt: skip
def test_a_table_of_ones_own_is_read_however_it_was_saved(write: Write, form: Callable[[str], str]) -> None:
    """By a spreadsheet, on Windows, with empty lines, with columns in another order: the same clips."""
    clips = read(write("mine.csv", form(MINE)), ["a/1.mp4", "a/2.mp4"])
    assert list(clips.index) == ["a/1.mp4", "a/2.mp4", "a/2.mp4", "b/3.mp4"]
    assert clips["label"].tolist() == ["jump", "run", "jump", "run"]
    assert clips["split"].tolist() == ["train", "train", "train", "test"]
    assert clips["group"].tolist() == ["anna", "bert", "bert", ""]
    assert clips["start_sec"].fillna(-1).tolist() == [-1, 0.5, 2, -1]
    assert clips["end_sec"].fillna(-1).tolist() == [-1, 2, 3.25, -1]


def test_path_and_label_are_enough(write: Write) -> None:
    """Nothing is said of splits, groups or ranges; quotes hold commas; a class may be called "nan" or "None"."""
    clips = read(write("mine.csv", 'label,path\nnan,1.mp4\nNone,"a, b.mp4"\n"say ""hi""",3.mp4\n'))
    assert clips["label"].to_dict() == {"1.mp4": "nan", "a, b.mp4": "None", "3.mp4": 'say "hi"'}
    assert set(clips["split"]) == set(clips["group"]) == {""}
    assert clips[["start_sec", "end_sec"]].isna().all(axis=None)
    assert clips["where"].tolist() == ["mine.csv line 2", "mine.csv line 3", "mine.csv line 4"]


def test_a_path_may_be_absolute_below_the_root_and_lack_its_suffix(write: Write, tmp_path: Path) -> None:
    """A file that differs only by the suffix is meant, if there is one."""
    root = tmp_path / "my videos"
    text = f"path,label\n{root}/a/1.mp4,x\na/2,y\na/3.mov,x\na/4,y\n"
    found = ["a/1.mp4", "a/2.avi", "a/3.webm", "a/4.avi", "a/4.mp4"]
    clips = read(write("mine.csv", text), found, root=str(root))
    assert list(clips.index) == ["a/1.mp4", "a/2.avi", "a/3.webm", "a/4"]


def test_lines_are_counted_through_line_breaks_in_quotes(write: Write) -> None:
    """And past empty lines: the number is that of an editor."""
    text = 'path,label\n"a\nb.mp4",run\n\nc.mp4,run\n"d\n\ne.mp4",run\nf.mp4,run\n'
    clips = read(write("mine.csv", text))
    assert clips["where"].str.split().str[-1].tolist() == ["2", "5", "6", "9"]


@pytest.mark.parametrize(("line", "sentence"), [
    ("../1.mp4,run,train,,,", r"line 6 names '../1.mp4', which is no path below index.root \(videos\)"),
    ("a/../../1.mp4,run,train,,,", "line 6 names 'a/../../1.mp4', which is no path below"),
    ("/etc/1.mp4,run,train,,,", "line 6 names '/etc/1.mp4', which is no path below"),
    ("C:\\\\1.mp4,run,train,,,", r"line 6 names 'C:.*', which is no path below"),
    (",run,train,,,", "line 6 names '', which is no path"),
    ("c.mp4,,train,,,", "line 6 gives 'c.mp4' no label"),
    ("c.mp4,run,,,,", "line 6 gives 'c.mp4' no split, where other lines have one"),
    ("c.mp4,run,dev,,,", "line 6 has the split 'dev'; known are train, training, test, val"),
    ("c.mp4,swim,val,,,", "line 6 has the class 'swim' in val, which no clip for training has"),
    ("c.mp4,run,train,,3,2", "line 6 starts at 3 s and ends at 2 s: the end comes after the start"),
    ("c.mp4,run,train,,2,2", "line 6 starts at 2 s and ends at 2 s"),
    ("c.mp4,run,train,,-1,2", "line 6 has start_sec '-1', which is no number of seconds from 0"),
    ("c.mp4,run,train,,1,inf", "line 6 has end_sec 'inf', which is no number of seconds"),
    ("c.mp4,run,train,,nan,2", "line 6 has start_sec 'nan', which is no number of seconds"),
    ("c.mp4,run,train,,1,", "line 6 has one of start_sec and end_sec: give both"),
    ("c.mp4,run,train,", "line 6 has 4 fields, but its header has 6"),
    ("c, d.mp4,run,train,,,", "line 6 has 7 fields, but its header has 6 .a comma in a name needs quotes"),
    ("b/3.mp4,run,test,,,", "line 6 names 'b/3.mp4' again, which mine.csv line 5 has[.]"),
    ("./b/3.mp4,run,train,,,", r"line 6 names 'b/3.mp4' again, which mine.csv line 5 has \(test there, train here\)"),
    ("a/2.mp4,run,train,,2.0,3.25", r"line 6 names 'a/2.mp4' from 2 to 3.25 s again, which mine.csv line 4 has"),
])  # fmt: skip
def test_a_wrong_line_is_named(write: Write, line: str, sentence: str) -> None:
    """What is wrong with it, and where the other one is, if there are two."""
    refused(f"mine.csv {sentence}", write("mine.csv", MINE + line + "\n"))


@pytest.mark.parametrize(("text", "sentence"), [
    ("path,label,comment\na,b,c\n", "a column 'comment' in line 1; known are path, label, split, group, start_sec"),
    ("path;label\na;b\n", "a column 'path;label' in line 1; .* with commas between them"),
    ("path,split\na,train\n", "lack the column 'label'; line 1 names path, split"),
    ("path,label,label\na,b,c\n", "have the columns label more than once"),
    ("path,label\n", "name no clips"),
    ('path,label\na,"b\n', "are no CSV, line 2: unexpected end of data"),
    ("", "are empty"),
    ("hello\n", "no format begins like mine.csv, whose first line is 'hello'"),
])  # fmt: skip
def test_a_file_of_another_kind_is_refused(write: Write, text: str, sentence: str) -> None:
    """With what it has and what it should have."""
    refused(sentence, write("mine.csv", text))


def test_text_of_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    """As an old spreadsheet saves it."""
    (tmp_path / "mine.csv").write_bytes("path,label\n1.mp4,saut\n2.mp4,course à pied\n".encode("latin-1"))
    refused("mine.csv' are not UTF-8 text .line 3.", str(tmp_path / "mine.csv"))


@pytest.mark.parametrize("name", ["label.txt", "classInd.txt"])
def test_an_order_of_classes_alone_names_no_clips(write: Write, name: str) -> None:
    """The other file was forgotten."""
    refused(
        f"{name} gives the order of the classes; a file that names clips is missing", write(name, "1 run\n2 jump\n")
    )


def test_five_faults_are_shown_and_the_others_counted(write: Write) -> None:
    """Of all kinds together."""
    text = MINE + "\n".join(f"c{number}.mp4,,train,,," for number in range(7)) + "\n../x.mp4,run,train,,,\n"
    told = refused("and 3 more", write("mine.csv", text))
    assert told.count("mine.csv line") == 5


def test_one_bad_line_in_a_million_is_named_in_seconds(write: Write) -> None:
    """And a million good ones are read in as many."""
    lines = [f"class{number % 400}/clip{number}.mp4,class{number % 400}" for number in range(1_000_000)]
    lines[654_321] += ",more"
    name = write("mine.csv", "path,label\n" + "\n".join(lines))
    start = time.process_time()
    refused("mine.csv line 654323 has 3 fields, but its header has 2", name)
    assert time.process_time() - start < 20  # 4 s where nothing else runs


def test_a_quarter_of_a_million_kinetics_clips_are_matched_in_seconds(write: Write) -> None:
    """Each with its file, of which nine in ten are there."""
    rows = range(250_000)
    lines = [f"class {row % 400},{row:011d},{row % 90},{row % 90 + 10},train" for row in rows]
    name = write("train.csv", "label,youtube_id,time_start,time_end,split\n" + "\n".join(lines))
    found = [f"class_{row % 400}/{row:011d}_{row % 90:06d}_{row % 90 + 10:06d}.mp4" for row in rows if row % 10]
    start = time.process_time()
    clips = read(name, found)
    assert time.process_time() - start < 20  # 2 s where nothing else runs
    assert clips.index.isin(found).sum() == 225_000


@pytest.mark.parametrize("form", ["auto", "csv", "kinetics", "ucf101", "hmdb51", "ssv2", "list", "paddlex"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_the_files_there_is_a_sentence_and_no_trace(
    tmp_path: Path, form: str, data: st.DataObject
) -> None:
    """Texts of all formats with pieces put in their midst, under names of all formats."""
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in data.draw(st.lists(st.sampled_from(FILE_NAMES), min_size=1, max_size=2, unique=True)):
        text = data.draw(st.sampled_from(TEXTS))
        for piece in data.draw(st.lists(st.sampled_from(PIECES), max_size=3)):
            place = data.draw(st.integers(0, len(text)))
            text = text[:place] + piece + text[place + 1 :]
        (folder / name).write_text(text, newline="")
    with contextlib.suppress(UserError):
        plan(str(folder), ["a.mp4", "b/c.avi", "run/1.mp4"], format=form, max_missing_share=1.0, max_unlisted_share=1.0)


@pytest.mark.parametrize(("name", "split"), [
    ("train.csv", "train"), ("my_val.csv", "val"), ("valid.csv", "val"), ("Validation-2.csv", "val"),
    ("k400_validate.csv", "val"), ("test.csv", "test"), ("training.list.csv", "train"),
    ("mine.csv", ""), ("trainees.csv", ""), ("train_val.csv", ""), ("latest.csv", ""),
])  # fmt: skip
def test_the_split_of_a_file_is_a_word_of_its_name(write: Write, name: str, split: str) -> None:
    """A single file may leave it open: shares then decide."""
    assert set(read(write(name, "path,label\n1.mp4,run\n2.mp4,jump\n"))["split"]) == {split}


def test_of_several_files_each_tells_its_split(write: Write) -> None:
    """By its name, or in a column; else the sentence says how to name it."""
    train = write("a_train.csv", "path,label\n1.mp4,run\n")
    test = write("a_test.csv", "path,label\n2.mp4,run\n")
    more = write("more.csv", "path,label\n3.mp4,run\n")
    column = write("column.csv", "path,label,split\n3.mp4,run,val\n")
    assert read([train, test])["split"].to_dict() == {"1.mp4": "train", "2.mp4": "test"}
    assert read([train, column])["split"].to_dict() == {"1.mp4": "train", "3.mp4": "val"}
    refused("for which split is 'more.csv'[?] .* such as my_train.csv", [train, test, more])


def test_files_that_are_not_there_are_named(write: Write, tmp_path: Path) -> None:
    """And a folder without any."""
    refused("names 'nowhere.csv', but there is no such file or folder", "nowhere.csv")
    (tmp_path / "none").mkdir()
    write("none/readme.md", "x")
    refused("no file in it ends in .csv .json .txt .list", str(tmp_path / "none"))


def test_kinetics_is_found_by_name_in_whatever_folder(write: Write) -> None:
    """With spaces, underscores or neither above it; cut by the second or whole; what is gone stays a row."""
    found = [
        "train/air_drumming/--abc_def-1_000012_000022.mp4",
        "_bcd-efg_h2.webm",
        "val/air drumming/defghijklm4_000000_000010.mkv",
        "test/efghijklmn5_000000_000010.mp4",
        "val/air drumming/other_000000_000010.mp4",
    ]
    files = [write("train.csv", TRAIN), write("validate.csv", VALIDATE), write("test.csv", TEST)]
    clips = read(files, found)
    assert list(clips.index) == [
        found[0], found[1], "zumba, fast/cdefghijkl3_000100_000110.mp4", found[2], found[3]
    ]  # fmt: skip
    assert clips["label"].tolist() == ["air drumming"] * 2 + ["zumba, fast", "air drumming", ""]
    assert clips["split"].tolist() == ["train"] * 3 + ["val", "test"]
    assert clips["where"].tolist()[2:4] == ["train.csv line 4", "validate.csv line 2"]
    assert clips[["start_sec", "end_sec"]].isna().all(axis=None)
    assert labels(files) is None


def test_a_kinetics_file_that_is_there_twice_must_be_told_apart(write: Write) -> None:
    """Which of them is meant is not known."""
    found = ["train/a/--abc_def-1_000012_000022.mp4", "spare/--abc_def-1_000012_000022.mp4"]
    told = refused("train.csv line 2 may mean each of", write("train.csv", TRAIN), found)
    assert all(name in told for name in [*found, "index.exclude"])


@pytest.mark.parametrize(("line", "sentence"), [
    ("x,fghijklmno6,twelve,22,train,0", "line 5 has time_start 'twelve', which is no number of seconds"),
    ("x,fghijklmno6,12,,train,0", "line 5 has time_end ''"),
    ("x,fghijklmno6,-1,22,train,0", "line 5 has time_start '-1'"),
    (",fghijklmno6,12,22,train,0", "line 5 gives 'fghijklmno6' no label"),
    ("x,fghijklmno6,12,22,holdout,0", "line 5 has the split 'holdout'"),
    ("air drumming,_bcd-efg_h2,3,13,train,1", "line 5 names .* again, which train.csv line 3 has"),
])  # fmt: skip
def test_a_wrong_line_of_kinetics_is_named(write: Write, line: str, sentence: str) -> None:
    """As in any table."""
    refused(f"train.csv {sentence}", write("train.csv", TRAIN + line + "\n"))


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_the_official_lists_of_ucf101_have_their_official_sizes(
    shared: Path, split: int, train: int, test: int
) -> None:
    """The folder of them, with the split as a number; classInd.txt gives the order."""
    folder = str(shared / "reference" / "ucf101")
    clips = read(folder, official_split=split)
    assert clips["split"].value_counts().to_dict() == {"train": train, "test": test}
    assert clips["label"].nunique() == 101
    assert clips.loc["YoYo/v_YoYo_g25_c01.avi", "label"] == "YoYo"
    order = labels(folder)
    assert order is not None
    assert (order[0], order[100], len(order)) == ("ApplyEyeMakeup", "YoYo", 101)


def test_lists_of_one_split_need_no_number(write: Write) -> None:
    """And a number of which there are no lists is refused."""
    two = [write("trainlist02.txt", "Run/v_a.avi 1\nJump/v b.avi 2\n"), write("testlist02.txt", "Run/v_c.avi\n")]
    assert read(two)["label"].to_dict() == {"Run/v_a.avi": "Run", "Jump/v b.avi": "Jump", "Run/v_c.avi": "Run"}
    one = [write("trainlist01.txt", "Run/v_a.avi 1\n"), write("testlist01.txt", "Run/v_d.avi\n")]
    assert list(read(one + two, official_split=1).index) == ["Run/v_a.avi", "Run/v_d.avi"]
    refused(r"official_split is 3, but the lists are of the splits \[1, 2\]", one + two, official_split=3)


def test_a_number_that_is_not_the_folders_is_refused(write: Write) -> None:
    """classInd.txt counts from 1."""
    files = [write("classInd.txt", "1 Jump\n2 Run\n"), write("trainlist01.txt", "Run/v_a.avi 2\nJump/v_b.avi 2\n")]
    refused("trainlist01.txt line 2 gives 'Jump/v_b.avi' the number 2, classInd.txt another", files)


def test_the_files_of_hmdb51_tell_class_split_and_what_is_unused(write: Write, tmp_path: Path) -> None:
    """One a class and split; names with all signs; a video is found in its class folder, or alone."""
    write("lists/brush_hair_test_split1.txt", "a#1_(x).avi 1 \nb c;.avi 2\nunused.avi 0\n")
    write("lists/brush_hair_test_split2.txt", "a#1_(x).avi 2 \nb c;.avi 1\nunused.avi 0\n")
    write("lists/wave_test_split1.txt", "a#1_(x).avi 1\nd.avi 2\n")
    write("lists/wave_test_split2.txt", "a#1_(x).avi 1\nd.avi 2\n")
    found = ["videos/brush hair/a#1_(x).avi", "videos/wave/a#1_(x).avi", "flat/b c;.avi"]
    clips = read(str(tmp_path / "lists"), found)
    assert list(clips.index) == [*found[:1], found[2], found[1], "wave/d.avi"]
    assert clips["label"].tolist() == ["brush_hair", "brush_hair", "wave", "wave"]
    assert clips["split"].tolist() == ["train", "test", "train", "test"]
    assert read(str(tmp_path / "lists"), found, official_split=2)["split"].tolist() == [
        "test",
        "train",
        "train",
        "test",
    ]
    write("lists/wave_test_split1.txt", "a.avi 3\n")
    refused("wave_test_split1.txt line 1 is 'a.avi 3', not \"name.avi\" and 0, 1 or 2", str(tmp_path / "lists"))


def test_something_something_has_its_classes_in_the_official_order(write: Write) -> None:
    """Template without brackets, videos by number, a test without labels left out with a note."""
    files = [
        write("ssv2-train.json", json.dumps(ENTRIES)),
        write("ssv2-validation.json", json.dumps([{"id": "7", "template": PULLING}])),
        write("ssv2-test.json", json.dumps([{"id": "8"}])),
        write("ssv2-labels.json", json.dumps(NAMES)),
    ]
    clips = read(files, ["20bn/42.webm"])
    assert clips["label"].to_dict() == {
        "78687.webm": "Holding something next to something",
        "20bn/42.webm": "Pulling something from left to right",
        "7.webm": "Pulling something from left to right",
    }
    assert clips["split"].tolist() == ["train", "train", "val"]
    assert clips["where"].tolist() == [
        "ssv2-train.json entry 1",
        "ssv2-train.json entry 2",
        "ssv2-validation.json entry 1",
    ]
    assert labels(files) == [
        "Holding something next to something",
        "Pulling something from left to right",
        "Poking a hole",
    ]


@pytest.mark.parametrize(("content", "sentence"), [
    ("[", "are no JSON: Expecting value: line 1 column 2"),
    ("[" * 100_000, "are no JSON: maximum recursion depth"),
    ("3", "hold a int, not a list of entries"),
    ('[{"template": "x"}]', "train.json entry 1 is .*, which has no id"),
    ('[{"id": "1", "template": "x"}, {"id": "2"}]', "train.json entry 2 gives video 2 no template"),
    ('[{"id": "1"}]', "no file with labelled entries in train.json"),
    ('[{"id": "1", "template": "[Some] x"}]', "entry 1 has the class 'Some x', which the labels do not name"),
])  # fmt: skip
def test_json_of_another_kind_is_refused(write: Write, content: str, sentence: str) -> None:
    """With the entry."""
    files = [write("train.json", content)]
    if "Some" in content:
        files.append(write("labels.json", '{"Other x": "0"}'))
    refused(sentence, files)


def test_class_numbers_with_gaps_are_refused(write: Write) -> None:
    """They are the order of the logits."""
    train = write("train.json", json.dumps(ENTRIES))
    refused("to give each class its number from 0, each once", [train, write("labels.json", '{"a": "0", "b": "2"}')])


@pytest.mark.parametrize("form", ["{0} {2}", "{0}\t{2}", "{0} {1} {2}", "{0}\t{1}\t{2}", "  ./{0}   {2} "])
@pytest.mark.parametrize("name", ["a b/clip 1.mp4", "frames 2/clip_3", "v.x/1 2 3.avi"])
def test_lists_of_numbers_are_read_in_all_their_forms(write: Write, form: str, name: str) -> None:
    """Video or folder of frames, space or tab, a path with spaces and numbers."""
    train = write("train.list", "\n".join(form.format(f"{number}{name}", 121, number) for number in (10, 9)))
    changes = {"format": "list", "frame_name": "img_%05d.jpg" if "{1}" in form else None}
    assert read(train, **changes)["label"].to_dict() == {f"10{name}": "10", f"9{name}": "9"}
    assert labels(train, **changes) == ["9", "10"]


def test_the_label_file_names_the_numbers_of_a_list(write: Write) -> None:
    """And a number that it has not is refused."""
    train, names = write("train.list", "1.mp4 1\n2.mp4 0\n"), write("names.txt", "run\njump\n")
    assert read(train, label_file=names)["label"].tolist() == ["jump", "run"]
    assert labels(train, label_file=names) == ["run", "jump"]
    train = write("train.list", "1.mp4 1\n2.mp4 2\nx\n")
    told = refused("train.list line 2 has the class 2, but 2 are named, from 0", train, label_file=names)
    assert "train.list line 3 is 'x', not \"path number\"" in told


def test_a_paddlex_dataset_is_a_folder(write: Write, tmp_path: Path) -> None:
    """label.txt names the numbers."""
    write("set/label.txt", "0 run\n1 jump\n")
    write("set/train.txt", "videos/1.mp4 1\nvideos/2.mp4 0\n")
    write("set/val.txt", "videos/3.mp4 1\n")
    clips = read(str(tmp_path / "set"))
    assert clips["label"].to_dict() == {"videos/1.mp4": "jump", "videos/2.mp4": "run", "videos/3.mp4": "jump"}
    assert clips["split"].tolist() == ["train", "train", "val"]
    assert labels(str(tmp_path / "set")) == ["run", "jump"]
    refused("format paddlex has label.txt beside", str(tmp_path / "set" / "train.txt"), format="paddlex")


@pytest.mark.parametrize(("files", "form"), [
    ({"mine.csv": "label,path\nrun,1.mp4\n"}, "csv"),
    ({"train.csv": TRAIN}, "kinetics"),
    ({"trainlist01.txt": "Run/1.avi 1\n", "testlist01.txt": "Run/2.avi\n"}, "ucf101"),
    ({"train.txt": "Run/1.avi\n", "test.txt": "Run/2.avi\n"}, "ucf101"),
    ({"run_test_split1.txt": "1.avi 1\n"}, "hmdb51"),
    ({"train.json": json.dumps(ENTRIES)}, "ssv2"),
    ({"train.list": "1.mp4 0\n", "val.list": "2.mp4 0\n"}, "list"),
    ({"label.txt": "0 run\n1 jump\n", "train.txt": "1.mp4 0\n"}, "paddlex"),
])  # fmt: skip
def test_formats_are_told_apart_and_said(
    write: Write, files: dict[str, str], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was taken is in the log; as index.format it gives the same."""
    names = [write(name, text) for name, text in files.items()]
    clips = read(names)
    assert f"read as index.format {form} ({len(names)} files)" in capsys.readouterr().err
    pd.testing.assert_frame_equal(clips, read(names, format=form))
    assert "read as" not in capsys.readouterr().err

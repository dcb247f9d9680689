"""Annotation files of all formats: what is read, what is told apart, and what is refused with its line."""

import contextlib
import csv
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from conftest import params_with, pptsm, write_params
from pptsm.data.table import UNANNOTATED, UNLABELLED, load_index
from pptsm.ingest.annotations import annotated_labels, read_annotations
from pptsm.ingest.index import plan_index
from pptsm.ingest.splits import advice
from pptsm.presets.compose import PRESETS
from pptsm.runtime.errors import ParamsError, UserError

Write = Callable[[str, str], str]

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


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text file, in new folders if need be, and gives its name."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return str(path)

    return written


def read(annotations: object, found: list[str] | None = None, **changes: object) -> pd.DataFrame:
    """The clips by path."""
    params = params_with(index={"root": "videos", "annotations": annotations, **changes}).index
    return read_annotations(params, found or []).set_index("path")


def labels(annotations: object, found: list[str] | None = None, **changes: object) -> list[str] | None:
    """The order that the annotations give."""
    params = params_with(index={"root": "videos", "annotations": annotations, **changes}).index
    return annotated_labels(params, found or [])


def refused(sentence: str, annotations: object, found: list[str] | None = None, **changes: object) -> str:
    """The sentence with which these annotations are refused."""
    with pytest.raises(UserError, match=sentence) as error:
        read(annotations, found, **changes)
    return str(error.value)


# --- a table of one's own --------------------------------------------------------------------------------

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


# --- which split a file is for ---------------------------------------------------------------------------


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


# --- Kinetics --------------------------------------------------------------------------------------------

TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
air drumming,--abc_def-1,12,22,train,0
air drumming,_bcd-efg_h2,3,13,train,0
"zumba, fast",cdefghijkl3,100,110,train,0
"""
VALIDATE = "label,youtube_id,time_start,time_end,split\nair drumming,defghijklm4,0,10,validate\n"
TEST = "youtube_id,time_start,time_end,split\nefghijklmn5,0,10,test\n"


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


# --- official lists --------------------------------------------------------------------------------------


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


# --- Something-Something ---------------------------------------------------------------------------------

PULLING = "Pulling [something] from left to right"
ENTRIES: list[Any] = [
    {"id": "78687", "label": "holding potato", "template": "Holding [something] next to [something]"},
    {"id": 42, "label": "pulling a pen from left to right", "template": PULLING},
]
NAMES = {"Pulling something from left to right": "1", "Holding something next to something": "0", "Poking a hole": "2"}


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


# --- lists of numbers ------------------------------------------------------------------------------------


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


# --- telling formats apart -------------------------------------------------------------------------------


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


# --- from annotations to the index -----------------------------------------------------------------------

FILES = [f"p{person}/{number}.mp4" for person in range(6) for number in range(4)]
SEED = 2  # deals the six people to all three splits


def plan(annotations: str | list[str], ids: list[str] = FILES, **changes: object) -> pd.DataFrame:
    """The plan's rows by id; the path tells the person, and nothing of the class."""
    pattern = r"(?P<group>p\d)/\d.mp4"
    changes = {"root": "videos", "annotations": annotations, "pattern": pattern, "split_seed": SEED} | changes
    return plan_index(sorted(ids), params_with(index=changes).index)[0].set_index("id")


def rows(ids: list[str], *more: str) -> str:
    """A table of one's own: jump and run in turn."""
    lines = [f"{name},{('jump', 'run')[number % 2]}" for number, name in enumerate(ids)]
    return "\n".join(["path,label", *lines, *more])


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


# --- labels that lists give are kept, or the list is refused ----------------------------------------------

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


# --- lists that count from 0 or from 1 ---------------------------------------------------------------------

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


# --- folders as they are published ------------------------------------------------------------------------


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


# --- real videos -----------------------------------------------------------------------------------------


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

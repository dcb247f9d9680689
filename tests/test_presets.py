"""Presets: short, complete when written, equal to what is published; work in params.yaml is not lost."""

import contextlib
import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from conftest import GOLDEN, ROOT, pptsm
from helpers.networks import seeded_state
from pptsm.data.clips import clips_of_a_video
from pptsm.ingest.index import plan_index
from pptsm.ingest.texts import read_label_file
from pptsm.model.network import build_model
from pptsm.params.checking import check_params
from pptsm.presets.compose import (
    PRESETS,
    Choice,
    as_yaml,
    chosen_params,
    chosen_values,
    compose,
    difference,
    merged,
    preset_names,
    preset_values,
    written_by,
)  # fmt: skip
from pptsm.runtime.errors import UserError
from pptsm.weights.card import network_arguments
from pptsm.weights.registry import known_weights
from pptsm.weights.state_dict import as_arrays, write_arrays

NAMES = list(preset_names(PRESETS))
EVALUABLE = [name for name, row in known_weights().items() if row.params is not None]
CHOICES = [*map(Choice, NAMES), *(Choice("eval", weights) for weights in EVALUABLE)]
CLASSES = {"presets/labels/kinetics400.txt": 400, "presets/labels/fight.txt": 2}


def loaded(text: str) -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load(text)
    return values


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table below tests/golden."""
    with (GOLDEN / name).open(newline="") as file:
        return list(csv.DictReader(file))


def comments(text: str) -> list[str]:
    """The comments behind and between the values, in order; the head is another matter."""
    _, body = text.split("\n\n", 1)
    return re.findall(r"(?m)(?:^|\s)(# .*)$", body)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the presets and nothing else."""
    shutil.copytree(PRESETS, tmp_path / "presets")
    return tmp_path


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.command)
def test_a_written_preset_is_complete_and_has_the_comments_and_the_order_of_the_base(choice: Choice) -> None:
    """Every value of the base, the preset's over them, each with its meaning beside it; lists in block style."""
    text = compose(PRESETS, choice)
    base_text = (PRESETS / "base.yaml").read_text()
    base = loaded(base_text)
    check_params(loaded(text), "written")
    assert loaded(text) == merged(base, chosen_values(PRESETS, choice))
    assert comments(text) == comments(base_text)
    assert [list(section) for section in loaded(text).values() if isinstance(section, dict)] == [
        list(section) for section in base.values() if isinstance(section, dict)
    ]
    assert not re.search(r"(?m)^ *\w+: \[[^\]]", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_short_and_says_only_what_differs(name: str) -> None:
    """5 to 25 lines; no value is repeated from what it is laid over."""
    path = PRESETS / f"{name}.yaml"
    assert 5 <= len(path.read_text().splitlines()) <= 25
    own = loaded(path.read_text())
    based_on = own.pop("based_on", None)
    under = loaded((PRESETS / "base.yaml").read_text())
    if based_on is not None:
        under = merged(under, preset_values(PRESETS, based_on))
    for key, value in own.items():
        for inner, changed in value.items() if isinstance(value, dict) else [(None, value)]:
            assert changed != (under[key] if inner is None else under[key][inner]), (key, inner)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.command)
def test_the_difference_is_a_screenful_and_gives_the_preset_back(choice: Choice) -> None:
    """What one has to know beside the base, and nothing else."""
    shown = as_yaml(difference(PRESETS, choice))
    assert len(shown.splitlines()) <= 46  # the longest: PP-TSMv2 with 16 frames, distilled on Kinetics-400
    assert merged(loaded((PRESETS / "base.yaml").read_text()), loaded(shown)) == loaded(compose(PRESETS, choice))


def test_show_prints_the_difference_and_writes_nothing(place: Path) -> None:
    """Of the preset with its weights and settings."""
    command = ["preset", "eval", "--weights", "pptsm-r101-k400-dense", "--set", "seed=1", "--show"]
    shown = pptsm(*command, cwd=place).stdout
    assert shown == as_yaml(difference(PRESETS, Choice("eval", "pptsm-r101-k400-dense", ("seed=1",))))
    assert loaded(shown)["student"]["network"]["depth"] == 101
    assert loaded(shown)["seed"] == 1
    assert [path.name for path in place.iterdir()] == ["presets"]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.command)
def test_every_preset_builds_its_networks_and_names_what_exists(choice: Choice) -> None:
    """Depth, width and network exist; starts are known weights; a label file has as many classes as it should."""
    params = chosen_params(PRESETS, choice)
    classes = 10
    if params.index.label_file:
        classes = len(read_label_file(str(ROOT / params.index.label_file)))
        assert classes == CLASSES[params.index.label_file]
    for role in [params.teacher, params.student] if params.teacher.enabled else [params.student]:
        assert role.start.weights is None or role.start.weights in known_weights()
        network_arguments(role, classes).build()


def test_weizmann_is_small_as_a_user_gets_it() -> None:
    """It says where the videos are, who is held out and which windows are seen; the recipe is that of `small`."""
    weizmann, small = (difference(PRESETS, Choice(name)) for name in ("weizmann", "small"))
    assert set(weizmann.pop("index")) == {"root", "pattern", "test_groups"}
    assert weizmann.pop("sampling") == "dense"
    del weizmann["report"]
    for clip in (weizmann["clip"], small["clip"]):
        for name in ("frame_rule", "dense_window", "dense_clips", "dense_crops"):
            clip.pop(name, None)
    assert weizmann == small


def test_small_trains_its_student_alone_and_for_the_time_that_its_head_states() -> None:
    """Minutes for so many videos follow from the clips that are drawn of the 70 % that are trained on."""
    params = chosen_params(PRESETS, Choice("small"))
    assert not params.teacher.enabled
    head = (PRESETS / "small.yaml").read_text().split("\n\n")[0].replace("\n#", "")
    (clips_per_sec,) = map(int, re.findall(r"(\d+) clips per second", head))
    stated = re.findall(r"([\d,]+) videos: (\d+) minutes", head)
    assert [videos for videos, _ in stated] == ["50", "300", "5,000"]
    for videos, minutes in stated:
        used = round(int(videos.replace(",", "")) * params.index.train_share)
        clips = used * clips_of_a_video(params.training, used, params.student.epochs) * params.student.epochs
        assert round(clips / clips_per_sec / 60) == int(minutes), (videos, clips)


@pytest.mark.parametrize("name", list(table("recipes.csv")[0])[1:])
def test_a_published_recipe_is_the_published_one_value_by_value(name: str) -> None:
    """tests/golden/recipes.csv, from the official configurations; an empty cell is not published."""
    values = loaded(compose(PRESETS, Choice(name)))
    for row in table("recipes.csv"):
        value: Any = values
        for part in row["key"].split("."):
            value = value[part]
        if isinstance(value, list):
            value = f"[{' '.join(map(str, value))}]"
        if row[name]:
            assert str(value) == row[name], row["key"]


@pytest.mark.parametrize("name", NAMES)
def test_a_presets_rates_are_those_of_its_own_batch(name: str) -> None:
    """`lr_for_batch` scales them for another batch_size; as the preset stands, they are the ones it names."""
    training = chosen_params(PRESETS, Choice(name)).training
    assert training.lr_for_batch in (0, training.batch_size)


KINETICS = "label,youtube_id,time_start,time_end,split,is_cc\n"
PULLED = [f"Pulling something from {way}" for way in ("left to right", "right to left")]
TEMPLATES = [
    {"id": str(number), "template": PULLED[number % 2].replace("something", "[something]")} for number in range(3)
]
OFFICIAL: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "k400-r50-uniform": (
        {
            "train.csv": f"{KINETICS}abseiling,0123456789a,0,10,train,0\narchery,0123456789b,0,10,train,0\n",
            "validate.csv": f"{KINETICS}archery,0123456789c,5,15,validate,0\n",
        },
        ["a/0123456789a_000000_000010.mp4", "b/0123456789b.mp4", "b/0123456789c_000005_000015.mp4"],
        ["abseiling train 0123456789a", "archery train 0123456789b", "archery val 0123456789c"],
    ),
    "ucf101-kinetics": (
        {
            "ucfTrainTestlist/classInd.txt": "1 Archery\n2 Biking\n",
            "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\nBiking/v_Biking_g09_c01.avi 2\n",
            "ucfTrainTestlist/trainlist02.txt": "Biking/v_Biking_g01_c01.avi 2\n",
            "ucfTrainTestlist/testlist01.txt": "Biking/v_Biking_g01_c01.avi\n",
            "ucfTrainTestlist/testlist02.txt": "Biking/v_Biking_g09_c01.avi\n",
        },
        ["Archery/v_Archery_g08_c01.avi", "Biking/v_Biking_g01_c01.avi", "Biking/v_Biking_g09_c01.avi"],
        ["Archery train g08", "Biking test g01", "Biking train g09"],
    ),
    "hmdb51": (
        {
            "testTrainMulti_7030_splits/run_test_split1.txt": "a.avi 1\nb.avi 2\n",
            "testTrainMulti_7030_splits/wave_test_split1.txt": "c.avi 1\nd.avi 0\n",
            "testTrainMulti_7030_splits/run_test_split2.txt": "a.avi 2\nb.avi 1\n",
            "testTrainMulti_7030_splits/wave_test_split2.txt": "c.avi 2\nd.avi 1\n",
        },
        ["run/a.avi", "run/b.avi", "wave/c.avi", "wave/d.avi"],
        ["run train a", "run test b", "wave train c"],
    ),
    "ssv2": (
        {
            "ssv2/something-something-v2-train.json": json.dumps(TEMPLATES[:2]),
            "ssv2/something-something-v2-validation.json": json.dumps(TEMPLATES[2:]),
            "ssv2/something-something-v2-test.json": '[{"id": "8"}]',
            "ssv2/something-something-v2-labels.json": json.dumps({name: str(n) for n, name in enumerate(PULLED)}),
        },
        ["0.webm", "1.webm", "2.webm"],
        [f"{PULLED[0]} train 0", f"{PULLED[1]} train 1", f"{PULLED[0]} val 2"],
    ),
    "own-csv": (
        {"mine.csv": "path,label,split\na.mp4,run,train\nb.mp4,walk,train\nc.mp4,run,test\n"},
        ["a.mp4", "b.mp4", "c.mp4"],
        ["run train a", "walk train b", "run test c"],
    ),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_preset_of_a_dataset_reads_its_files_where_its_head_says(name: str, place: Path) -> None:
    """The official files below data/annotations, as they are; what is in no list is allowed as far as it is usual."""
    files, ids, expected = OFFICIAL[name]
    for file, text in files.items():
        (place / "data/annotations" / file).parent.mkdir(parents=True, exist_ok=True)
        (place / "data/annotations" / file).write_text(text)
    with contextlib.chdir(place):
        table, _ = plan_index(ids, chosen_params(PRESETS, Choice(name)).index)
    used = table[table["split"] != ""].sort_values("path")
    found = [f"{row.label} {row.split} {row.id} {row.group}" for row in used.itertuples()]
    assert len(found) == len(expected)
    for row, (start, part) in zip(found, (text.rsplit(" ", 1) for text in expected), strict=True):
        assert row.startswith(start)
        assert part in row


def test_mirrored_classes_of_something_something_are_each_others_mirror_image() -> None:
    """Left and right change places in the names, and in nothing else."""
    pairs = chosen_params(PRESETS, Choice("ssv2")).training.flip_labels
    mirror = {"left": "right", "right": "left"}
    assert len(pairs) == 6
    for name, other in pairs.items():
        assert " ".join(mirror.get(word, word) for word in name.split()) == other


def test_the_table_of_recipes_covers_every_value_of_the_recipe() -> None:
    """A new parameter of clip or training must be compared too, and every published row has a column."""
    keys = {row["key"] for row in table("recipes.csv")}
    base = loaded((PRESETS / "base.yaml").read_text())
    # not published, or what follows from the hardware
    ours = {"clips_per_video", "min_clips", "lr_for_batch", "flip_labels", "keep"}
    ours |= {"clip_norm", "amp", "deterministic", "batch_norm", "freeze_stages"}
    free = {f"training.{name}" for name in ours}
    assert {f"{section}.{key}" for section in ("clip", "training") for key in base[section]} - keys == free
    assert {name for name in NAMES if name.startswith("k400")} <= set(table("recipes.csv")[0])


@pytest.mark.parametrize("row", table("protocols.csv"), ids=lambda row: row["weights"])
def test_a_checkpoint_is_evaluated_by_the_protocol_of_its_publisher(row: dict[str, str]) -> None:
    """tests/golden/protocols.csv; nothing is trained, all of the file is used, its own sampling is evaluated."""
    params = chosen_params(PRESETS, Choice("eval", row["weights"]))
    values = {**params.clip.model_dump(), **params.student.network.model_dump(), "sampling": params.sampling}
    assert {key: str(values[key]) for key, text in row.items() if key != "weights" and text} == {
        key: text for key, text in row.items() if key != "weights" and text
    }
    start = params.student.start
    assert (params.student.epochs, start.min_coverage, start.weights) == (0, 1.0, row["weights"])
    assert params.evaluate.sampling == params.sampling
    assert params.training.amp == "none"  # else no CPU could evaluate it


def test_every_checkpoint_that_can_be_evaluated_has_its_protocol_compared() -> None:
    """A new row of the registry comes with a row of the table."""
    assert [row["weights"] for row in table("protocols.csv")] == EVALUABLE


def test_params_yaml_is_the_motion_preset() -> None:
    """A fresh clone has the embedded default, so a preset may replace it without --force."""
    assert (ROOT / "params.yaml").read_text() == compose(PRESETS, Choice("motion"))


def test_settings_are_laid_over_the_preset(place: Path) -> None:
    """Numbers, texts and lists; the list is written in block style and its comment stays."""
    settings = [
        "index.root=/my videos",
        "training.base_lr=1e-3",
        "index.test_groups=[a, b]",
        "index.pattern='[x](?P<label>.)'",
    ]
    pptsm("preset", "small", *(word for setting in settings for word in ("--set", setting)), cwd=place)
    text = (place / "params.yaml").read_text()
    changes = {"root": "/my videos", "test_groups": ["a", "b"], "pattern": "[x](?P<label>.)"}
    expected = merged(loaded(compose(PRESETS, Choice("small"))), {"index": changes, "training": {"base_lr": 0.001}})
    assert loaded(text) == expected
    assert "  test_groups:\n    - a\n    - b\n" in text


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("index.rot=/x", 'unknown key index.rot; did you mean "root"?'),
        ("training.base_lr=fast", "training.base_lr is 'fast', but should be a valid number"),
        ("training.base_lr", "expected section.key=value"),
        ("index.root=a\nb: c", "expected section.key=value"),
        ("index.pattern=[^/]+x", "is not valid YAML, line 1, column 5"),
        ("seed.x=3", "seed is {'x': 3}, but should be a valid integer"),
        ("clip.crop_px=300", "crop_px (300) is larger than resize_px"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(setting: str, sentence: str, place: Path) -> None:
    """The composed values are checked before the file is touched."""
    done = pptsm("preset", "small", "--set", setting, cwd=place, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert [path.name for path in place.iterdir()] == ["presets"]


def test_a_home_folder_is_opened_where_no_shell_did(place: Path) -> None:
    """`--set index.root=~/videos` reaches the command as it is, and neither DVC nor a stage would open it."""
    pptsm("preset", "small", "--set", "index.root=~/videos", cwd=place, HOME="/home/somebody")
    assert loaded((place / "params.yaml").read_text())["index"]["root"] == "/home/somebody/videos"


def test_edited_parameters_are_not_overwritten(place: Path) -> None:
    """Work in params.yaml is not lost by a command; --force is."""
    pptsm("preset", "motion", cwd=place)
    edited = (place / "params.yaml").read_text().replace("seed: 2026", "seed: 7")
    (place / "params.yaml").write_text(edited)
    done = pptsm("preset", "weizmann", cwd=place, check=False)
    assert done.returncode == 1
    assert "params.yaml was edited" in done.stderr
    assert "`pptsm preset weizmann --force`" in done.stderr
    assert (place / "params.yaml").read_text() == edited
    pptsm("preset", "weizmann", "--force", cwd=place)
    assert (place / "params.yaml").read_text() == compose(PRESETS, Choice("weizmann"))


@pytest.mark.parametrize(
    "choice",
    [
        Choice("small", None, ("index.root=/a 'b'", "report.title=x")),
        Choice("eval", "tsm-r50-k400-dense-mit"),
        Choice("motion"),
    ],
)
def test_what_a_command_wrote_may_be_replaced_and_the_command_is_told(choice: Choice, place: Path) -> None:
    """Nothing is lost: the command in the file's head writes it again, settings and all."""
    text = compose(PRESETS, choice)
    assert Choice.of_command(choice.command) == choice
    assert written_by(PRESETS, text) == choice.command
    assert written_by(PRESETS, text + "# mine\n") is None
    assert written_by(PRESETS, text.replace(" --set", " --sett")) != choice.command or not choice.settings
    (place / "params.yaml").write_text(text)
    assert choice.command in pptsm("preset", "custom", cwd=place).stdout


def test_an_unknown_preset_lists_those_there_are() -> None:
    """What was sought and what was found; the base is not one of them."""
    done = pptsm("preset", "nosuch", cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "no preset 'nosuch'; there are " in done.stderr
    assert "weizmann" in done.stderr
    assert "base" not in done.stderr


def test_damaged_presets_are_listed_and_refused(place: Path) -> None:
    """One that is empty, and one in another encoding, are no reason to list none."""
    (place / "presets" / "empty.yaml").touch()
    (place / "presets" / "other.yaml").write_bytes(b"# fr\xfch\n\nseed: 1\n")
    assert set(preset_names(place / "presets")) == {*NAMES, "empty", "other"}
    for name, sentence in [("empty", "holds nothing where sections"), ("other", "is not UTF-8")]:
        with pytest.raises(UserError, match=sentence):
            compose(place / "presets", Choice(name))


@pytest.mark.parametrize(
    ("based_on", "sentence"),
    [
        ("nosuch", "preset 'mine' is based on 'nosuch', but there are"),
        ("mine", "presets mine -> mine are based on each"),
        ("[a, b]", "preset 'mine' is based on .* but there are"),
    ],
)
def test_a_preset_based_on_nothing_or_on_itself_is_refused(based_on: str, sentence: str, place: Path) -> None:
    """A sentence, and no endless loop."""
    (place / "presets" / "mine.yaml").write_text(f"# Mine.\n\nbased_on: {based_on}\nseed: 1\n")
    with pytest.raises(UserError, match=sentence):
        preset_values(place / "presets", "mine")


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("eval", "nosuch", "unknown name. Those that can be are pptsm-r50"),
        ("eval", "resnet50-vd-imagenet", "ImageNet start of a ResNet50-vd trunk"),
        ("eval", "lcnetv2-imagenet", "ImageNet start of PP-TSMv2's trunk"),
        ("custom", "pptsm-r50-k400-dense", "preset custom trains, .* --set student.start.weights=pptsm-r50-k400-dense"),
    ],
)
def test_weights_that_cannot_be_evaluated_are_refused(name: str, weights: str, sentence: str) -> None:
    """Why, and what can be done instead."""
    with pytest.raises(UserError, match=sentence):
        compose(PRESETS, Choice(name, weights))


@pytest.mark.slow
def test_a_published_file_is_converted_without_any_parameters(place: Path) -> None:
    """Its name says which row it is; classes and geometry of the exported file are that row's."""
    from pptsm.serving.predictor import Predictor

    model = build_model("pptsm", 50, 400, 8)
    model.set_state_dict(seeded_state(model))
    write_arrays(place / "ppTSM_k400_dense.pdparams", as_arrays(model.state_dict()))
    pptsm("convert", "ppTSM_k400_dense.pdparams", "--out", "model.onnx", cwd=place)
    metadata = Predictor(place / "model.onnx").metadata
    assert len(metadata.labels) == 400
    spec = metadata.clip
    assert (spec.sampling, spec.aspect, spec.test_crop_px, spec.segments) == ("dense", "distorted_2_1", 224, 8)


def test_weights_of_ones_own_are_converted_by_a_preset_and_not_without(place: Path) -> None:
    """--preset describes the network as --params does; a file of no known name needs one of them, not both."""
    model = network_arguments(chosen_params(PRESETS, Choice("small")).student, 2).build()
    model.set_state_dict(seeded_state(model))
    write_arrays(place / "mine.pdparams", as_arrays(model.state_dict()))
    (place / "classes.txt").write_text("left\nright\n")
    command = ["convert", "mine.pdparams", "--labels", "classes.txt", "--out", "model.onnx"]
    done = pptsm(*command, cwd=place, check=False)
    assert done.returncode == 1
    assert "say it with --params FILE or --preset NAME" in done.stderr
    assert "give one of them" in pptsm(*command, "--preset", "small", "--params", "p", cwd=place, check=False).stderr
    assert not (place / "model.onnx").exists()
    pptsm(*command, "--preset", "small", cwd=place)
    assert (place / "model.onnx").exists()


@pytest.mark.parametrize(
    "sign", ["\r", "\n", "\x85", "\u2028", "\u2029", "\x00", "\x1b", "\x7f", "\ud8ff", "\ufeff"], ids=ascii
)
def test_a_setting_cannot_end_the_comment_that_it_stands_in(sign: str) -> None:
    """It would set other keys: the command that wrote a file stands in its head."""
    for setting in (f"report.title=x{sign}seed: 5", f"report.{sign}title=x"):
        with pytest.raises(
            UserError, match=r"--set .* has the character .*, which the text of params.yaml cannot have"
        ):
            compose(PRESETS, Choice("small", settings=(setting,)))


def test_a_setting_may_have_a_line_break_in_its_value() -> None:
    """Escaped, as YAML has it; and the head stays a comment."""
    text = compose(PRESETS, Choice("small", settings=('report.title="x\\rseed: 5"', "seed=7")))
    assert loaded(text)["report"]["title"] == "x\rseed: 5"
    assert loaded(text)["seed"] == 7
    assert written_by(PRESETS, text) is not None


def test_the_file_that_stands_for_none_is_not_empty() -> None:
    """DVC warns of each empty dependency, in each stage that has it."""
    assert (PRESETS / "none").read_text().strip()
    assert (PRESETS / "none").name not in preset_names(PRESETS)

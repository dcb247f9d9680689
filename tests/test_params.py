"""params.yaml: what is right is read, what is wrong is named."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from conftest import ROOT, default_values, merged, params_with, pptsm, write_params
from pptsm.params.checking import ADDED, MAX_FAULTS, MOVED, check_params, load_params
from pptsm.params.reading import MAX_BYTES
from pptsm.params.schema import Params
from pptsm.runtime.errors import ParamsError

STEPS = {"schedule": "piecewise", "warmup_epochs": 0}
NO_TEACHER = {"teacher": {"enabled": False}, "student": {"distillation": {"weight": 0.0}}}
MUTUAL = {
    "student": {"distillation": {"kind": "mutual", "temperature": 1.0}},
    "teacher": {"epochs": 10},
    "training": {"label_smoothing": 0.0},
}
WRONG = [
    ({"sampling": "dens"}, "sampling is 'dens', but should be 'uniform' or 'dense'"),
    ({"training": {"batch_size": 0}}, "training.batch_size is 0, but should be greater than or equal to 1"),
    (merged(NO_TEACHER, {"student": {"baseline": True}}), "student.baseline is true, but student.distillation.weight"),
    ({"training": {"batch_norm_clips": 17}}, "training: batch_norm_clips (17) is above batch_size (16)"),
    (
        {"training": {"mix": "mixup", "batch_norm_clips": 1}},
        "training: mix is mixup, but batch_norm_clips is 1, and clips are mixed among those",
    ),
    ({"training": {"micro_batch": 0}}, "training.batch_norm_clips, the clips that are computed at once"),
    ({"training": {"batch_norm": "frozen"}}, "training: precise_bn_every is 5, but batch_norm is frozen"),
    ({"training": {"freeze_stages": 5}}, "training.freeze_stages is 5, but should be less than or equal to 4"),
    ({"training": {"amp": False}}, "training.amp: names a precision now, none, fp16 or bf16: write none for False"),
    ({"training": {"amp": True}}, "write fp16 for True"),
    ({"training": {"amp": "fp8"}}, "training.amp is 'fp8', but should be 'none', 'fp16' or 'bf16'"),
    ({"training": {"amp": "bf16"}, "compute": {"device": "cpu"}}, "training.amp is bf16, but compute.device is cpu"),
    ({"training": {"batch_size": "16"}}, "training.batch_size is '16', but should be a valid integer"),
    ({"training": {"batchsize": 16}}, 'unknown key training.batchsize; did you mean "batch_size"?'),
    (
        {"training": {"mix_alpha": 0.2}},
        "now it is training.mixup_alpha, for blended clips, and training.cutmix",
    ),
    ({"samplings": "dense"}, 'unknown key samplings; did you mean "sampling"?'),
    ({"clip": {"crop_px": 300}}, "crop_px (300) is larger than resize_px"),
    ({"teacher": {"enabled": False}}, "distillation.weight is above 0, but teacher.enabled is false"),
    ({"index": {"pattern": "(?P<group>.*)"}}, "no named group (?P<label>...)"),
    ({"index": {"test_share": 0.5}}, "do not add up to 1"),
    ({"training": {"schedule": "piecewise"}}, "step_epochs names no epoch"),
    ({"student": {"epochs": 0}}, "student.epochs is 0, but student.start names no weights"),
    (
        {"student": {"network": {"shift_ratio": 0.6}}},
        "student.network.shift_ratio is 0.6, but should be 'auto' or should be less",
    ),
    (
        {"student": {"network": {"attention": True}}},
        "student.network: attention is true, but only network: pptsm_v2 has one, and network is",
    ),
    (
        {"training": {**STEPS, "step_epochs": [3], "warmup_epochs": 1}},
        "warmup_epochs is 1, but schedule: piecewise has no warm-up",
    ),
    ({"training": {**STEPS, "step_epochs": [4, 4]}}, "each epoch must be later than the one before it"),
    ({"training": {**STEPS, "step_epochs": [5, 3]}}, "each epoch must be later than the one before it"),
    ({"training": {**STEPS, "step_epochs": [3, 10]}}, "ends with 10, but teacher.epochs is 10"),
    ({"training": {**STEPS, "step_epochs": [11]}, "teacher": {"epochs": 12}}, "ends with 11, but student.epochs is 10"),
    (
        {"student": {"network": {"network": "pptsm_v2", "num_segments": 16}}, "clip": {"dense_window": 16}},
        "teacher.network.num_segments is 8 and student.network.num_segments 16, but a teacher",
    ),
    ({"frames": {"short_side_px": 63}}, "frames.short_side_px (63) is below clip.resize_px (64)"),
    (
        merged(NO_TEACHER, {"teacher": {"start": {"weights": "x"}}}),
        "teacher.start names weights, but teacher.enabled is false",
    ),
    ({"student": {"start": {"sha256": "0" * 64}}}, "student.start: sha256 is given, but weights names none"),
    ({"compute": {"device": "gpu"}, "evaluate": {"engine": "onnx"}}, "engine: onnx computes on the CPU, but"),
    (
        merged(MUTUAL, {"student": {"distillation": {"temperature": 2.0}}}),
        "student.distillation.temperature is 2, but mutual learning has no",
    ),
    (merged(MUTUAL, {"training": {"label_smoothing": 0.1}}), "training.label_smoothing is 0.1, but mutual learning"),
    (merged(MUTUAL, {"teacher": {"epochs": 7}}), "teacher.epochs is 7 and student.epochs 10: they must be equal"),
    (merged(MUTUAL, {"student": {"distillation": {"weight": 0.0}}}), "nothing would be learned from one another"),
]
# What is allowed, beside the presets: the same rules must not refuse it.
RIGHT = [
    MUTUAL,
    {"training": {**STEPS, "step_epochs": [3, 6]}},
    {
        "training": {**STEPS, "step_epochs": [7]},
        "teacher": {"enabled": False},
        "student": {"distillation": {"weight": 0.0}},
    },
    {"student": {"network": {"network": "pptsm_v2", "attention": True}}},
    {"student": {"network": {"network": "pptsm_v2", "num_segments": 16}}, "teacher": {"network": {"num_segments": 16}}},
    {"student": {"network": {"shift_ratio": 0.125}}},
    {"frames": {"short_side_px": 64}},
    {"frames": {"short_side_px": 63, "source": "video"}},
    {"frames": {"short_side_px": None}},
    {"compute": {"device": "gpu"}, "evaluate": {"engine": "paddle"}},
    {"training": {"batch_norm_clips": 16}},
    {"student": {"baseline": True}},
    {"training": {"batch_norm": "frozen", "precise_bn_every": 0}},
    {"training": {"amp": "bf16"}},
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_value_is_named_with_file_key_value_and_what_is_allowed(change: dict, sentence: str) -> None:
    """The sentence names file and key, and says what would be right."""
    with pytest.raises(ParamsError) as caught:
        check_params(merged(default_values(), change), "params.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("change", RIGHT, ids=str)
def test_what_is_consistent_is_accepted(change: dict) -> None:
    """A rule refuses no more than it says."""
    check_params(merged(default_values(), change), "params.yaml")


def numbers_in(section: type[BaseModel], kind: type, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys below `section` that hold a number of this kind."""
    found = []
    for name, field in section.model_fields.items():
        key = (*path, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += numbers_in(field.annotation, kind, key)
        elif field.annotation is kind or kind in get_args(field.annotation):
            found.append(key)
    return found


def changed(key: tuple[str, ...], value: object) -> dict:
    """params.yaml's values with one of them replaced."""
    for part in reversed(key):
        value = {part: value}
    return merged(default_values(), value)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", numbers_in(Params, float), ids=".".join)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
def test_no_number_may_be_infinite_or_none(key: tuple[str, ...], value: float) -> None:
    """`.inf` and `.nan` are YAML, and pass every `gt=0`; the key is named."""
    with pytest.raises(ParamsError, match=rf"{re.escape('.'.join(key))} is -?(inf|nan), but should be a finite number"):
        check_params(changed(key, value), "params.yaml")


SEEDS = [key for key in numbers_in(Params, int) if key[-1].endswith("seed")]


@pytest.mark.parametrize("key", SEEDS, ids=".".join)
@pytest.mark.parametrize("value", [2**64, 2**32, -1])
def test_a_seed_that_no_generator_takes_is_refused(key: tuple[str, ...], value: int) -> None:
    """Paddle and numpy take 32 bits; more would end in a stack trace of theirs, hours later."""
    with pytest.raises(ParamsError, match=rf"params.yaml: {re.escape('.'.join(key))} is {value}, but should be"):
        check_params(changed(key, value), "params.yaml")
    check_params(changed(key, 2**32 - 1), "params.yaml")


def test_every_number_and_every_seed_was_found() -> None:
    """The two tests above are about something."""
    assert len(numbers_in(Params, float)) > 25
    assert set(SEEDS) >= {("seed",), ("motion", "seed"), ("index", "split_seed")}


def test_a_missing_key_is_an_error_for_there_are_no_defaults() -> None:
    """A default in code would be invisible to DVC."""
    values = default_values()
    del values["seed"]
    with pytest.raises(ParamsError, match="key seed is missing"):
        check_params(values, "params.yaml")


@pytest.mark.parametrize("section", ADDED)
def test_a_file_of_an_older_version_is_told_what_to_add(section: str) -> None:
    """A line that makes it whole: the values of the default."""
    values = default_values()
    del values[section]
    with pytest.raises(ParamsError, match=f"key {section} is missing; it is newer than this file") as refused:
        check_params(values, "params.yaml")
    line = str(refused.value).split("`")[1]
    assert check_params(values | YAML(typ="safe").load(line), "test") == params_with()


@pytest.mark.parametrize("stage", ["motion", "teacher"])
def test_a_stage_refuses_wrong_parameters_with_exit_code_2_and_no_trace(stage: str, tmp_path: Path) -> None:
    """The whole file is checked before anything is read or imported."""
    write_params(tmp_path / "params.yaml", {"report": {"wrong_clips": -1}})
    inputs = (
        []
        if stage == "motion"
        else ["--index", "i", "--labels", "l", "--frames", "f", "--start", "s", "--history", "h"]
    )
    done = pptsm(stage, "--out", "out", *inputs, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: report.wrong_clips is -1, but should be greater than or equal to 0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


DEFAULT = (ROOT / "params.yaml").read_text(encoding="utf-8")
SEED = "seed: 2026 "
FILES: list[tuple[str | bytes, str]] = [
    (bytes(range(256)), "is not valid YAML, line 2: it is not UTF-8"),
    (DEFAULT.replace("title: ", "title: früh ").encode("latin-1"), "it is not UTF-8. Save it in that encoding"),
    (DEFAULT.encode("utf-16"), "line 1: it is not UTF-8"),
    (DEFAULT + "\0", "control characters are not allowed"),
    ("", "holds nothing where sections of values should be"),
    ("- a\n- b\n", "holds a list where sections of values should be"),
    ("text", "holds a str where sections of values should be"),
    (DEFAULT + "\nseed: 3\n", 'found duplicate key "seed"'),
    (DEFAULT.replace(SEED, "seed: *s "), "column 7: found undefined alias"),
    (DEFAULT + "\nmine: &a {a: *a}\n", "unknown key mine"),
    (DEFAULT + "\n3: 1\n", "unknown key 3; known here: seed, "),
    (DEFAULT + "\n? [1, 2]\n: 1\n", "unknown key (1, 2); known here: seed, "),
    ("[" * 200_000, "nested more than 20 levels deep"),
    ("#" * (MAX_BYTES + 1), "is larger than 1,000,000 bytes"),
    (DEFAULT.replace(SEED, "seed: !!python/object/apply:os.system [exit] "), "could not determine a constructor"),
    (DEFAULT.replace(SEED, "seed: !!bool x "), "a value cannot be read ('x')"),
    (DEFAULT.replace(SEED, "seed: 2026-99-99 "), "a value cannot be read (month must be in 1..12)"),
    (DEFAULT.replace(SEED, f"seed: {'9' * 5000} "), "a value cannot be read (Exceeds the limit"),
    (DEFAULT.replace(SEED, "seed: 2026-01-01 "), "seed is datetime.date(2026, 1, 1), but should be a valid integer"),
    (DEFAULT.replace(SEED, "seed: .nan "), "seed is nan, but should be a valid integer"),
    (DEFAULT.replace(SEED, "seed: 1:30 "), "seed is '1:30', but should be a valid integer"),
    (DEFAULT + "---\n" + DEFAULT, "but found another document"),
    (re.sub("root: .*", r'root: "a\\0b"', DEFAULT), "index.root: is no path"),
    (re.sub("root: .*", 'root: ""', DEFAULT), "index.root: is no path"),
    (re.sub("group_file: .*", "group_file:", DEFAULT), "index.group_file: write presets/none where there is no file"),
    (
        re.sub("pattern: .*", r'pattern: "(?P<label>\\w+)"', DEFAULT),
        "found unknown escape character. A backslash stands in single quotes, or in none",
    ),
    (re.sub("pattern: .*", "pattern: (?P<label>x{99999999999})", DEFAULT), "the repetition number is too large"),
]


@pytest.mark.parametrize(("content", "sentence"), FILES, ids=[sentence for _, sentence in FILES])
def test_a_file_that_is_no_parameters_has_a_sentence(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    """Whatever stands in the file, and with the line where there is one."""
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(SEED, "seed: 2_026 "),
        lambda text: text.replace(SEED, "seed: &s 2026 ", 1).replace("split_seed: 2026", "split_seed: *s"),
        lambda text: "%YAML 1.2\n---\n" + text,
    ],
    ids=["a byte order mark", "CRLF", "underscores", "an anchor", "a directive"],
)
def test_what_yaml_allows_is_read(change: Callable[[str], str], tmp_path: Path) -> None:
    """And by DVC too, whose parser it is."""
    changed = change(DEFAULT)
    assert changed != DEFAULT
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8", newline="")
    assert load_params(tmp_path / "params.yaml") == load_params(ROOT / "params.yaml")


def test_what_is_no_file_has_a_sentence(tmp_path: Path) -> None:
    """A folder, a link to nothing, and one to itself."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "locked").symlink_to("/proc/self/mem")  # which can be opened, and not be read
    for name, sentence in [
        ("missing", "no .*missing here"),
        ("folder", "folder cannot be read: Is a directory"),
        ("dangling", "dangling is a link to nowhere, which is not there"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("locked", "cannot be read: Input/output error"),
    ]:
        with pytest.raises(ParamsError, match=sentence):
            load_params(tmp_path / name)


def test_a_sentence_stays_short_whatever_the_value(tmp_path: Path) -> None:
    """Neither a long value nor a thousand faults fill the screen."""
    values = merged(default_values(), {"sampling": ["x" * 1000] * 1000, "index": {"exclude": [1] * 1000}})
    with pytest.raises(ParamsError) as caught:
        check_params(values, "params.yaml")
    lines = str(caught.value).splitlines()
    assert max(map(len, lines)) < 1000
    assert lines[MAX_FAULTS:] == ["and 981 more"]


def _numbers_without_bound(schema: dict[str, Any], whole: dict[str, Any], name: str) -> list[str]:
    """The keys of a JSON schema that take a number as large as you like."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    inner = [(f"{name}.{key}", value) for key, value in schema.get("properties", {}).items()]
    inner += [(name, value) for value in schema.get("anyOf", [])]
    inner += [(name, schema["items"])] if "items" in schema else []
    bounds = {"maximum", "exclusiveMaximum", "enum", "const"}
    unbound = schema.get("type") in ("integer", "number") and not bounds & set(schema)
    return [name] * unbound + [key for of, value in inner for key in _numbers_without_bound(value, whole, of)]


def test_every_number_has_an_upper_bound() -> None:
    """What no machine can do is a slip of the key."""
    schema = Params.model_json_schema()
    assert _numbers_without_bound(schema, schema, "params") == []


@pytest.mark.parametrize(("section", "key", "value"), [
    ("student.network", "width", 1e6), ("student", "epochs", 10**13), ("compute", "workers", 10**6),
    ("index", "probe_timeout_sec", 1e300), ("motion", "videos_per_class", 10**12), ("training", "batch_size", 10**9),
    ("student.network", "num_segments", 10**6), ("compute", "devices", 10**6), ("clip", "resize_px", 10**6),
    ("training", "base_lr", 1e30), ("compute", "save_every_min", 1e300), ("frames", "short_side_px", 10**9),
    ("training", "step_epochs", [10**13]), ("report", "wrong_clips", 10**9), ("validate", "max_duration_sec", 1e300),
])  # fmt: skip
def test_what_no_machine_can_do_is_refused(section: str, key: str, value: object) -> None:
    """With the key, the value and the bound."""
    changes: Any = {key: value}
    for part in reversed(section.split(".")):
        changes = {part: changes}
    with pytest.raises(ParamsError, match=rf"{section}\.{key}.*, but .*should be less than") as error:
        params_with(**changes)
    assert len(str(error.value).splitlines()) == 1


def test_each_key_of_a_flat_role_is_named_with_its_new_place(tmp_path: Path) -> None:
    """All at once, however many they are: such a file is one of an older version."""
    role = {"network": "pptsm", "depth": 50, "width": 1.0, "segments": 8, "shift": True, "shift_ratio": "auto"}
    role |= {"attention": False, "activation": "relu", "dropout": 0.5, "start": None, "start_sha256": None}
    role |= {"new_head": False, "min_coverage": 0.9, "epochs": 8}
    taught = {"distillation": "hinton", "distillation_weight": 0.5, "temperature": 2.0, "weak_teacher": "stop"}
    values = default_values() | {"teacher": role | {"enabled": True}, "student": role | taught | {"baseline": False}}
    with pytest.raises(ParamsError) as error:
        check_params(values, "params.yaml")
    moved = [f"teacher.{key}" for key in role if key != "epochs"]
    moved += [f"student.{key}" for key in role | taught if key != "epochs"]
    for key in moved:
        new = f"{key.partition('.')[0]}.{MOVED[key.partition('.')[2]]}"
        assert f"params.yaml: key {key} is no more; now it is {new}" in str(error.value).splitlines()
        assert new in keys_of(default_values())
    assert len(str(error.value).splitlines()) == len(moved)


def keys_of(values: dict[str, Any], prefix: str = "") -> set[str]:
    """All keys, those of sections in sections too."""
    keys = set[str]()
    for key, value in values.items():
        keys |= keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return keys

"""The parameters that decide a training, by its form: what does not decide trains nothing again."""

from pathlib import Path
from typing import Any

import pytest

from conftest import default_values, merged, params_with
from helpers.roles import SETTINGS, fit, place
from pptsm.frames.store import Kept
from pptsm.params.choices import Source
from pptsm.params.schema import Params, Role
from pptsm.training.deciding import LearnsFrom, deciding_parameters, digest_of_kept
from pptsm.training.fit import Inputs, Plan
from pptsm.training.fit import fit as run_stage
from pptsm.training.provenance import code_of

__all__ = ["place"]  # a fixture


def deciding(role: str, learns_from: LearnsFrom, **changes: Any) -> dict[str, Any]:
    """Of a role that learns from labels or a network, under the default parameters with changes."""
    params = params_with(**changes)
    return deciding_parameters(params, {role: getattr(params, role)}, learns_from)


PIECEWISE = {"schedule": "piecewise", "step_epochs": [3], "warmup_epochs": 0}
MIXUP, CUTMIX = {"mix": "mixup"}, {"mix": "cutmix"}


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ({}, {"frames": {"crf": 30, "key_frame_every": 16}}),
        ({}, {"frames": {"jpeg_quality": 80, "short_side_px": 128}}),  # the files say it
        ({}, {"clip": {"crops": "ten", "dense_clips": 3, "dense_crops": "ten", "average": "probabilities"}}),
        ({}, {"clip": {"dense_window": 32}}),
        ({"sampling": "dense"}, {"clip": {"frame_rule": "centred", "dense_clips": 3}}),
        ({}, {"index": {"root": "./data/raw/motion"}}),
        ({}, {"training": {"step_factor": 0.5}}),
        ({"training": PIECEWISE}, {"training": {"warmup_start_lr": 0.1}}),
        ({"training": {"warmup_epochs": 0}}, {"training": {"warmup_start_lr": 0.1}}),
        ({}, {"training": {"mixup_alpha": 0.7, "cutmix_alpha": 0.7}}),
        ({"training": MIXUP}, {"training": {"cutmix_alpha": 0.7}}),
        ({"training": CUTMIX}, {"training": {"mixup_alpha": 0.7}}),
        ({"training": {"precise_bn_every": 0}}, {"training": {"precise_bn_batches": 3}}),
        ({}, {"training": {"min_clips": 7}}),  # clips_per_video has it
        ({"compute": {"device": "cpu"}}, {"training": {"deterministic": False}}),
        (
            {},
            {
                "student": {
                    "distillation": {"weak_teacher": "stop", "temperature": 9.0},
                    "baseline": True,
                    "start": {"min_coverage": 0.1},
                }
            },
        ),
        ({}, {"student": {"network": {"shift_ratio": 0.125}}}),  # what auto is with eight segments
        ({"student": {"network": {"shift": False}}}, {"student": {"network": {"shift_ratio": 0.25}}}),
        ({"student": {"network": {"network": "pptsm_v2"}}}, {"student": {"network": {"depth": 50}}}),
        (
            {"student": {"network": {"network": "tsm_lite"}}},
            {"student": {"network": {"depth": 50, "activation": "relu"}}},
        ),
        ({}, {"teacher": {"network": {"depth": 50}}}),  # its weights and its network are inputs
        ({}, {"evaluate": {"sampling": "uniform"}, "report": {"title": "x"}, "compute": {"workers": 1}}),
    ],
)
def test_what_a_form_does_not_use_is_in_no_key(form: dict[str, Any], changes: dict[str, Any]) -> None:
    """A plain student's key is the same with and without the changes."""
    before = deciding("student", "labels", **form)
    assert deciding("student", "labels", **merged(form, changes)) == before


@pytest.mark.parametrize(
    ("form", "key", "value"),
    [
        ({}, "seed", 7),
        ({}, "sampling", "dense"),
        ({}, "frames.source", "short_gop"),
        ({}, "clip.resize_px", 72),
        ({}, "clip.test_crop_px", 64),
        ({}, "clip.frame_rule", "centred"),
        ({"sampling": "dense"}, "clip.dense_window", 32),
        ({}, "training.base_lr", 0.5),
        ({}, "training.warmup_start_lr", 0.1),
        ({"training": PIECEWISE}, "training.step_factor", 0.5),
        ({"training": MIXUP}, "training.mixup_alpha", 0.7),
        ({"training": CUTMIX}, "training.cutmix_alpha", 0.7),
        ({"training": {"mix": "videomix"}}, "training.cutmix_alpha", 0.7),
        ({"training": {"mix": "videomix"}}, "training.mixup_alpha", 0.7),
        ({}, "training.precise_bn_batches", 3),
        ({}, "training.lr_for_batch", 8),
        ({}, "training.keep", "best"),
        ({}, "training.deterministic", False),
        ({}, "student.epochs", 11),
        ({}, "student.network.depth", 34),
        ({"student": {"network": {"network": "pptsm_v2"}}}, "student.network.activation", "relu"),
        ({}, "student.start.new_head", True),
        ({}, "student.network.shift_ratio", 0.25),
        ({}, "student.network.shift", False),
    ],
)
def test_what_a_form_uses_is_in_the_key(form: dict[str, Any], key: str, value: object) -> None:
    """Each by its name, so that a run which starts anew can say why."""
    changes: Any = value
    for part in reversed(key.split(".")):
        changes = {part: changes}
    before, after = deciding("student", "labels", **form), deciding("student", "labels", **merged(form, changes))
    assert before[key] != after[key]


@pytest.mark.parametrize(
    ("learns_from", "changes", "decides"),
    [
        ("teacher", {"distillation": {"temperature": 9.0}}, True),
        ("teacher", {"distillation": {"weight": 0.1}}, True),
        ("teacher", {"distillation": {"weak_teacher": "stop"}}, False),
        ("labels", {"distillation": {"weight": 0.1}}, False),
    ],
)
def test_what_is_about_the_teacher_decides_where_one_teaches(
    learns_from: LearnsFrom, changes: dict[str, Any], decides: bool
) -> None:
    """A student whose teacher knows nothing learns from the labels alone."""
    before = deciding("student", learns_from)
    assert (deciding("student", learns_from, student=changes) != before) is decides


def test_a_parameter_that_no_rule_names_decides() -> None:
    """Every key of the recipe and of a role is in the key of some form, but for those that are known to be in none."""
    forms = [{}, {"training": PIECEWISE}, {"training": {"mix": "videomix", "flip": "horizontal"}}]
    seen = set[str]()
    for form in forms:
        seen |= deciding("student", "teacher", **form).keys() | deciding("student", "peer", **form).keys()
    values = default_values()
    keys = {f"training.{key}" for key in values["training"]}
    for key, value in values["student"].items():
        keys |= {f"student.{key}.{inner}" for inner in value} if isinstance(value, dict) else {f"student.{key}"}
    assert keys - seen == {
        "training.min_clips",
        *(f"student.start.{key}" for key in ("weights", "sha256", "min_coverage")),
        "student.distillation.weak_teacher",
        "student.baseline",
    }


@pytest.mark.parametrize(("source", "decoders"), [
    ("video", {"av", "decord", "simplejpeg"}),
    ("short_gop", {"av", "decord", "simplejpeg"}),
    ("archive", {"simplejpeg"}),
])  # fmt: skip
def test_what_decodes_the_clips_decides(source: Source, decoders: set[str]) -> None:
    """Archives hold JPEGs, which no decoder of videos reads."""
    assert code_of("teacher", source).keys() & {"av", "decord", "simplejpeg"} == decoders


def test_frames_of_another_size_are_other_frames(place: Path) -> None:
    """Of clips that train or validate; a test clip's decide nothing."""
    import pandas as pd

    clips = pd.DataFrame({"id": ["a", "b", "c"], "split": ["train", "val", "test"]})
    for name in clips["id"]:
        Path(f"{name}.zip").write_bytes(b"12345")
    before = digest_of_kept(Kept("archive", Path()), clips)
    Path("c.zip").write_bytes(b"1")
    assert digest_of_kept(Kept("archive", Path()), clips) == before
    Path("b.zip").write_bytes(b"1")
    assert digest_of_kept(Kept("archive", Path()), clips) != before


def run(role: str, changes: dict[str, Any]) -> Params:
    """As a stage that DVC runs again for a parameter."""
    params = params_with(**merged(SETTINGS, changes))
    section: Role = getattr(params, role)
    inputs = Inputs(Path("index.csv"), Path("labels.txt"), Path("none"), Path("start", role))
    run_stage(Plan(role, section, inputs, Path(role), Path(f"{role}.csv")), params)
    return params


def test_a_stage_that_runs_again_for_what_does_not_decide_trains_nothing_and_writes_the_same(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and history byte for byte; the card says the new value, and what decides trains."""
    fit("teacher")
    before = {name: Path(name).read_bytes() for name in ("teacher/weights.pdparams", "teacher.csv")}
    card = Path("teacher/card.json").read_text()
    capsys.readouterr()
    for changes in (
        {"frames": {"crf": 30}},
        {"training": {"mixup_alpha": 0.7}},
        {"index": {"pattern": "(?P<label>.)"}},
    ):
        run("teacher", changes)
        said = capsys.readouterr().err
        assert "takes the finished training" in said
        assert "epoch 1 of" not in said
        assert {name: Path(name).read_bytes() for name in before} == before
        assert Path("teacher/card.json").read_text() == card
    run("teacher", {"clip": {"average": "probabilities"}})
    assert "takes the finished training" in capsys.readouterr().err
    assert Path("teacher/card.json").read_text() == card.replace('"logits"', '"probabilities"')
    run("teacher", {"training": {"base_lr": 0.011}})
    assert "epoch 1 of" in capsys.readouterr().err

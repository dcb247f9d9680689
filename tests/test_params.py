"""params.yaml: what is right is read, what is wrong is named."""

from pathlib import Path

import pytest

from conftest import ROOT, default_values, merged, pptsm, write_params
from pptsm.errors import ParamsError
from pptsm.params import check_params, load_params

WRONG = [
    ({"sampling": "dens"}, "sampling is 'dens', but should be 'uniform' or 'dense'"),
    ({"training": {"batch_size": 0}}, "training.batch_size is 0, but should be greater than or equal to 1"),
    ({"training": {"batch_size": "16"}}, "training.batch_size is '16', but should be a valid integer"),
    ({"training": {"batchsize": 16}}, 'unknown key training.batchsize; did you mean "batch_size"?'),
    ({"samplings": "dense"}, 'unknown key samplings; did you mean "sampling"?'),
    ({"clip": {"crop_px": 300}}, "crop_px (300) is larger than resize_px"),
    ({"teacher": {"enabled": False}}, "distillation_weight is above 0, but teacher.enabled is false"),
    ({"index": {"pattern": "(?P<group>.*)"}}, "no named group (?P<label>...)"),
    ({"index": {"test_share": 0.5}}, "do not add up to 1"),
    ({"training": {"schedule": "piecewise"}}, "step_epochs names no epoch"),
    ({"student": {"epochs": 0}}, "student.epochs is 0, but pretrained.student names no weights"),
    ({"model": {"shift_ratio": 0.6}}, "model.shift_ratio is 0.6"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_value_is_named_with_file_key_value_and_what_is_allowed(change: dict, sentence: str) -> None:
    """The sentence names file and key, and says what would be right."""
    with pytest.raises(ParamsError) as caught:
        check_params(merged(default_values(), change), "params.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")
    assert caught.value.exit_code == 2


def test_a_missing_key_is_an_error_for_there_are_no_defaults() -> None:
    """A default in code would be invisible to DVC."""
    values = default_values()
    del values["seed"]
    with pytest.raises(ParamsError, match="key seed is missing"):
        check_params(values, "params.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_a_complete_file(path: Path) -> None:
    """`pptsm preset NAME` never puts a broken file in place."""
    load_params(path)


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_builds_its_networks_and_names_known_weights(path: Path) -> None:
    """Depth, width and dialect exist, and a name of published weights is in the registry."""
    from pptsm.model.download import known_weights
    from pptsm.model.roles import build_role

    params = load_params(path)
    for role, source in (("teacher", params.pretrained.teacher), ("student", params.pretrained.student)):
        if role == "student" or params.teacher.enabled:
            build_role(params, getattr(params, role), 10)
        assert source is None or source in known_weights()
    if params.index.label_file:
        assert len((ROOT / params.index.label_file).read_text().splitlines()) == 400


def test_params_yaml_is_the_motion_preset() -> None:
    """A fresh clone has the embedded default, so a preset may replace it without --force."""
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "presets" / "motion.yaml").read_bytes()


@pytest.mark.parametrize("stage", ["motion", "teacher"])
def test_a_stage_refuses_wrong_parameters_with_exit_code_2_and_no_trace(stage: str, tmp_path: Path) -> None:
    """The whole file is checked before anything is read or imported."""
    write_params(tmp_path / "params.yaml", {"report": {"wrong_clips": -1}})
    inputs = (
        []
        if stage == "motion"
        else ["--index", "i", "--labels", "l", "--frames", "f", "--pretrained", "p", "--history", "h"]
    )
    done = pptsm(stage, "--out", "out", *inputs, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: report.wrong_clips is -1, but should be greater than or equal to 0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_preset_does_not_overwrite_edited_parameters(tmp_path: Path) -> None:
    """Work in params.yaml is not lost by a command; --force is."""
    (tmp_path / "presets").mkdir()
    for path in (ROOT / "presets").glob("*.yaml"):
        (tmp_path / "presets" / path.name).write_bytes(path.read_bytes())
    pptsm("preset", "motion", cwd=tmp_path)
    pptsm("preset", "weizmann", cwd=tmp_path)  # an unedited preset may be replaced
    edited = (tmp_path / "params.yaml").read_text() + "# mine\n"
    (tmp_path / "params.yaml").write_text(edited)
    done = pptsm("preset", "motion", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "was edited" in done.stderr
    assert (tmp_path / "params.yaml").read_text() == edited
    pptsm("preset", "motion", "--force", cwd=tmp_path)
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "presets" / "motion.yaml").read_bytes()


def test_an_unknown_preset_lists_those_there_are(tmp_path: Path) -> None:
    """What was sought and what was found."""
    done = pptsm("preset", "nosuch", cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "no preset 'nosuch'" in done.stderr
    assert "weizmann" in done.stderr

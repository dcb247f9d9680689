"""Weight files: what fits is loaded and reported, what is dangerous is refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import paddle
import pytest

from pptsm.model.network import build_model
from pptsm.runtime.files import MARKER, sha256_of
from pptsm.weights.loading import load_weights
from pptsm.weights.pretrained import fetch_start
from pptsm.weights.state_dict import WeightsError, read_weights, write_arrays


def small(num_classes: int = 3, depth: int = 18) -> paddle.nn.Layer:
    return build_model("pptsm", depth, num_classes, 4, width=0.125)  # type: ignore[arg-type]


class Evil:
    """Unpickling it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_is_refused_by_name_and_does_nothing(tmp_path: Path) -> None:
    """The name that was asked for stands in the message; the command never ran."""
    path = tmp_path / "evil.pdparams"
    path.write_bytes(pickle.dumps({"backbone.conv1_1._conv.weight": Evil(tmp_path / "ran")}))
    with pytest.raises(WeightsError, match=r"evil.pdparams was refused: .*system"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04", pickle.dumps([1, 2])[:-3]])
def test_a_damaged_file_is_no_weights_file(tmp_path: Path, content: bytes) -> None:
    """Empty, text, cut off."""
    (tmp_path / "bad.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match="no weights file, or is cut off"):
        read_weights(tmp_path / "bad.pdparams")


def test_files_of_paddle_save_are_read(tmp_path: Path) -> None:
    """Both ways: ours by Paddle, Paddle's by ours."""
    model = small()
    paddle.save(model.state_dict(), str(tmp_path / "theirs.pdparams"))
    other = small()
    report = load_weights(other, tmp_path / "theirs.pdparams")
    assert report.coverage == 1
    assert not report.missing
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy())
    write_arrays(tmp_path / "ours.pdparams", {k: v.numpy() for k, v in model.state_dict().items()})
    loaded = paddle.load(str(tmp_path / "ours.pdparams"))
    assert set(loaded) == set(model.state_dict())


def test_a_head_of_other_classes_is_reinitialised_and_said(tmp_path: Path) -> None:
    """The trunk is taken, the last layer keeps its fresh weights."""
    write_arrays(tmp_path / "w.pdparams", {k: v.numpy() for k, v in small(3).state_dict().items()})
    report = load_weights(small(5), tmp_path / "w.pdparams")
    assert report.reinitialised == ["head.fc.weight", "head.fc.bias"]
    assert report.coverage == 1
    assert "2 re-initialised" in report.summary()


def test_another_architecture_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    """Never a silent partial load."""
    write_arrays(tmp_path / "w.pdparams", {k: v.numpy() for k, v in small(3, 50).state_dict().items()})
    model = small()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match="does not fit this network: it fills"):
        load_weights(model, tmp_path / "w.pdparams", min_coverage=0.9)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_file_without_arrays_is_no_state_dict(tmp_path: Path) -> None:
    """Numbers are not weights."""
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_weights(small(), tmp_path / "w.pdparams")


def test_a_start_is_a_folder_with_the_weights_and_their_origin(tmp_path: Path) -> None:
    """A file is copied as it is; a random start is a note without weights, so that another start is another output."""
    write_arrays(tmp_path / "mine.pdparams", {k: v.numpy() for k, v in small().state_dict().items()})
    digest = sha256_of(tmp_path / "mine.pdparams")
    fetch_start("student", str(tmp_path / "mine.pdparams"), digest[:8], tmp_path / "start")
    assert sha256_of(tmp_path / "start" / "weights.pdparams") == digest
    origin = json.loads((tmp_path / "start" / "source.json").read_text())
    assert origin == {"source": str(tmp_path / "mine.pdparams"), "sha256": digest}
    fetch_start("student", None, None, tmp_path / "start")
    assert sorted(path.name for path in (tmp_path / "start").iterdir()) == [MARKER, "source.json"]
    assert json.loads((tmp_path / "start" / "source.json").read_text()) == {"source": None, "sha256": None}


def test_a_start_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    """Before any training: a file that is no weights file."""
    (tmp_path / "bad.pdparams").write_bytes(b"hello")
    with pytest.raises(WeightsError, match="no weights file"):
        fetch_start("student", str(tmp_path / "bad.pdparams"), sha256_of(tmp_path / "bad.pdparams"), tmp_path / "start")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pdparams"]

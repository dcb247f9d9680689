"""`pptsm promote`: the challenger against the package in service, the exchange in one step, and back."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conftest import good_index, moving_square, pptsm, write_params
from helpers.exported import LABELS, exported
from pptsm.data.table import save_index
from pptsm.deploy.calibrated import with_calibration
from pptsm.deploy.package import write_package
from pptsm.deploy.promote import compare, put_in_service, undo
from pptsm.runtime.errors import UserError
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video


def rights(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def test_the_comparison_is_paired_and_exact() -> None:
    """Three won, none lost: p is 2 / 2^3; the difference may be lost within what is allowed, and NaN never."""
    found = compare(rights("111110"), rights("110000"), list("abcdef"))
    assert (found.challenger, found.champion, found.p_value) == (5 / 6, 2 / 6, 0.25)
    assert not found.is_worse(0.0)
    other = compare(rights("110000"), rights("111000"), list("abcdef"))
    assert other.is_worse(0.0)
    assert other.is_worse(0.16)
    assert not other.is_worse(1 / 6)
    assert other.is_worse(float("nan"))
    assert compare(rights("11"), rights("11"), ["a", "b"]).p_value == 1.0
    assert "-16.7 points" in other.in_words()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project: videos that the package `good` names rightly, and `bad`, whose logits are those of `good` negated."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "exported").mkdir()
    good = exported(folder / "exported")
    model = onnx.load(str(good))
    (last,) = [node for node in model.graph.node if "logits" in node.output]
    last.output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(-1.0), "minus"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "minus"], ["logits"]))
    bad = folder / "exported/bad.onnx"
    bad.write_bytes(with_calibration(model.SerializeToString(), None))
    for name, file in (("good", good), ("bad", bad)):
        (folder / name).mkdir()
        write_package(folder / name, {"model.onnx": file}, None, LABELS, {"README.md": name})
    table = good_index()
    predictor = Predictor(good)
    for number, path in enumerate(table["path"]):
        (folder / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / "videos" / path, moving_square(16, seed=number), 10, "h264")
        table.loc[number, "label"] = predictor.predict(folder / "videos" / path)[0].label
    save_index(table, folder / "index.csv")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    project = tmp_path / "project"
    shutil.copytree(made, project)
    write_params(project / "params.yaml", {"index": {"root": str(project / "videos")}})
    return project


def promoted(project: Path, package: str, *more: str, check: bool = True) -> str:
    done = pptsm(
        "promote", "--package", package, "--folder", "served/model", "--index", "index.csv", *more,
        cwd=project, check=check,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def card(project: Path) -> str:
    return (project / "served/model/README.md").read_text()


def test_a_better_package_is_put_in_service_and_undone(project: Path) -> None:
    """The first at once, the next after a comparison; undone, the former answers again, and once more the newer."""
    assert "nothing is in service" in promoted(project, "bad")
    assert card(project) == "bad"
    assert "would be put in service" in promoted(project, "good", "--dry-run")
    assert card(project) == "bad"
    assert "challenger 100.00%, in service 0.00% of the same 2 videos" in promoted(project, "good")
    assert card(project) == "good"
    assert Predictor(project / "served/model/model.onnx").metadata.labels == LABELS
    assert "has this package already" in promoted(project, "good")
    for before in ("bad", "good"):
        promoted(project, "good", "--undo")
        assert card(project) == before


def test_a_worse_package_is_refused_unless_it_may_be(project: Path) -> None:
    promoted(project, "good")
    text = promoted(project, "bad", check=False)
    assert "recognises fewer videos" in text
    assert "-100.0 points" in text
    assert card(project) == "good"
    promoted(project, "bad", "--may-lose", "1")
    assert card(project) == "bad"


def test_a_package_that_changed_is_not_put_in_service(project: Path) -> None:
    """One byte more in its card: nothing is changed, whatever is in service."""
    (project / "bad/README.md").write_text("bad?")
    assert "README.md is not as it was packaged: it has another hash" in promoted(project, "bad", check=False)
    (project / "bad/README.md").unlink()
    assert "it is missing" in promoted(project, "bad", check=False)
    assert "SHA256SUMS cannot be read" in promoted(project, "videos", check=False)
    assert not (project / "served/model").exists()


def test_what_nobody_promoted_is_left_alone(project: Path) -> None:
    """A folder of the user's in that place; nothing to undo; no folder named."""
    assert "no former package" in promoted(project, "good", "--undo", check=False)
    (project / "served/model").mkdir(parents=True)
    assert "something else is there" in promoted(project, "good", check=False)
    done = pptsm("promote", "--package", "good", cwd=project, check=False)
    assert "neither --folder nor serving.folder" in done.stderr


def test_two_copies_are_kept(made: Path, tmp_path: Path) -> None:
    """The one in service and the former one, however often it is promoted; no partial copy is left."""
    folder = tmp_path / "model"
    for name in ("good", "bad", "good", "bad"):
        put_in_service(made / name, folder)
    assert len(list((tmp_path / ".model.packages").iterdir())) == 2
    undo(folder)
    assert (folder / "README.md").read_text() == "good"
    (folder.resolve() / "README.md").write_text("changed")
    undo(folder)
    with pytest.raises(UserError, match="not as it was packaged"):
        undo(folder)
    assert (folder / "README.md").read_text() == "bad"

"""The package as it is installed: the wheel in an environment of its own, called from a folder that is no clone.

One environment serves all tests here, which takes minutes and the package index: the base first, then with Paddle,
installed by the command that the error names.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer

from conftest import ROOT, moving_square
from pptsm import Predictor
from pptsm.cli import app
from pptsm.presets.compose import PRESETS, Choice, chosen_params, compose
from pptsm.runtime.extras import NEEDED_BY
from pptsm.video.encode import write_video
from pptsm.weights.registry import known_weights
from pptsm.weights.state_dict import as_arrays, write_arrays

pytestmark = pytest.mark.slow

MOST_PACKAGES = 31  # with this one
MOST_MB = 600
V2 = "pptsmv2-8-k400-uniform"  # the smallest network that is published


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and an empty folder to call it from."""

    environment: Path
    folder: Path

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder, without anything of this one's environment."""
        program, *rest = map(str, words)
        command = [str(self.environment / "bin" / program), *rest]
        clean = {"PATH": f"{self.environment}/bin:/usr/bin:/bin", "HOME": str(self.folder.parent)}
        done = subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done


def pip(environment: Path, *words: object) -> None:
    command = [environment / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(list(map(str, command)), cwd=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Nothing but the wheel and what it depends on, and a video."""
    place = tmp_path_factory.mktemp("package")
    source, environment, folder = place / "source", place / "environment", place / "elsewhere"
    for made in (source, folder):
        made.mkdir()
    tracked = subprocess.check_output(["git", "archive", "--format=tar", stash()], cwd=ROOT)
    subprocess.run(["tar", "-x", "-C", source], input=tracked, check=True)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", place, source]
    subprocess.run(list(map(str, wheel)), check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip(environment, "install", *place.glob("pptsm-*.whl"))
    write_video(folder / "a.mp4", moving_square(32, 64), 10, "h264")
    return Installed(environment, folder)


def stash() -> str:
    """The tree as it is now, also where it is not committed."""
    made = subprocess.run(["git", "stash", "create"], cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout.strip() or "HEAD"


@pytest.fixture(scope="module")
def with_paddle(base: Installed) -> Installed:
    """The same environment with the extra that a command asks for, installed as its sentence says."""
    sentence = base.run("pptsm", "convert", "x.pdparams", "--out", "x.onnx", check=False).stderr
    found = re.search(r"Install: python -m pip install '(\S+)',", sentence)
    assert found, sentence
    pip(base.environment, "install", found[1])
    return base


def test_the_base_is_small(base: Installed) -> None:
    """In packages and in megabytes, without pip's own."""
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    site = next(base.environment.glob("lib/python*/site-packages"))
    packages = {path.name for path in site.glob("*.dist-info") if not path.name.startswith(own)}
    assert len(packages) <= MOST_PACKAGES, sorted(packages)
    counted = [path for path in site.iterdir() if not path.name.startswith(own)]
    files = [path for top in counted for path in (top, *top.rglob("*")) if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{len(packages)} packages, {megabytes:.0f} MB")
    assert megabytes < MOST_MB


def test_presets_come_along(base: Installed) -> None:
    """As in a clone, to the byte; the values that they name are there too."""
    listed = base.run("pptsm", "preset", "--list").stdout
    assert {path.stem for path in PRESETS.glob("*.yaml")} - {"base"} == {
        line.split()[0] for line in listed.splitlines()
    }
    assert "in a clone of the project" in base.run("pptsm", "preset", "small").stdout
    assert (base.folder / "params.yaml").read_text() == compose(PRESETS, Choice("small"))
    base.run("pptsm", "preset", "eval", "--weights", V2, "--set", "index.root=.", "--params", "eval.yaml")
    assert "can be used" in base.run("pptsm", "check", "--params", "eval.yaml").stdout  # with its presets/labels/...
    assert V2 in base.run("pptsm", "weights").stdout


def test_the_base_reads_videos(base: Installed) -> None:
    """Views are those of a clone; a dataset is indexed and its frames are kept."""
    (base.folder / "params.yaml").write_text(compose(PRESETS, Choice("small", settings=("index.root=videos",))))
    base.run("pptsm", "views", "a.mp4", "--out", "views.npy")
    assert np.load(base.folder / "views.npy").shape[1] == 3
    for number, label in enumerate(("left", "right") * 4):
        path = base.folder / "videos" / label / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving_square(24, 64, seed=number), 10, "h264")
    done = base.run("pptsm", "index", "--out", "index.csv", "--labels", "labels.txt")
    assert "decord is not installed here, so PyAV reads every file" in done.stderr
    assert (base.folder / "index.csv").read_text().count(",pyav,") == 8
    assert "ok   decord" in base.run("pptsm", "doctor", check=False).stdout


@pytest.mark.parametrize("name", NEEDED_BY)
def test_what_needs_an_extra_says_so(base: Installed, name: str) -> None:
    """Each command and stage, called as its help says; nothing is written."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    words: list[str] = []
    for parameter in command.params:
        if parameter.required:
            word = "mlflow" if parameter.name == "where" else "nothing"  # that one takes two words alone
            words += [word] if parameter.param_type_name == "argument" else [parameter.opts[0], word]
    before = sorted(base.folder.iterdir())
    done = base.run("pptsm", name, *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: `pptsm {name}` needs the extra")
    assert "python -m pip install 'pptsm[" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(base.folder.iterdir()) == before


def test_a_download_without_its_library_says_so(base: Installed) -> None:
    """Fetching weights is part of two extras."""
    for words in (("fetch", V2), ("start", "--role", "teacher", "--out", "start")):
        done = base.run("pptsm", *words, check=False)
        assert done.returncode == 1
        assert re.match(r"error: pptsm\.weights\.download needs the extra `pipeline`: requests is not", done.stderr)


def test_python_without_an_extra_says_so(base: Installed) -> None:
    """A public name that needs Paddle, and the one that does not."""
    done = base.run("python", "-c", "from pptsm import Predictor, ClipSpec\nfrom pptsm import build_model", check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("pptsm.runtime.extras.MissingExtra: pptsm.model.network needs the extra `cpu` (or `gpu`)")
    version = base.run("python", "-c", "import pptsm; print(pptsm.__version__)").stdout.strip()
    assert version == re.search(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text())[1]  # type: ignore[index]


SCRIPT = """
from pathlib import Path

import numpy as np

from pptsm import ClipSpec, Predictor
from pptsm.serving.predictor import Guess

predictor = Predictor("model.onnx")
spec: ClipSpec = predictor.metadata.clip
asked: list[Guess] = predictor.predict("a.mp4", top_k=2)
path: list[Guess] = predictor.predict(Path("a.mp4"), top_k=2)
frames = np.load("frames.npy")
array = predictor.predict(frames, top_k=2)
print([[(guess.label, guess.score) for guess in answer] for answer in (asked, path, array)])
"""
WRONG = SCRIPT + "predictor.predict(5)\npredictor.predict('a.mp4', topk=3)\n"


def type_checked(installed: Installed, script: str) -> subprocess.CompletedProcess[str]:
    """By the types that the installed package brings."""
    (installed.folder / "script.py").write_text(script)
    python = installed.environment / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir=types",
        "script.py",
    ]
    return subprocess.run(list(map(str, command)), cwd=installed.folder, capture_output=True, text=True, check=False)


def test_a_script_is_type_checked_against_the_installed_package(base: Installed) -> None:
    """It has types of its own; a wrong call is found."""
    done = type_checked(base, SCRIPT)
    assert done.returncode == 0, done.stdout
    done = type_checked(base, WRONG)
    assert done.returncode == 1
    assert '"predict" of "Predictor" has incompatible type "int"' in done.stdout
    assert 'Unexpected keyword argument "topk"' in done.stdout


def test_the_installed_package_converts_and_predicts(with_paddle: Installed) -> None:
    """Published weights by the name of their file, with the class names of the package; then a video in three forms."""
    import paddle

    from pptsm.weights.card import network_arguments

    folder = with_paddle.folder
    published = folder / known_weights()[V2].url.rsplit("/", 1)[1]
    paddle.seed(7)
    network = network_arguments(chosen_params(PRESETS, Choice("eval", V2)).student, 400).build()
    write_arrays(published, as_arrays(network.state_dict()))
    done = with_paddle.run("pptsm", "convert", published.name, "--out", "model.onnx")
    assert "agrees with Paddle" in done.stdout
    frames = moving_square(32, 64)
    np.save(folder / "frames.npy", frames)
    (folder / "answers.py").write_text(SCRIPT)
    answers = eval(with_paddle.run("python", "answers.py").stdout)
    assert answers[0] == answers[1]
    exact = Predictor(folder / "model.onnx", runtime="onnxruntime")  # which is all that is installed there
    assert answers[2] == [(guess.label, guess.score) for guess in exact.predict(frames, 2)]
    (shown,) = json.loads(with_paddle.run("pptsm", "predict", "a.mp4", "--model", "model.onnx", "--json").stdout)
    assert [(guess["label"], guess["score"]) for guess in shown["top"][:2]] == answers[0]
    assert {label for label, _ in answers[0]} <= set(names_of_kinetics())


def names_of_kinetics() -> Sequence[str]:
    lines = (PRESETS / "labels" / "kinetics400.txt").read_text().splitlines()
    return [re.sub(r"^\d+ ", "", line) for line in lines]

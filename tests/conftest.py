"""What several tests need: the shared data where it is there, tiny parameters, tiny videos, one tiny run."""

import atexit
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from ruamel.yaml import YAML
from xdist.scheduler import LoadScopeScheduling

from helpers.fork_server import can_run, fork_server
from pptsm.data.spec import ClipSpec, clip_spec
from pptsm.data.table import COLUMNS
from pptsm.params.checking import check_params
from pptsm.params.choices import Sampling
from pptsm.params.schema import Params
from pptsm.presets.compose import merged
from pptsm.video.decoders import has_decord
from pptsm.video.types import Decoder

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"  # figures of the official code, numbers only (its README says which)
SHARED = ROOT.parent / "shared"

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# What is remembered of models and machines: each run of the tests finds it out anew
os.environ["PPTSM_CACHE"] = tempfile.mkdtemp(prefix="pptsm-tests-")
atexit.register(shutil.rmtree, os.environ["PPTSM_CACHE"], ignore_errors=True)
ONE_OF_SEVERAL = "PYTEST_XDIST_WORKER" in os.environ  # processes that share the tests, and the cores
if ONE_OF_SEVERAL:
    os.environ.setdefault("PPTSM_THREADS", "1")

DECORD: Decoder = "decord" if has_decord() else "pyav"  # what reads a file that decord may read

TINY_SCREEN = ".dvc/tmp/screen.txt"  # in the tiny project: what its `dvc repro` printed; git sees nothing there

# The embedded dataset, small enough that the whole pipeline takes seconds.
TINY = {
    "motion": {"videos_per_class": 6, "groups": 6, "frame_px": 32, "num_frames": 16},
    "index": {"train_share": 0.5, "val_share": 0.17, "test_share": 0.33, "split_seed": 2027},  # 3, 1 and 2 scenes
    "clip": {"resize_px": 32, "crop_px": 32, "test_crop_px": 32, "dense_window": 8, "dense_clips": 2},
    "training": {"batch_size": 8, "batch_norm_clips": 4, "precise_bn_batches": 2},
    "teacher": {"network": {"depth": 18, "width": 0.125, "num_segments": 4, "shift_ratio": 0.125}, "epochs": 2},
    "student": {
        "network": {"width": 0.125, "num_segments": 4, "shift_ratio": 0.125},
        "epochs": 6,
    },  # enough to be interrupted in
    "export": {"check_clips": 4, "latency_runs": 1},
    "compute": {"devices": 1},  # another process costs seconds; tests/test_parallel.py has them
    "evaluate": {"served_agreement": 0.5},  # it hardly learns: what a JPEG changes turns some of its answers
}


def default_values() -> dict[str, Any]:
    """The values of params.yaml."""
    values: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return values


def params_with(**changes: Any) -> Params:
    """The default parameters with nested changes."""
    return check_params(merged(default_values(), changes), "test")


def write_params(path: Path, *changes: dict[str, Any]) -> None:
    """Write the default parameters with nested changes as YAML."""
    values = default_values()
    for change in changes:
        values = merged(values, change)
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(values, file)


def spec_with(sampling: Sampling = "uniform", segments: int = 4, **changes: Any) -> ClipSpec:
    """The default clip with changes of section clip, for a network of so many segments."""
    roles = {role: {"network": {"num_segments": segments}} for role in ("teacher", "student")}
    return clip_spec(params_with(clip=changes, **roles).clip, segments, sampling)


def good_index() -> pd.DataFrame:
    """Two classes, three groups, every class in every split."""
    rows = []
    for index, label in enumerate(["jump", "run"]):
        for group, split in (("a", "train"), ("b", "val"), ("c", "test")):
            name = f"{label}/{group}.mp4"
            digest = f"{index}{group}" * 32
            said = (name, name, label, index, group, split, "ok", "")
            rows.append((*said, "decord", 0, 30, 25.0, 64, 48, 1.2, 999, digest))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def moving_square(num_frames: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 frames [T, H, W, 3]: a bright square that moves right over a dark ground."""
    frames = np.full((num_frames, size, size, 3), 20 + seed, dtype=np.uint8)
    for number in range(num_frames):
        left = number * (size - 8) // max(1, num_frames - 1)
        frames[number, 8:16, left : left + 8] = (250, 200 - seed, 40)
    return frames


def pptsm(*arguments: object, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, without the seconds of its imports where the environment lets it."""
    words = ["pptsm", *map(str, arguments)]
    env = {**os.environ, **environment}
    if can_run(environment):
        done = fork_server("pptsm").run(words, cwd, env)
    else:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=env, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def as_anyone(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as someone whom permissions stop: they do not stop root, as whom tests may run."""
    words = list(map(str, command))
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *words]
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, or another user than root")
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _memory_as_before() -> Iterator[None]:
    """A command that runs in the process of the tests limits its memory, which later tests need."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    if resource.getrlimit(resource.RLIMIT_DATA) != before:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture
def shared() -> Path:
    """The folder of real videos and reference figures; tests that need it skip where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED.name}/ beside the project")
    return SHARED


def copy_project(target: Path) -> Path:
    """A copy of the project's tracked and new files, as a git repository with one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "copy"],
    ):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target


def run(*command: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a project copy, its own source first on the path."""
    words, environment = list(map(str, command)), {**os.environ, "PYTHONPATH": str(cwd / "src")}
    if words[0] == "dvc":  # which itself imports nothing of that source
        done = fork_server("dvc").run(words, cwd, environment)
    else:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project (in a folder with a space) in which `dvc repro` has run on a tiny dataset.

    It is made once, by the test process that needs it first; each process works in its own copy.
    """
    base = tmp_path_factory.getbasetemp()
    common = base.parent if ONE_OF_SEVERAL else base
    original = common / "tiny project"
    with FileLock(common / "tiny project.lock"):
        if not original.exists():
            project = copy_project(tmp_path_factory.mktemp("in the making") / "clone")
            write_params(project / "params.yaml", TINY)
            done = run("dvc", "repro", cwd=project)
            (project / TINY_SCREEN).write_text(done.stderr + done.stdout, encoding="utf-8")
            project.rename(original)
    return copy_tree(original, tmp_path_factory.mktemp("a project") / "clone")


def copy_tree(project: Path, target: Path) -> Path:
    """A copy of a project with all that was made in it: one that a test may change."""
    subprocess.run(["cp", "-a", project, target], check=True)
    return target


def commit(project: Path) -> None:
    """Commit everything that git sees in a project."""
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    run("git", "add", "-A", cwd=project)
    run("git", *name, "commit", "--allow-empty", "-qm", "run", cwd=project)


# Files whose tests share something that takes long to make: all of such a file run in one process, which makes it once.
TOGETHER = ["operations", "package", "corpus", "forms", "parallel", "report", "inputs", "reads", "exported", "deploy"]


def together(nodeid: str) -> int | None:
    """The place in TOGETHER of the file of a test; None for the tests that run singly."""
    name = Path(nodeid.split("::", maxsplit=1)[0]).stem.removeprefix("test_")
    return TOGETHER.index(name) if name in TOGETHER else None


class Shares(LoadScopeScheduling):
    """How xdist assigns tests to processes: those of a file in TOGETHER as one, the others singly, in their order.

    (`xdist_group` marks would say the same, but have no effect with pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if together(nodeid) is None else nodeid.split("::", maxsplit=1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # the order is that of pytest_collection_modifyitems
    return Shares(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes what takes long comes first: one that begins late would leave the others idle.

    One process begins with the operations, for which it makes the tiny project; the other has the files of TOGETHER to
    do meanwhile.
    """

    def rank(item: pytest.Item) -> tuple[int, bool]:
        place = together(item.nodeid)
        return len(TOGETHER) if place is None else place, item.get_closest_marker("slow") is None

    if ONE_OF_SEVERAL:
        items.sort(key=rank)

"""What the documents tell a person to type can be typed; and the command answers without loading much."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer._click.exceptions import MissingParameter

import pptsm
from conftest import ROOT, TINY, commit, copy_project, copy_tree, moving_square, run, write_params
from pptsm.cli import app
from pptsm.presets.compose import PRESETS
from pptsm.video.encode import write_video

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))
DIARY = sorted((ROOT / "docs/log").glob("*.md"))  # what was typed at its time
PACKAGE = Path(str(pptsm.__file__)).parent
COMMAND: Any = typer.main.get_command(app)
HEAVY = ("numpy", "pandas", "paddle", "onnxruntime", "great_expectations", "decord", "av", "scipy", "prefect", "dvc")


def typed() -> Iterator[Any]:
    """Every command line that a document or a preset shows, as words, with the place where it stands."""
    for document in [*DOCUMENTS, *sorted(PRESETS.glob("*.yaml"))]:
        if document in DIARY:
            continue
        text = document.read_text(encoding="utf-8")
        shown = re.findall(r"`((?:pptsm|make|python|dvc) [^`\n]+)`", text)
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
            shown += [part.strip() for line in block.splitlines() for part in re.sub(r"\s#.*", "", line).split(";")]
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.S):  # what a screen showed, with its commands
            shown += re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), flags=re.M)
        for line in shown:
            program = line.split(" ", 1)[0]
            if program in ("pptsm", "make", "python", "dvc", "prefect") or program.startswith("benchmarks/"):
                yield pytest.param(line, id=f"{document.name}: {line}")


@pytest.mark.parametrize("line", sorted(typed(), key=lambda param: str(param.id)))
def test_a_command_in_a_document_can_be_typed(line: str) -> None:
    """Commands, options, targets, scripts and parameters of that name exist."""
    program, *words = shlex.split(line)
    if "pptsm)" in words:  # behind a launcher, as $(which pptsm)
        program, words = "pptsm", words[words.index("pptsm)") + 1 :]
    match program:
        case "pptsm":
            # dots and capitals stand for what a person fills in
            words = [word for word in words if word not in ("...", "…")]
            command = COMMAND.commands[words[0]]
            # what is only spoken of need not be complete
            with contextlib.suppress(MissingParameter):
                command.make_context(words[0], words[1:])
        case "make":
            targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
            assert {word for word in words if "=" not in word} <= targets
        case "python":
            for script in [word for word in words if word.endswith(".py")]:
                assert (ROOT / script).is_file()
        case "dvc" | "prefect":
            values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
            for key in re.findall(r"(?:-S |[\"\[])([a-z]+(?:\.[a-z_]+)?)=", line):
                section, _, name = key.partition(".")
                assert section in values, key
                assert not name or name in values[section], key
        case script:
            assert os.access(ROOT / script, os.X_OK)


def test_help_loads_nothing_heavy() -> None:
    """So that it answers at once, whatever is installed beside."""
    code = (
        "import sys\nsys.argv = ['pptsm', '--help']\nfrom pptsm.cli import main\n"
        f"try:\n    main()\nexcept SystemExit:\n    print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_documents_link_to_what_is_there() -> None:
    """Files named in links exist, and so do the headings behind #, as GitHub names them."""
    for document in DOCUMENTS:
        for file, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8")):
            target = document.parent / file if file else document
            assert target.exists(), f"{document.name} links to {file}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.M)
                anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
                assert heading in anchors, f"{document.name} links to {file}#{heading}"


def test_the_drawn_graph_is_that_of_dvc(tmp_path: Path) -> None:
    """In docs/tour.md and docs/how_it_works.md; with another graph the check fails, and drawing mends it."""
    project = copy_project(tmp_path / "clone")
    draw = [sys.executable, "docs/draw_graph.py"]
    run(*draw, "--check", cwd=project)
    graph = (project / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(graph.replace("  baseline:\n", "  alone:\n"), encoding="utf-8")
    done = run(*draw, "--check", cwd=project, check=False)
    assert done.returncode == 1
    assert "docs/tour.md shows another graph than dvc.yaml" in done.stderr
    run(*draw, cwd=project)
    assert "alone --> export" in (project / "docs/how_it_works.md").read_text(encoding="utf-8")
    run(*draw, "--check", cwd=project)


def test_the_page_on_gpus_names_every_place_where_one_is_used() -> None:
    """Each row's file has the names beside it; and each file that speaks of CUDA has a row."""
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z_/]+\.py) ?(.*?) \|", page, flags=re.M)
    assert rows
    for path, names in rows:
        code = (PACKAGE / path).read_text(encoding="utf-8")
        for name in re.findall(r"`([\w.]+)`", names):
            assert re.search(rf"(def |class |^){name.split('.')[-1]}\b", code, flags=re.M), f"{path}: {name}"
    speaks = re.compile(r"cuda|FLAGS_|SyncBatchNorm|auto_cast|GradScaler|synchronize\(", flags=re.I)
    places = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if speaks.search(path.read_text())}
    assert places - {path for path, _ in rows} == set()


def test_the_public_names_are_there_and_cost_nothing_until_they_are_used() -> None:
    """Importing the package loads no Paddle; each name of `__all__` is what its docstring says."""
    code = (
        "import sys, pptsm\nassert not {'paddle', 'numpy'} & set(sys.modules)\n"
        "print([getattr(pptsm, name).__name__ for name in pptsm.__all__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == str(pptsm.__all__)
    assert all(f"`{name}`" in str(pptsm.__doc__) for name in pptsm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pptsm.nothing


# Commands that no test of this file runs, and why. Each stands in a document as it stands here.
BY_WHEEL = "tests/test_package.py builds the wheel and installs it"
NOT_RUN = {
    "make repro": "an hour; the pipeline is run by tests/test_pipeline.py",
    "make test": "it would run this",
    "make setup": "the package index; tests/test_setup.py has its rules",
    "make docs": "tests/test_guide.py builds it by the same command",
    "pptsm crossval --folds 5 --seeds 3": "15 trainings; tests/test_crossval.py has a few",
    "make flow": "tests/test_operations.py runs pptsm.orchestration.server, which is all it does",
    "make serve": "tests/test_operations.py runs pptsm.orchestration.server --stay, which is all it does",
    "pptsm serve": "it stays; tests/test_service.py starts it",
    "prefect server start": "it stays; tests/test_operations.py types it, and what comes after it in operations.md",
    ".venv/bin/python -m pip wheel --no-deps --wheel-dir dist .": BY_WHEEL,
    "python3.12 -m venv serve": BY_WHEEL,
    "serve/bin/pip install dist/pptsm-0.1.0-py3-none-any.whl": BY_WHEEL,
    "prefect deploy --all": "tests/test_operations.py types it to a fresh server",
    "prefect worker start --pool pptsm": "it stays; tests/test_operations.py types it",
    "prefect deployment run train-pptsm --watch": "tests/test_operations.py types it",
    "prefect deployment run train-pptsm -p overrides='[\"sampling=dense\"]' --watch": "tests/test_operations.py",
    'prefect deployment run train-pptsm -p stages=\'{"from": "evaluate"}\' --watch': "tests/test_operations.py",
    'prefect deployment run sweep -p runs=\'[["sampling=dense"], ["student.network.shift=false"]]\' --watch': (
        "two trainings; tests/test_operations.py sweeps over the report"
    ),
    "prefect deployment run predict-folder -p folder=/videos/arriving --watch": "tests/test_operations.py",
    "prefect deployment schedule ls predict-folder/predict-folder": "Prefect's own",
    "prefect deployment schedule resume predict-folder/predict-folder ID": "Prefect's own; ID is the reader's",
    "python flows/train_pptsm.py": "tests/test_flows.py runs it",
    "pptsm convert pptsm-r50-k400-dense --out model.onnx": "a download; tests/test_deploy.py converts files",
    "pptsm fetch pptsm-r50-k400-uniform-distilled": "a download; tests/test_download.py has a server of its own",
    "pip install paddlepaddle-gpu==3.2.2 --index-url https://www.paddlepaddle.org.cn/packages/stable/cu126/": (
        "a download, and another environment"
    ),
    "dvc remote modify --local storage profile research": "a bucket",
    "aria2c --input-file=parts.txt --dir=/data/k400 --continue=true --max-concurrent-downloads=4": "another program",
    "benchmarks/gpu_first_run.sh": "ten minutes",
    "benchmarks/gpu_first_run.sh /path/to/videos": "ten minutes",
    "dask scheduler --host 10.0.0.1 --no-dashboard": "it stays; tests/test_cluster.py starts one",
    "dask worker tcp://10.0.0.1:8786 --nthreads 16": "it stays; tests/test_cluster.py starts some",
}
STAYS_SEC = 600
LAUNCHES = "python -m paddle.distributed.launch"  # several nodes, and GPUs
DOCUMENTED = [
    document for document in DOCUMENTS if "```sh" in document.read_text(encoding="utf-8") and document not in DIARY
]


def block_lines(document: Path) -> list[str]:
    """The commands of a document's blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.S)
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_what_is_not_run_stands_in_a_document() -> None:
    """The list of exceptions holds nothing else."""
    assert set(NOT_RUN) <= {line for document in DOCUMENTED for line in block_lines(document)}


def test_what_is_not_run_here_is_run_by_another_test_or_counted() -> None:
    """A reason names the file of tests that has it, or is one of a few; who adds to these changes a number here."""
    reasons = Counter(re.split("[;,]", reason)[0] for reason in NOT_RUN.values() if "tests/" not in reason)
    for file in re.findall(r"tests/\w+\.py", " ".join(NOT_RUN.values())):
        assert (ROOT / file).is_file(), file
    reasons["several GPUs"] = sum(line.startswith(LAUNCHES) for page in DOCUMENTED for line in block_lines(page))
    assert reasons == {
        "it would run this": 1,
        "Prefect's own": 2,
        "a download": 1,
        "a bucket": 1,
        "another program": 1,
        "ten minutes": 2,
        "several GPUs": 2,
    }


@pytest.fixture
def places(tmp_path: Path, tiny_project: Path) -> dict[str, Path]:
    """A fresh clone with videos of one's own, and one in which the pipeline has run; a HOME and remotes beside them."""
    clone, done = copy_project(tmp_path / "clone"), copy_tree(tiny_project, tmp_path / "done")
    commit(done)
    videos = sorted((done / "data/raw/motion").rglob("*.mp4"))
    for place in (clone, done):
        (place / ".venv").symlink_to(sys.prefix)
        (place / "folder").mkdir()
        for number, video in enumerate(videos[:2]):
            shutil.copy(video, place / "folder" / f"{number}.mp4")
        write_video(place / "video.mp4", moving_square(250), 10, "mpeg4")  # 25 seconds: parts of it are asked for
        shutil.copytree(place / "folder", place / "data/raw/mine/up")
        with (place / ".git/info/exclude").open("a") as excluded:
            excluded.write(".venv\nfolder\nvideo.mp4\nlists\nsheet.png\nseen.csv\ndataset\n")
        bare = tmp_path / f"{place.name}.git"
        run("git", "init", "-q", "--bare", bare, cwd=place)
        run("git", "remote", "add", "origin", bare, cwd=place)
        run("git", "config", "push.autoSetupRemote", "true", cwd=place)
    with (done / "params.yaml").open("a") as edited:  # a comment reruns nothing; there is something to commit
        edited.write("# of my videos\n")
    (tmp_path / "home").mkdir()
    shutil.copy(videos[0], tmp_path / "UCF101.zip")
    return {"clone": clone, "done": done, "beside": tmp_path}


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTED, ids=lambda document: document.name)
def test_the_commands_of_a_document_work(document: Path, places: dict[str, Path]) -> None:
    """Typed in its order: presets, and what DVC keeps, in a fresh clone; the rest where the pipeline has run.

    What is fetched from far away lies beside the clone; what is not run, and why, is in NOT_RUN.
    """
    beside = places["beside"]
    near = {
        "https://example.org/UCF101.zip": str(beside / "UCF101.zip"),
        "s3://bucket/pptsm": str(beside / "storage"),
        "make ": "make -o .venv/ready ",  # the environment is there
        "index.root=data/raw/mine": "index.root=data/raw/mine --force",  # of the other presets typed before
    }
    environment = {
        **os.environ,
        "HOME": str(beside / "home"),
        "COLUMNS": "120",
        **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    for line in block_lines(document):
        if line in NOT_RUN or line.startswith(LAUNCHES):
            continue
        of_a_clone = re.match(r"pptsm preset|dvc (add|import-url)|git add data/raw", line)
        place = places["clone" if of_a_clone else "done"]
        typed_here = line
        for far, here in near.items():
            typed_here = typed_here.replace(far, here)
        if line.startswith("pptsm preset") and "--force" not in typed_here:
            run("git", "checkout", "-q", "params.yaml", cwd=place)
        done = subprocess.run(
            ["bash", "-c", typed_here],
            cwd=place,
            env=environment | {"PYTHONPATH": str(place / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=STAYS_SEC,  # what stays belongs into NOT_RUN
        )
        said = f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert done.returncode == 0 or line == "pptsm doctor", said  # which may find this machine too small
        assert "Traceback" not in done.stdout + done.stderr, said
        if line == "make experiments":
            assert max(map(len, done.stdout.splitlines())) <= 120, said
        if line.startswith("git restore"):
            assert "up to date" in run("dvc", "status", cwd=place).stdout


@pytest.mark.slow
def test_videos_that_dvc_keeps_are_there_in_a_queued_experiment(places: dict[str, Path]) -> None:
    """As docs/data.md has them added: the copy in which the experiment runs has them, and git what names them."""
    clone = places["clone"]
    shutil.rmtree(clone / "data/raw/mine")
    shutil.copytree(places["done"] / "data/raw/motion", clone / "data/raw/mine")
    run("dvc", "add", "-q", "data/raw/mine", cwd=clone)
    run("git", "add", "data/raw/mine.dvc", "data/raw/.gitignore", cwd=clone)
    assert run("git", "status", "--porcelain", "data", cwd=clone).stdout.split() == [
        *("A", "data/raw/.gitignore"),
        *("A", "data/raw/mine.dvc"),
    ]
    write_params(clone / "params.yaml", TINY, {"index": {"root": "data/raw/mine"}})
    commit(clone)
    run("dvc", "exp", "run", "--queue", "-n", "own", "-S", "index.split_seed=7", "index", cwd=clone)
    run("dvc", "exp", "run", "--run-all", cwd=clone)
    index = run("dvc", "get", ".", "data/index.csv", "--rev", "own", "--out", "got.csv", cwd=clone)
    assert index.returncode == 0
    assert "anticlockwise" in (clone / "got.csv").read_text()

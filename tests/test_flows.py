"""The orchestrated entrance: commands under control, the graph told once, the same files."""

import ast
import contextlib
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from flows.artifacts import STAGE
from flows.graph import Stages, graph
from flows.predict_folder import newest_rows
from flows.sweep import chosen_seeds, experiment_names, rows_over_seeds, with_seeds

from conftest import ROOT, TINY, commit, copy_project, copy_tree, run, write_params
from helpers.imports import imported_modules
from pptsm.data.table import write_csv
from pptsm.experiments import revisions
from pptsm.experiments.graph import outputs_of
from pptsm.experiments.overrides import check_name, check_overrides, environment_of_copy, values_with
from pptsm.orchestration import waiting
from pptsm.orchestration.access import (
    ADDRESS,
    NO_TRACKING,
    PASSWORD,
    SERVERS_PASSWORD,
    access_file,
    grant_access,
    keep_private,
    known_access,
)
from pptsm.orchestration.prefect_plugin import with_flow_name
from pptsm.orchestration.running import CommandError, run_streaming
from pptsm.runtime.console import note_epoch, read_epoch
from pptsm.runtime.errors import ParamsError, UserError

FLOWS = sorted((ROOT / "flows").glob("*.py"))
WITH_FLOWS = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
AS_A_SCRIPT = "from pptsm.orchestration import script; script.prepare('fetch_weights.py')"
FLOWS_MAY_USE = {
    "params.reading",
    "runtime.errors",
    "runtime.console",
    "runtime.files",
    "orchestration.access",
    "evaluation.over_seeds",
    "experiments.graph",
    "experiments.overrides",
    "experiments.revisions",
    "orchestration.command",
    "orchestration.running",
    "orchestration.script",
    "orchestration.waiting",
    "data.table",
}


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    """Both streams, in order, while the command still runs."""
    seen: list[tuple[float, str]] = []
    script = "import sys, time; print('one', flush=True); time.sleep(1); print('two', file=sys.stderr)"
    run_streaming(
        [sys.executable, "-c", script], lambda line: seen.append((time.monotonic(), line)), cwd=tmp_path, timeout_sec=60
    )
    assert [line for _, line in seen] == ["one", "two"]
    assert seen[1][0] - seen[0][0] > 0.5


def test_a_failure_carries_exit_code_and_last_lines(tmp_path: Path) -> None:
    """What an operator needs to see."""
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run_streaming(["sh", "-c", "echo before; exit 3"], lambda _: None, cwd=tmp_path, timeout_sec=60)
    assert caught.value.last_lines == ["before"]


def test_a_command_out_of_time_leaves_no_process(tmp_path: Path) -> None:
    """Its children are stopped with it."""
    script = (
        "import subprocess; from pathlib import Path; child = subprocess.Popen(['sleep', '300']);"
        "Path('child').write_text(str(child.pid)); child.wait()"
    )
    with pytest.raises(CommandError, match="took longer than 5 s"):
        run_streaming([sys.executable, "-c", script], lambda _: None, cwd=tmp_path, timeout_sec=5)
    wait_for_end(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize(("deaf_to", "ended_by"), [("", "INT"), ("INT", "TERM"), ("INT TERM", "KILL")])
@pytest.mark.parametrize("session", [False, True], ids=["itself", "in a session of its own"])
def test_what_a_command_started_is_asked_then_told_then_killed(
    tmp_path: Path, deaf_to: str, ended_by: str, session: bool
) -> None:
    """Each next signal only where the one before did not end it; what has a session of its own is no exception."""
    (tmp_path / "deaf.sh").write_text(f"trap '' {deaf_to or 'USR1'}; echo $$ > process; exec sleep 300")
    (tmp_path / "guarded.py").write_text(
        "import sys; from pptsm.orchestration import guard\n"
        "guard.STEPS = tuple((sent, 1.0) for sent, _ in guard.STEPS)\n"
        f"sys.argv = {['guard', 'sh', *(['-c', 'setsid sh deaf.sh; true'] if session else ['deaf.sh'])]}\n"
        "sys.exit(guard.main())"
    )
    guarded = subprocess.Popen([sys.executable, "guarded.py"], cwd=tmp_path, stdin=subprocess.PIPE, env=WITH_FLOWS)
    process = psutil.Process(int(content_of(tmp_path / "process")))
    guarded.send_signal(signal.SIGINT)  # is not what it waits for
    time.sleep(0.5)
    assert process.is_running()
    started = time.monotonic()
    assert guarded.stdin is not None
    guarded.stdin.close()
    code = guarded.wait(60)
    wait_for_end(process.pid, 1)
    if session:
        earlier = {"INT": 0, "TERM": 1, "KILL": 2}[ended_by]
        assert earlier <= time.monotonic() - started < earlier + 10
    else:
        assert code == 128 + getattr(signal, f"SIG{ended_by}")


@pytest.mark.parametrize(
    "how", ["setsid sh -c 'echo $$ > child; sleep 60'", "(setsid sh -c 'echo $$ > child; sleep 60' &)"]
)
def test_a_time_limit_holds_for_what_has_a_session_of_its_own(tmp_path: Path, how: str) -> None:
    """Though it holds the output open: it is ended, and not waited for."""
    started = time.monotonic()
    with pytest.raises(CommandError, match="took longer than 3 s"):
        run_streaming(["sh", "-c", f"{how}; sleep 60"], lambda _: None, cwd=tmp_path, timeout_sec=3)
    assert time.monotonic() - started < 20
    wait_for_end(int((tmp_path / "child").read_text()), 1)


def test_a_command_that_ends_leaves_nothing_in_the_background(tmp_path: Path) -> None:
    """Not in a session of its own either; its lines and its exit code are those of the command."""
    script = "setsid sh -c 'echo $$ > child; sleep 60' & while ! [ -s child ]; do sleep 0.1; done; echo last; exit 3"
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run_streaming(["sh", "-c", script], lambda _: None, cwd=tmp_path, timeout_sec=50)
    assert caught.value.last_lines == ["last"]
    wait_for_end(int((tmp_path / "child").read_text()), 1)


def test_the_output_of_a_killed_guard_is_not_waited_for(tmp_path: Path) -> None:
    """What was written is read, then the failure is told, though the orphan still holds the pipe."""
    script = "echo $PPID > guard; echo $$ > child; echo written; exec sleep 60"
    kill = threading.Thread(
        target=lambda: os.kill(int(content_of(tmp_path / "child") and content_of(tmp_path / "guard")), 9)
    )
    kill.start()
    try:
        with pytest.raises(CommandError, match="exit code -9") as caught:
            run_streaming(["sh", "-c", script], lambda _: None, cwd=tmp_path, timeout_sec=50)
        assert caught.value.last_lines == ["written"]
    finally:
        kill.join()
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def content_of(file: Path) -> str:
    """What is in a file, as soon as there is anything."""
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"nothing in {file.name}"
        time.sleep(0.05)
    return file.read_text()


def wait_for_end(process: int, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {process} is still there"
            time.sleep(0.1)


def test_a_command_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    """Even kill -9 of the flow's process ends the stage under it."""
    script = (
        "from pathlib import Path; from pptsm.orchestration.running import run_streaming;"
        "run_streaming(['sh', '-c', 'echo $$ > child; exec sleep 300'], print, cwd=Path('.'), timeout_sec=300)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    child = tmp_path / "child"
    while not child.exists() or not child.read_text():
        assert starter.poll() is None
        time.sleep(0.1)
    starter.kill()
    starter.wait()
    wait_for_end(int(child.read_text()))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["train-pptsm"], ["train-pptsm/train-pptsm"]),
        (["sweep/other", "--watch"], ["sweep/other", "--watch"]),
        (["--watch", "sweep"], ["--watch", "sweep/sweep"]),
        (["-p", "overrides=[]", "sweep", "--watch"], ["-p", "overrides=[]", "sweep/sweep", "--watch"]),
        (["--id", "0f3a", "--watch"], ["--id", "0f3a", "--watch"]),
        (["--flow-run-name", "sweep", "train-pptsm"], ["--flow-run-name", "sweep", "train-pptsm/train-pptsm"]),
        (["--params={}", "sweep"], ["--params={}", "sweep/sweep"]),
        ([], []),
    ],
)
def test_a_bare_name_means_flow_and_deployment(typed: list[str], meant: list[str]) -> None:
    """And nothing else on the command line is touched."""
    assert with_flow_name(typed) == meant


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("index.val_groups=[a,b]", "index", "val_groups", ["a", "b"]),
        ("report.title='a, b=c'", "report", "title", "a, b=c"),
        ("student.network.shift=false", "student.network", "shift", False),
        ("student.start.weights=null", "student.start", "weights", None),
        ("params.yaml:student.epochs=7", "student", "epochs", 7),
    ],
)
def test_overrides_mean_what_dvc_makes_of_them(override: str, section: str, key: str, value: object) -> None:
    """A sweep compares the values of an experiment that was done with those that it would have now."""
    values = values_with(ROOT, [override])
    for part in section.split("."):
        values = values[part]
    assert values[key] == value


@pytest.mark.parametrize("override", ["seed", "no.such=1", "seed=[1", "--help"])
def test_a_sweep_refuses_what_dvc_takes_for_no_override(override: str) -> None:
    """In a sentence, if an experiment of that name is to be compared; otherwise DVC says so in its run."""
    with pytest.raises(UserError, match="overrides: "):
        values_with(ROOT, [override])


@pytest.mark.parametrize("override", ["/elsewhere/x.yaml:a=5", "dvc.yaml:a=5", "~/x.yaml:a=1", "x.yaml:+a='b: c'"])
def test_an_override_of_another_file_is_refused(override: str) -> None:
    """DVC would write into it, wherever it lies. A value may have a colon."""
    with pytest.raises(UserError, match=r"is named as the file to change, and only params\.yaml may be"):
        check_overrides(["sampling=dense", override])
    with pytest.raises(UserError, match=r"only params\.yaml may be"):
        experiment_names("sweep", [["seed=1"], [override]], {})
    check_overrides(["report.title='a: b'", "params.yaml:seed=5", "+index.exclude=[a:b]"])


def test_a_sweep_repeats_each_set_over_seeds() -> None:
    """So many from the seed of params.yaml on, or those that are named; the mean has an interval from two seeds on."""
    assert chosen_seeds(3) == [2026, 2027, 2028]
    assert chosen_seeds([7]) == [7]
    assert with_seeds([[], ["a=1"]], [7, 8]) == [["seed=7"], ["a=1", "seed=7"], ["seed=8"], ["a=1", "seed=8"]]
    assert with_seeds([["seed=3"]], chosen_seeds(None)) == [["seed=3"]]
    for wrong in ([], [7, 7], [-1]):
        with pytest.raises(UserError, match="seeds: expected numbers"):
            chosen_seeds(wrong)
    with pytest.raises(UserError, match="sets the seed, and so does"):
        with_seeds([["params.yaml:seed=3"]], [7])
    long = [["report.title=" + "long" * 100, f"seed={seed}"] for seed in (1, 2)]
    assert len(experiment_names("sweep", long, {})) == 2  # names that are cut stay different
    seen = [{"student": {"uniform": {"top1": top1}}} for top1 in (0.5, 0.75)]
    one, two = rows_over_seeds({"one": seen[:1], "two": seen})
    assert (one["mean top-1"], one["95 % interval over seeds"]) == ("50.00%", "one seed: none")
    assert (two["mean top-1"], two["95 % interval over seeds"]) == ("62.50%", "0.0% to 100.0%")


def test_dvc_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where git's index is damaged, and it never answers: it is ended, and the run with a sentence."""
    monkeypatch.setattr(revisions, "ASK_TIMEOUT_SEC", 0.2)
    for ask in (lambda: revisions.experiments(ROOT), lambda: revisions.text_of(ROOT, "params.yaml", "HEAD")):
        with pytest.raises(CommandError, match=r"`dvc .*` took longer than 0\.2 s and was stopped"):
            ask()


GRAPH_OF_TWO = {
    "one": {"cmd": "make one", "params": ["a.b"], "outs": ["1"]},
    "two": {"cmd": "make two", "deps": ["1", "src"], "metrics": [{"2": {"cache": False}}]},
    "three": {"cmd": "make three", "deps": ["2"], "outs": ["3"]},
    "four": {"foreach": ["a", "b"], "do": {"cmd": "make ${item}", "deps": ["3"], "outs": ["4${item}"]}},
}
DONE = {
    "one": {"cmd": "make one", "params": {"params.yaml": {"a.b": 1}}, "outs": [{"path": "1", "md5": "x"}]},
    "two": {"cmd": "make two", "deps": [{"path": "1", "md5": "x"}], "outs": [{"path": "2", "md5": "y"}]},
    "three": {"cmd": "make three", "deps": [{"path": "2", "md5": "y"}], "outs": [{"path": "3", "md5": "z"}]},
} | {
    f"four@{item}": {
        "cmd": f"make {item}",
        "deps": [{"path": "3", "md5": "z"}],
        "outs": [{"path": f"4{item}", "md5": "u"}],
    }
    for item in "ab"
}
FOUR = ["four@a", "four@b"]


@pytest.mark.parametrize(
    ("changed", "values", "left"),
    [
        ({}, {"a": {"b": 1}}, []),
        ({}, {"a": {"b": 2}}, ["one", "two", "three", *FOUR]),  # its parameter, and what builds on it
        ({}, {"a": 1}, ["one", "two", "three", *FOUR]),
        ({"two": {**DONE["two"], "deps": [{"path": "1", "md5": "older"}]}}, {"a": {"b": 1}}, ["two", "three", *FOUR]),
        ({"two": {}}, {"a": {"b": 1}}, ["two", "three", *FOUR]),
        ({"four@b": {}}, {"a": {"b": 1}}, ["four@b"]),
        ({"three": {**DONE["three"], "cmd": "make 3"}}, {"a": {"b": 1}}, ["three", *FOUR]),
    ],
)
def test_an_experiment_that_was_left_early_is_known(
    changed: dict[str, Any], values: dict[str, Any], left: list[str]
) -> None:
    """By the parameters and files that dvc.lock has for each stage: figures of a later one are another commit's."""
    assert revisions.unfinished(GRAPH_OF_TWO, DONE | changed, values) == left
    assert outputs_of(GRAPH_OF_TWO["two"]) == ["2"]


def test_the_lines_by_which_dvc_begins_a_stage_are_known() -> None:
    """Whether it runs it, skips it or takes it from its cache; a stage's own lines are not."""
    for line in (
        "Running stage 'index':",
        "Stage 'index' didn't change, skipping",
        "Stage 'index' is cached - skipping run, checking out outputs",
    ):
        found = STAGE.match(line)
        assert found is not None
        assert found["name"] == "index"
    for line in ("index: looking for videos", "> pptsm index", "ERROR: failed to reproduce 'index'"):
        assert STAGE.match(line) is None


def test_what_prefect_keeps_is_its_owners_alone(tmp_path: Path) -> None:
    """Also in a folder that was made before with another mode."""
    (tmp_path / ".prefect").mkdir(mode=0o755)
    for home in (tmp_path / ".prefect", tmp_path / "new" / ".prefect"):
        assert stat.S_IMODE(keep_private(home).stat().st_mode) == 0o700


@pytest.mark.parametrize("tracked", [None, "0"])
def test_nothing_is_told_about_runs_unless_the_user_wants_it(tmp_path: Path, tracked: str | None) -> None:
    """Whatever is typed in the folder, towards whatever server; scripts of flows too."""
    environment = {name: value for name, value in os.environ.items() if name != NO_TRACKING}
    environment |= {NO_TRACKING: tracked} if tracked else {}
    environment |= {"PREFECT_HOME": str(tmp_path)}
    show = f"import os; print(os.environ['{NO_TRACKING}'])"
    for script, folder in (
        (f"import prefect; {show}", ROOT),
        (f"{AS_A_SCRIPT}; {show}", ROOT / "flows"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [tracked or "1"]


@pytest.mark.parametrize("file", FLOWS, ids=lambda file: file.name)
def test_flows_name_no_stage_and_no_path_between_stages(file: Path) -> None:
    """Those stand in dvc.yaml alone: a stage that is split or renamed there needs no edit here."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    paths = [
        next(iter(out)) if isinstance(out, dict) else out
        for stage in graph().values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            assert node.value not in graph(), f"line {node.lineno} names a stage"
            assert not [path for path in paths if path in node.value], f"line {node.lineno} names a path"


@pytest.mark.parametrize("file", FLOWS, ids=lambda file: file.name)
def test_flows_use_little_of_the_package(file: Path) -> None:
    """What they run, they run as commands."""
    assert {module.removeprefix("pptsm.") for module in imported_modules(file)} <= FLOWS_MAY_USE


def test_the_table_of_new_predictions_has_names_as_they_are(tmp_path: Path) -> None:
    """Without the apostrophe that keeps a cell of the file from being a formula; words and numbers stay text."""
    names = ["=walk", "-1", "'quoted", "nan", "001"]
    write_csv(pd.DataFrame({"file": names, "size_bytes": range(5)}), tmp_path / "a.csv")
    assert "'=walk" in (tmp_path / "a.csv").read_text()
    assert newest_rows(tmp_path / "a.csv") == {"file": names, "size_bytes": list("01234")}


def test_the_line_of_an_epoch_is_read_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    """The bars in Prefect live on it."""
    note_epoch("student", 3, 8, {"loss": 1.25, "val top-1": 0.5})
    epoch = read_epoch(capsys.readouterr().err)
    assert epoch is not None
    assert (epoch.network, epoch.done, epoch.epochs) == ("student", 3, 8)
    assert epoch.figures == {"loss": "1.25", "val top-1": "0.5"}
    assert read_epoch("student: going on after epoch 3 of 8") is None


def test_a_range_of_stages_ends_after_it_begins() -> None:
    """Both ends are in it, after what always comes first; the wrong way round it is refused."""
    expected = ["code", "check", "student", "baseline", "export", "evaluate"]
    assert Stages(first="student", last="evaluate").names() == expected
    assert Stages().names() == list(graph())
    with pytest.raises(ParamsError, match="'report' comes after 'index'"):
        Stages(first="report", last="index").names()


def test_the_graph_names_stages_in_the_order_in_which_they_need_each_other() -> None:
    """A flow runs them one by one: none may need what a later one makes."""
    stages = graph()
    made = {
        next(iter(out)) if isinstance(out, dict) else out: number
        for number, stage in enumerate(stages.values())
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    }
    for number, (name, stage) in enumerate(stages.items()):
        for dep in stage["deps"]:
            assert made.get(dep, -1) < number, f"{name} needs {dep}, which a later stage makes"


def test_names_of_experiments_are_names_of_references_and_folders() -> None:
    """Whatever the overrides are."""
    runs = [["index.root=../x y"], ["report.title=x.lock"], ["report.title=" + "long" * 100]]
    names = experiment_names("sweep", runs, {})
    assert list(names)[:2] == ["sweep-index_root_x_y", "sweep-report_title_x_lock"]
    for name in names:
        check_name(name)
    for name in ("-x", "a/b", "a b", "x" * 101, ""):
        with pytest.raises(UserError, match="cannot name an experiment"):
            check_name(name)


@pytest.mark.parametrize(
    ("told", "used"), [(None, ROOT / ".pptsm"), ("kept", ROOT / "kept"), ("/volume/s", "/volume/s")]
)
def test_an_experiment_keeps_its_work_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, told: str | None, used: Path | str
) -> None:
    """PPTSM_STATE as it is for the checkout, whole: the copy is another folder."""
    monkeypatch.delenv("PPTSM_STATE", raising=False)
    if told is not None:
        monkeypatch.setenv("PPTSM_STATE", told)
    assert environment_of_copy(ROOT)["PPTSM_STATE"] == str(used)


def test_without_a_server_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    """A sentence and an exit code above 0."""
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    command = ["prefect", "deployment", "run", "train-pptsm"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Prefect server answers at http://127.0.0.1:9/api. `make serve`")


def test_a_second_server_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Two on one database would not see each other's runs. A sentence, and the first one's password stays."""
    project = copy_project(tmp_path / "clone")
    (project / ".prefect").mkdir()
    first = grant_access(project / ".prefect", "http://127.0.0.1:4200/api")
    with (project / ".prefect/server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(sys.executable, "-m", "pptsm.orchestration.server", cwd=project, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a server runs in this folder already")
    assert known_access(project / ".prefect")[PASSWORD] == first[PASSWORD]


def test_a_server_that_ends_while_it_starts_is_told_in_a_sentence(tmp_path: Path) -> None:
    """At once, with the place of its log; the password of a server that is no more goes with it."""
    project = copy_project(tmp_path / "clone")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/prefect.db"}
    command = [sys.executable, "-m", "pptsm.orchestration.server"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the Prefect server has ended while it started. Its log says why: ")
    assert "unable to open database file" in Path(done.stderr.split()[-1]).read_text()
    assert "starting `prefect server start`" in done.stdout
    assert not access_file(project / ".prefect").exists()


def test_a_password_is_new_each_time_and_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a file with another mode was there before."""
    monkeypatch.delenv(ADDRESS, raising=False)
    access_file(tmp_path).touch(mode=0o666)
    first, second = (grant_access(tmp_path, "http://127.0.0.1:4200/api") for _ in range(2))
    assert first[PASSWORD] != second[PASSWORD]
    assert len(second[PASSWORD]) > 40
    assert second[SERVERS_PASSWORD] == second[PASSWORD]
    assert stat.S_IMODE(access_file(tmp_path).stat().st_mode) == 0o600
    assert known_access(tmp_path) == {ADDRESS: second[ADDRESS], PASSWORD: second[PASSWORD]}


def test_the_password_is_told_to_no_other_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it take the place of the user's own; a damaged file is none."""
    ours = grant_access(tmp_path, "http://127.0.0.1:4200/api")
    monkeypatch.setenv(ADDRESS, "https://prefect.example.org/api")
    assert known_access(tmp_path) == {}
    monkeypatch.setenv(ADDRESS, ours[ADDRESS])
    assert known_access(tmp_path) == {PASSWORD: ours[PASSWORD]}
    monkeypatch.setenv(PASSWORD, "the user's own")
    assert known_access(tmp_path) == {}
    for damage in ("{", "[]", "{}"):
        access_file(tmp_path).write_text(damage)
        assert known_access(tmp_path) == {}


def test_what_takes_long_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seconds so far; what is done at once says nothing, and nothing is said afterwards."""
    monkeypatch.setattr(waiting, "SILENCE_SEC", 0.5)
    said: list[str] = []
    with waiting.waiting_for("nothing", said.append):
        pass
    assert said == []
    with waiting.waiting_for("the device", said.append):
        time.sleep(1.3)
    assert [line[:22] for line in said] == ["waiting for the device"] * 2
    assert said[1].endswith("(1 s)")
    time.sleep(0.7)
    assert len(said) == 2


def test_a_script_whose_server_does_not_start_in_time_ends_with_a_sentence(tmp_path: Path) -> None:
    """What was tried, for how long, and what to do; no trace."""
    project = copy_project(tmp_path / "clone")
    (project / ".prefect").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": str(project / "src"), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1"}
    command = [sys.executable, "flows/fetch_weights.py", "-p", 'names=["x"]']
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: a temporary Prefect server was started for this run, and did not answer within 1 s." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_server_of_a_script_may_take_its_time() -> None:
    """Minutes, on a busy machine; Prefect's own 20 seconds are too few there."""
    script = f"{AS_A_SCRIPT}; from prefect.settings import get_current_settings as s; print(s().server.ephemeral)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "flows", env=environment, capture_output=True, text=True, check=True
    )
    assert "startup_timeout_seconds=300" in done.stdout


@pytest.mark.slow
def test_a_script_needs_no_server(tmp_path: Path, tiny_project: Path) -> None:
    """It starts one for the run; the stage that has work to do is done, and DVC finds everything up to date."""
    project = copy_tree(tiny_project, tmp_path / "a clone")
    write_params(project / "params.yaml", TINY, {"report": {"title": "By a script"}})
    done = run(sys.executable, "flows/train_pptsm.py", "-p", 'stages={"from": "export"}', cwd=project)
    assert "3 of 10 stages had work to do: check, report, package" in done.stdout + done.stderr
    assert "By a script" in (project / "reports/index.html").read_text(encoding="utf-8")
    assert "Data and pipelines are up to date" in run("dvc", "repro", cwd=project).stdout


@pytest.mark.slow
def test_an_ablation_says_which_variant_failed(tmp_path: Path, tiny_project: Path) -> None:
    """Its row has no figures, neither its own nor those of the run before; the exit code is 1."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    commit(project)
    no_epochs = "0"  # is refused
    done = run("bash", "benchmarks/ablation.sh", no_epochs, "base", "relu", cwd=project, check=False)
    assert done.stdout.splitlines() == ["| base | failed | failed |", "| relu | failed | failed |"]
    assert done.returncode == 1

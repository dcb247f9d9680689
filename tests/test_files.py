"""Outputs are whole or absent, whoever else writes beside them; and nothing of the user's is replaced."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from conftest import ROOT, pptsm, write_params
from pptsm.cli import app
from pptsm.runtime import files
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import MARKER, atomic_file, atomic_folder

WRITER = """
import sys, time
from pathlib import Path
from pptsm.runtime.files import atomic_file, atomic_folder
make, go_on = sys.argv[1], Path("go on")
with {"atomic_file": atomic_file, "atomic_folder": atomic_folder}[make](Path("out")) as partial:
    (partial / "part" if make == "atomic_folder" else partial).write_text("slow")
    Path("begun").touch()
    while not go_on.exists():
        time.sleep(0.01)
"""


def apart() -> list[str]:
    """Before a command: numbers of processes of its own, as in a container, where that is allowed."""
    command = ["unshare", "--pid", "--fork", "--kill-child"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return command if allowed else []


@pytest.fixture(params=["atomic_file", "atomic_folder"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of writing `out`; it goes on when there is a file `go on`."""
    command = [*apart(), sys.executable, "-c", WRITER, request.param]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        process.make = request.param  # type: ignore[attr-defined]
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield process
        process.kill()


def write(writer: subprocess.Popen[bytes], out: Path) -> None:
    """Write `out` as the other process does, at once."""
    make = getattr(files, writer.make)  # type: ignore[attr-defined]
    with make(out) as partial:
        (partial / "part" if make is atomic_folder else partial).write_text("quick")


def content(out: Path) -> str:
    return (out / "part" if out.is_dir() else out).read_text()


def partials(folder: Path) -> list[Path]:
    return list(folder.glob(".out.*"))


def test_what_another_writes_is_left_alone(writer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Both end well, and each leaves a whole output."""
    write(writer, tmp_path / "out")
    assert content(tmp_path / "out") == "quick"
    assert len(partials(tmp_path)) == 1
    (tmp_path / "go on").touch()
    assert writer.wait(60) == 0
    assert content(tmp_path / "out") == "slow"
    assert partials(tmp_path) == []


def test_what_a_killed_process_left_is_removed(writer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """kill -9 in the middle: the output is not there, and the next writer cleans up."""
    writer.kill()
    writer.wait(60)
    assert not (tmp_path / "out").exists()
    deadline = time.monotonic() + 60
    while partials(tmp_path):  # its kernel takes the lock back in a moment
        write(writer, tmp_path / "out")
        assert time.monotonic() < deadline
    assert content(tmp_path / "out") == "quick"


def test_a_partial_without_locks_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """Such as a file of an earlier version: nobody can lock that."""
    young, old = tmp_path / ".out.1.partial", tmp_path / ".out.2.partial"
    for left in (young, old):
        left.touch()
    os.utime(old, (0, 0))
    with atomic_file(tmp_path / "out") as partial:
        partial.touch()
    assert partials(tmp_path) == [young]


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
def test_a_failure_leaves_what_was_there(tmp_path: Path, make: Any) -> None:
    """File and folder are as before, and nothing lies beside them."""

    def write_or_fail(text: str) -> None:
        with make(tmp_path / "out") as partial:
            (partial / "part" if make is atomic_folder else partial).write_text(text)
            if text == "after":
                raise ZeroDivisionError

    write_or_fail("before")
    with pytest.raises(ZeroDivisionError):
        write_or_fail("after")
    assert content(tmp_path / "out") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_outputs_are_on_the_disk_before_they_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and folder is flushed while it is still a partial, and then the folder that names it."""
    flushed = []
    fsync = os.fsync

    def see(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", see)
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "in").mkdir()
        (partial / "in" / "file").write_text("x")
    with atomic_file(tmp_path / "file") as partial_file:
        partial_file.write_text("x")
    below = str(partial)
    assert {f"{below}/in", f"{below}/in/file"} <= set(flushed)
    assert flushed[-4:] == [below, str(tmp_path), str(partial_file), str(tmp_path)]


def test_a_folder_of_the_user_is_refused_before_any_work(tmp_path: Path) -> None:
    """What is in it, and what to do; nothing of it is gone."""
    write_params(tmp_path / "params.yaml")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years")
    done = pptsm("motion", "--out", "precious", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "precious would be replaced with all that is in it (thesis.tex)" in done.stderr
    assert "Name another folder, or empty this one" in done.stderr
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["thesis.tex"]


def test_a_folder_is_replaced_if_it_is_empty_or_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command by hand twice, without any dvc.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    for text in ("one", "two"):
        with atomic_folder(Path("out")) as partial:
            (partial / text).touch()
        assert sorted(path.name for path in Path("out").iterdir()) == [MARKER, text]


@pytest.mark.parametrize(
    ("out", "refused"),
    [
        ("data/frames", False),
        ("data/frames/part", False),
        ("reports/evaluation", False),
        ("models/start/teacher", False),
        ("models/start/other", True),
        ("data", True),
        ("reports", True),
        ("elsewhere", True),
    ],
)
def test_outputs_of_the_graph_are_replaced_and_carry_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, refused: bool
) -> None:
    """A folder that is one, lies in one, or holds such files alone; but none that holds several stages' folders."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(
        "stages:\n"
        "  frames: {cmd: x, outs: [data/frames, reports/export.json]}\n"
        "  start: {foreach: [teacher, student], do: {cmd: x, outs: ['models/start/${item}']}}\n"
        "  evaluate: {cmd: x, outs: [reports/evaluation/a.csv], metrics: [reports/evaluation/m.json: {cache: false}]}\n"
    )
    Path(out).mkdir(parents=True)
    inside = {"reports/evaluation": "m.json", "reports": "evaluation", "data": "frames"}.get(out, "any")
    (Path(out) / inside).mkdir() if out in ("reports", "data") else (Path(out) / inside).touch()
    if refused:
        with pytest.raises(UserError, match=rf"{out} would be replaced .*\({inside}\)"), atomic_folder(Path(out)):
            pass
        assert (Path(out) / inside).exists()
        return
    with atomic_folder(tmp_path / out) as partial:
        (partial / "new").touch()
    assert [path.name for path in Path(out).iterdir()] == ["new"]


def test_a_file_and_a_folder_do_not_take_each_others_place(tmp_path: Path) -> None:
    """Nor is a file taken for the folder that an output is to be in; each with a sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="to be a folder, but a file is there"), atomic_folder(tmp_path / "file"):
        pass
    with pytest.raises(UserError, match="to be a file, but a folder is there"), atomic_file(tmp_path):
        pass
    with pytest.raises(UserError, match="file is no folder"), atomic_file(tmp_path / "file" / "out"):
        pass


def test_a_folder_of_few_files_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of a training that has taken all memory: none can be started, and its weights are kept."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "weights").write_text("w", encoding="utf-8")
    assert (tmp_path / "out" / "weights").read_text(encoding="utf-8") == "w"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
    except PermissionError:
        pytest.skip("needs the right to make a device")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # absolute ones may be too long


SPECIAL = [make_pipe, make_device, make_socket]


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "behind a link"])
@pytest.mark.parametrize("make", SPECIAL)
def test_a_device_a_pipe_or_a_socket_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], linked: bool
) -> None:
    """By a file or a folder: whoever uses it would have it no more."""
    monkeypatch.chdir(tmp_path)
    special, out = tmp_path / "special", tmp_path / "out"
    make(special)
    before = special.lstat()
    out.symlink_to(special) if linked else special.rename(out)
    kind = make.__name__.removeprefix("make_")
    with pytest.raises(UserError, match=rf"out is to be a file, but a {kind} is there"), atomic_file(out):
        pass
    with pytest.raises(UserError, match="out is to be a folder"), atomic_folder(out):
        pass
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert out.is_symlink() == linked


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_stays_one_and_leads_to_what_was_written(tmp_path: Path, there: bool) -> None:
    """Also over several links, and out of a folder that cannot be written to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    target, out = tmp_path / "elsewhere/file", tmp_path / "here/out"
    if there:
        target.write_text("before")
    (tmp_path / "here/between").symlink_to("../elsewhere/file")
    out.symlink_to("between")
    with atomic_file(out) as partial:
        assert partial.parent.parent == target.parent
        partial.write_text("after")
    assert out.is_symlink()
    assert target.read_text() == "after"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_link_to_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    """What it leads to is said; it stays, and no folder is made."""
    (tmp_path / "out").symlink_to("gone/file")
    with pytest.raises(UserError, match=r"out is a link to .*gone/file, and there is no folder .*gone"):
        files.require_writable(tmp_path / "out")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links"), atomic_file(tmp_path / "round"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "round"]


@pytest.mark.parametrize("there", [True, False], ids=["a folder", "nothing"])
def test_a_folder_that_is_a_link_is_refused(tmp_path: Path, there: bool) -> None:
    """The link, and the user's files behind it, stay."""
    if there:
        (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    with pytest.raises(UserError, match=r"out is to be a folder, but is a link to .*elsewhere"):
        files.require_replaceable(tmp_path / "out")
    with pytest.raises(UserError, match="is a link"), atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_symlink()


def test_a_link_into_the_cache_of_dvc_is_replaced(tmp_path: Path) -> None:
    """As of an output that was checked out with cache.type symlink: the cache's copy is another output's too."""
    cached = tmp_path / ".dvc/cache/files/md5/01/23456789abcdef0123456789abcdef"
    cached.parent.mkdir(parents=True)
    cached.write_text("kept")
    (tmp_path / "out").symlink_to(cached)
    with atomic_file(tmp_path / "out") as partial:
        partial.write_text("new")
    assert not (tmp_path / "out").is_symlink()
    assert cached.read_text() == "kept"


def options_that_write() -> list[Any]:
    """Every option of a command that names a file to write, with that command's others filled in."""
    commands: Any = typer.main.get_command(app)
    found = []
    for name, command in commands.commands.items():
        for option in command.params:
            said = (getattr(option, "help", None) or "").lower()
            if option.param_type_name == "option" and re.match(
                r"(file|folder|csv|json|page|markdown|onnx|the file)\b.*( write| gets|\.npy)", said
            ):
                found.append(pytest.param(name, option.opts[0], said[:6] == "folder", id=f"{name} {option.opts[0]}"))
    return found


@pytest.mark.parametrize(("command", "option", "is_folder"), options_that_write())
def test_each_option_that_names_an_output_is_checked_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, is_folder: bool
) -> None:
    """In its callback, so that nobody waits for hours or for a pipe; `pptsm preset --params` asks itself."""
    monkeypatch.chdir(tmp_path)
    make_pipe(Path("out"))
    found = next(one for one in typer.main.get_command(app).commands[command].params if option in one.opts)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=rf"out is to be a {'folder' if is_folder else 'file'}, but"):
        found.callback(None, found, Path("out")) if command != "preset" else files.require_writable(Path("out"))
    assert len(options_that_write()) > 20


@pytest.mark.parametrize("name", ["/dev/null", "pipe", "sheet.png"])
def test_commands_leave_devices_and_pipes_alone(tmp_path: Path, name: str) -> None:
    """A sentence and exit code 1 at once; also where the suffix is right, and where a reader would wait for ever."""
    write_params(tmp_path / "params.yaml")
    if name != "/dev/null":
        make_pipe(tmp_path / name)
    before = (tmp_path / name).stat()
    for words in (
        ("views", "no.mp4", "--out", name),
        ("predict", ".", "--results", name),
        ("preset", "small", "--params", name, "--force"),
        ("motion", "--out", name),
    ):
        if words[0] == "preset":
            (tmp_path / "presets").symlink_to(ROOT / "presets")
        done = pptsm(*words, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert f"{name} is to be a " in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / name).stat().st_ino == before.st_ino

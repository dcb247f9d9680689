"""The `pptsm` command: the stages of dvc.yaml, and what a person types beside them.

Nothing heavy is imported here or at the top of a stage's file, so `--help` and a wrong parameter answer
at once.
"""

import errno
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from pptsm.commands import (
    benchmark,
    compare,
    convert,
    crossval,
    doctor,
    explain,
    lists,
    predict,
    preset,
    promote,
    publish,
    serve,
    timeline,
    tune,
    unpack,
    views,
    weights,
)
from pptsm.runtime import extras
from pptsm.runtime.errors import TEMPORARY, TRY_AGAIN, Stopped, UserError
from pptsm.stages import (
    also,
    baseline,
    check,
    code,
    evaluate,
    evaluate_also,
    explanations,
    export,
    frames,
    index,
    motion,
    package,
    quantize,
    report,
    start,
    student,
    teacher,
    validate,
    validate_frames,
)

STAGES = {
    "code": code,
    "check": check,
    "motion": motion,
    "index": index,
    "validate": validate,
    "frames": frames,
    "validate_frames": validate_frames,
    "start": start,
    "teacher": teacher,
    "student": student,
    "baseline": baseline,
    "export": export,
    "evaluate": evaluate,
    "quantize": quantize,
    "also": also,
    "evaluate_also": evaluate_also,
    "explanations": explanations,
    "report": report,
    "package": package,
}

COMMANDS = (
    predict.predict,
    benchmark.benchmark,
    timeline.timeline,
    explain.explain,
    crossval.crossval,
    compare.compare,
    tune.tune,
    views.views,
    unpack.unpack,
    convert.convert,
    preset.preset,
    weights.weights,
    weights.fetch,
    lists.lists,
    doctor.doctor,
    serve.serve,
    promote.promote,
    publish.publish,
)

INTERRUPTED = 128 + signal.SIGINT
ASKING = (signal.SIGTERM, signal.SIGHUP)  # by a process manager, by a terminal that is closed

app = typer.Typer(
    help="PP-TSM video action recognition. `dvc repro` runs all stages; the commands here are its parts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _with_its_code(name: str, run: Callable[..., None]) -> Callable[..., None]:
    """A stage's function with one more option: what its code was when DVC decided that it must run."""

    @wraps(run)
    def run_that_code(*, code: Path | None, **arguments: Any) -> None:
        if code is not None:
            from pptsm.params.reading import read_sections
            from pptsm.runtime.fingerprint import require

            stage = f"{name}@{arguments['role']}" if "role" in arguments else name  # as dvc.yaml says "one of each"
            require(stage, code, read_sections(arguments["params_path"]))
        run(**arguments)

    own = signature(run)
    option = typer.Option("--code", help="Refuse to run if this file, written by stage code, lists other code.")
    added = Parameter("code", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option])
    run_that_code.__signature__ = own.replace(parameters=[*own.parameters.values(), added])  # type: ignore[attr-defined]
    return run_that_code


def _with_its_extras(name: str, run: Callable[..., None]) -> Callable[..., None]:
    """A stage's or a command's function that says before it begins which extras it needs and does not have."""

    @wraps(run)
    def run_with_them(**arguments: Any) -> None:
        extras.require_for(name)
        run(**arguments)

    return run_with_them


for _name, _stage in STAGES.items():
    _run = _stage.run if _stage is code else _with_its_code(_name, _stage.run)
    app.command(_name, rich_help_panel="Stages (run by dvc repro)")(_with_its_extras(_name, _run))
for _command in COMMANDS:
    app.command(_command.__name__)(_with_its_extras(_command.__name__, _command))


def main() -> None:
    """Run the command; a user's mistake ends in one sentence on stderr and an exit code above 0."""
    # Paddle speaks of its build at import and of internals while exporting; nothing a user can act on
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", category=UserWarning, module="paddle")
    _speak_utf8()
    for asked in ASKING:
        if signal.getsignal(asked) == signal.SIG_DFL:  # or `nohup` has it ignored
            signal.signal(asked, _leave)
    try:
        app()
    except Stopped as stopped:
        _complain(str(stopped))
        sys.exit(stopped.exit_code)
    except UserError as error:
        _fail(f"{error} {TRY_AGAIN}" if error.exit_code == TEMPORARY else str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (sentence := extras.explained(error)) is None:
            raise
        _fail(sentence, 1)
    except SystemExit as end:
        ending = {INTERRUPTED: "interrupted"} | {128 + asked: f"stopped by {asked.name}" for asked in ASKING}
        if isinstance(end.code, int) and end.code in ending:  # Typer has turned Ctrl-C into this
            print(f"{ending[end.code]}; finished work is kept, the same command goes on from there.", file=sys.stderr)
        raise
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # how Path.resolve() of Python 3.11 says ELOOP
            raise
        _fail(f"{error}: links that lead to themselves. Name the folder or the file that is meant.", 1)
    except OSError as error:
        from pptsm.runtime.files import FULL

        name = error.filename2 or error.filename  # of a copy the second is written
        if error.errno in FULL:
            place = Path(name).absolute() if name else _fullest()
            free = shutil.disk_usage(_existing(place)).free / 1e6
            _fail(
                f"the disk filled up while writing {place}. Nothing half-written is in place ({free:.1f} MB free now); "
                "make room and run the same command again.",
                1,
            )
        if error.filename is None:  # not about a file that somebody named
            raise
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _fail(
                f"cannot write or read {error.filename}: {error.strerror}. Check its owner and mode, and its folder's.",
                1,
            )
        _fail(f"{error.filename}: {error.strerror}. Give the path of what is there, and of the right kind.", 1)


def _speak_utf8() -> None:
    """File names and files are UTF-8 whatever the locale says; what a terminal cannot show is shown escaped."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # decided when an interpreter starts: this one anew, and those it will start
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(number: int, _: FrameType | None) -> None:
    """End as by Ctrl-C: processes and semaphores are given back, where a death by the signal would leave them."""
    sys.exit(128 + number)


def _fail(message: str, code: int) -> None:
    _complain(f"error: {message}")
    sys.exit(code)


def _complain(sentence: str) -> None:
    from pptsm.runtime.console import printable  # what it imports is not needed for --help

    print(printable(sentence), file=sys.stderr)


def _fullest() -> Path:
    """Where a write failed that named no file: of the places that a command writes to, that with the least room."""
    from pptsm.runtime.files import state_home

    places = [place.absolute() for place in (Path(), state_home(), Path(tempfile.gettempdir()))]
    return min(places, key=lambda place: shutil.disk_usage(_existing(place)).free)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())

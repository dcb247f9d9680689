"""A process that has imported what commands import, and forks for each: a command without the seconds of its imports.

The child has its own folder, environment, output and exit code, as if it had been started anew. What an interpreter
reads when it starts (`PYTHONUTF8`, a locale) cannot be changed in it: see `can_run`.
"""

import ast
import atexit
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

AT_START = ("PYTHON", "LC_", "LANG", "LD_", "PPTSM_THREADS")  # of the environment, read at a start or an import
DVC = ["dvc.cli.parser", "dvc.cachemgr", "dvc.data_cloud", "dvc.dependency", "dvc.lock", "dvc.output", "dvc.rwlock"]
DVC += [f"dvc.repo.{name}" for name in ("artifacts", "datasets", "index", "metrics", "open_repo", "params", "plots")]
DVC += ["dvc.scm", "dvc.stage.cache", "dvc.utils.strictyaml", "dvc_data.hashfile.db.local", "dvc_data.index"]


def can_run(environment: dict[str, str]) -> bool:
    """Whether a command with these additions to the environment is the same in a fork."""
    return not any(name.startswith(AT_START) for name in environment)


class ForkServer:
    """The process, from the side of the tests."""

    def __init__(self) -> None:
        start = [sys.executable, "-c", "from helpers.fork_server import serve; serve()"]
        paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "GLOG_minloglevel": "2"}
        self._process = subprocess.Popen(
            start, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self._end)

    def run(self, words: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `pptsm` or `dvc` with its words, as `subprocess.run` does."""
        with tempfile.TemporaryDirectory() as folder, self._one_at_a_time:
            outputs = [Path(folder) / "stdout", Path(folder) / "stderr"]
            request = {
                "words": words,
                "cwd": str(cwd),
                "environment": environment,
                "outputs": list(map(str, outputs)),
            }
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
            assert answer, "the process that forks for commands has ended"
            stdout, stderr = (output.read_text(encoding="utf-8") for output in outputs)
        return subprocess.CompletedProcess(words, int(answer), stdout, stderr)

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def fork_server(program: str) -> ForkServer:
    """The one of this test process for `pptsm` or for `dvc`: what one imports changes how the other logs."""
    assert program in {"pptsm", "dvc"}
    return ForkServer()


def serve() -> None:
    """Answer requests, one per line, until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        words = request["words"]
        prepare(words)
        child = os.fork()
        if child == 0:
            _become(request["cwd"], request["environment"], request["outputs"])
            os._exit(_exit_code_of(words))  # without C's exit handlers: onnxruntime's wait for a thread of the parent
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def prepare(words: list[str]) -> None:
    """Import what the command's function will import: the first of its kind takes long, the others find it."""
    if words[0] == "dvc":
        for module in DVC:
            importlib.import_module(module)
        return
    from pptsm.cli import app

    for command in app.registered_commands:
        function = command.callback
        if function and words[1:2] == [command.name or function.__name__]:
            for node in ast.walk(ast.parse(inspect.getsource(inspect.unwrap(function)))):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    exec(ast.unparse(node), {})


def _become(cwd: str, environment: dict[str, str], outputs: list[str]) -> None:
    for number, name in enumerate([os.devnull, *outputs]):
        file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)


def _exit_code_of(words: list[str]) -> int:
    """Run the command and all that Python does at an end."""
    sys.argv = words
    code: object = 0
    try:
        if words[0] == "dvc":
            from dvc.cli import main as dvc

            sys.exit(dvc())
        from pptsm.cli import main

        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)

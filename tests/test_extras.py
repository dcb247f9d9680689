"""Which extras the parts of the package need, and what is said where one is missing.

The rules are tried here with modules that cannot be found; tests/test_package.py has a real environment without them.
"""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from conftest import ROOT
from pptsm.cli import COMMANDS, STAGES
from pptsm.runtime import extras

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# As where no extra is installed: no finder sees their modules. The last finder is the package's own.
HIDE = """
import sys
import importlib.machinery
hidden = set({hidden!r})
class Blind:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
"""


def without(hidden: set[str], program: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program where these modules are not installed."""
    command = [sys.executable, "-c", HIDE.format(hidden=sorted(hidden)) + program, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def modules_of(*names: str) -> set[str]:
    return {module for name in names for module in extras.EXTRAS[name]}


EVERY = modules_of(*extras.EXTRAS)
COMMAND = "from pptsm.cli import main\nmain()"


def name_of(requirement: str) -> str:
    return re.split(r"[<>=~;\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_the_extras_are_those_of_the_project() -> None:
    """Each brings the modules that the rule names, and none that the base brings too."""
    distributions = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    base = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    optional = PROJECT["optional-dependencies"]
    assert set(extras.EXTRAS) == set(optional) - {"gpu", "dev"}
    for extra, modules in extras.EXTRAS.items():
        named = {name_of(requirement) for requirement in optional[extra]}
        assert not named & base
        for module in set(modules) - {"dvc_data", "dvc_objects", "hydra"}:  # DVC brings these
            assert distributions[module] & named, (extra, module)
    assert {name_of(each) for each in optional["gpu"]} == {
        name_of(each).replace("paddlepaddle", "paddlepaddle-gpu") for each in optional["cpu"]
    }


def test_no_import_of_the_package_is_unknown_to_the_rule() -> None:
    """Each library that a file of the package imports is in the standard library, in the base, or in an extra."""
    distributions = packages_distributions()
    base = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    brought = {"pydantic_core", "google", "starlette", "rich"}  # by pydantic, onnx, FastAPI and typer
    known = EVERY | brought | {"decord"} | set(sys.stdlib_module_names) | {"pptsm"}
    for file in (ROOT / "src").rglob("*.py"):
        for module in re.findall(r"(?m)^\s*(?:from|import) ([a-zA-Z_]\w*)", file.read_text(encoding="utf-8")):
            of_base = {name.lower() for name in distributions.get(module, [])} & base
            if module in distributions:
                assert module in known or of_base, (file, module)


IMPORTS_OF_EACH = """
import ast, importlib, inspect, textwrap
from pptsm.cli import COMMANDS, STAGES
from pptsm.runtime.extras import MissingExtra
functions = {name: stage.run for name, stage in STAGES.items()} | {command.__name__: command for command in COMMANDS}
for name, function in functions.items():
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    try:
        for module in modules:
            importlib.import_module(module)
    except MissingExtra:
        print(name)
"""


@pytest.mark.parametrize("extra", ["pipeline", "cpu"])
def test_the_rule_names_just_those_whose_imports_need_an_extra(extra: str) -> None:
    """What each stage and command imports, tried without what this extra alone brings."""
    other = modules_of("pipeline" if extra == "cpu" else "cpu")
    done = without(modules_of(extra) - other, IMPORTS_OF_EACH)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {name for name, needed in extras.NEEDED_BY.items() if extra in needed}


def test_every_name_in_the_rule_is_a_stage_or_a_command() -> None:
    assert set(extras.NEEDED_BY) <= set(STAGES) | {command.__name__ for command in COMMANDS}


@pytest.mark.parametrize("name", extras.NEEDED_BY)
def test_a_command_says_which_extra_it_needs(name: str, tmp_path: Path) -> None:
    """Before it does anything, without a trace, and with the command that installs it."""
    missing = {module for extra in extras.NEEDED_BY[name] for module in extras.EXTRAS[extra]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extras, "find_spec", lambda module: None if module in missing else True)
        for module in missing:
            patch.delitem(sys.modules, module, raising=False)
        with pytest.raises(extras.MissingExtra) as caught:
            extras.require_for(name)
    sentence = str(caught.value)
    assert sentence.startswith(f"`pptsm {name}` needs the extra")
    for extra in extras.NEEDED_BY[name]:
        assert f"`{extra}`" in sentence
    wanted = ",".join(extras.NEEDED_BY[name])
    assert f"python -m pip install 'pptsm[{wanted}]==0.1.0', or in a clone `make setup`." in sentence


def test_the_base_imports_nothing_of_an_extra(tmp_path: Path) -> None:
    """Each module of the package either imports without the extras, or ends in the sentence."""
    program = f"""
import importlib, pathlib
from pptsm.runtime.extras import MissingExtra
source = pathlib.Path({str(ROOT / "src")!r})
for file in sorted(source.rglob("*.py")):
    name = ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
    try:
        importlib.import_module(name)
        print("imported", name)
    except MissingExtra as error:
        assert "needs the extra" in str(error) and "pip install" in str(error), error
        print("refused", name)
"""
    done = without(EVERY, program)
    assert done.returncode == 0, done.stderr
    imported = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("imported")}
    assert {"pptsm.cli", "pptsm.presets.compose", "pptsm.serving.predictor", "pptsm.serving.inbox"} <= imported
    assert {"pptsm.data.clips", "pptsm.ingest.index", "pptsm.frames.extract", "pptsm.weights.registry"} <= imported
    refused = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("refused")}
    assert {"pptsm.model.network", "pptsm.training.loop", "pptsm.deploy.convert"} <= refused


def test_a_public_function_without_its_extra_says_so() -> None:
    """From Python too: a UserError, which is a ModuleNotFoundError for who looks for that."""
    for statement in (
        "from pptsm import build_model",
        "from pptsm import load_network",
        "from pptsm.model.network import build_model",
        "from pptsm.training import optimizer, losses",
        "from pptsm.runtime.errors import UserError\nfrom pptsm.evaluation import statistics",
    ):
        done = without(EVERY, statement)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert re.match(r"pptsm\.runtime\.extras\.MissingExtra: pptsm\.\S+ needs the extra `(cpu|pipeline)`", last), (
            last
        )
    caught = "try:\n    import pptsm.model.network\nexcept {}:\n    print('caught')"
    for error in ("ModuleNotFoundError", "__import__('pptsm.runtime.errors').runtime.errors.UserError"):
        assert without(EVERY, caught.format(error)).stdout == "caught\n"


def test_others_look_for_modules_as_if_this_package_were_not_there() -> None:
    """An import of a program or of another library fails as it always does."""
    program = "import pptsm, importlib.util\nprint(importlib.util.find_spec('dvc'))\nimport scipy"
    done = without(EVERY, program)
    assert done.stdout == "None\n"
    assert done.stderr.strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'scipy'"


def test_where_dvc_runs_a_stage_dvc_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that need no extra by themselves share files with DVC's cache when it starts them."""
    extras.require_for("frames")
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for module in modules_of("pipeline"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    extras.require_for("frames")
    monkeypatch.setenv("DVC_ROOT", str(ROOT))
    with pytest.raises(
        extras.MissingExtra, match=r"^`pptsm frames`, which DVC has started, needs the extra `pipeline`"
    ):
        extras.require_for("frames")


@pytest.mark.parametrize(("system", "machine", "possible"), [
    ("Linux", "aarch64", False), ("Linux", "x86_64", True), ("Darwin", "arm64", True), ("Darwin", "x86_64", True),
])  # fmt: skip
def test_where_there_is_no_paddle_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, possible: bool
) -> None:
    """On Linux on arm64 nothing can be installed that trains; what was trained elsewhere answers there."""
    monkeypatch.setattr(extras.platform, "system", lambda: system)
    monkeypatch.setattr(extras.platform, "machine", lambda: machine)
    assert bool(extras.no_paddle()) != possible
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module.startswith("paddle") else True)
    for module in ("paddle", "paddle2onnx"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(extras.MissingExtra) as caught:
        extras.require_for("student")
    if possible:
        assert "python -m pip install 'pptsm[cpu]==" in str(caught.value)
    else:
        assert str(caught.value).startswith(
            "`pptsm student` needs Paddle, and there is no Paddle 3.2.2 for Linux on aarch64"
        )
        assert "pip install" not in str(caught.value)


def test_a_flow_says_which_extra_it_needs() -> None:
    """As a script: a sentence and exit code 1."""
    program = "import runpy\nrunpy.run_path('flows/train_pptsm.py', run_name='__main__')"
    done = without(modules_of("flows"), program)
    assert done.returncode == 1
    assert done.stderr.startswith("error: flows/train_pptsm.py needs the extra `flows`: prefect is not installed here.")
    program = "import runpy\nrunpy.run_module('pptsm.orchestration.server', run_name='__main__')"
    done = without(EVERY, program)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the server of the flows needs the extras `flows` and `pipeline`")


LIGHT = {"typer", "rich", "attr", "click", "shellingham", "annotated_doc", "markdown_it", "mdurl", "pygments"}


def test_help_imports_the_command_line_and_nothing_else() -> None:
    """So it answers at once, however large the libraries of the stages are."""
    program = """
import sys, contextlib, io
before = {name.split(".")[0] for name in sys.modules}
from pptsm.cli import app
with contextlib.redirect_stdout(io.StringIO()) as shown:
    app(["--help"], standalone_mode=False)
assert "validate_frames" in shown.getvalue() and "doctor" in shown.getvalue()
print(*sorted({name.split(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - LIGHT == {"pptsm"}


def test_every_file_beside_the_code_is_installed() -> None:
    """Style sheets, templates, presets: a wheel takes only what pyproject names; a checkout would not miss it."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {
        file
        for package, patterns in named.items()
        for pattern in patterns
        for file in (ROOT / "src" / package.replace(".", "/")).glob(pattern)
    }
    beside = {file for file in (ROOT / "src/pptsm").rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert beside <= installed

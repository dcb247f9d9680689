"""What an install may leave out: the extras of pyproject.toml, who needs which, and the sentence where one is missing.

The base install serves: `pptsm predict`, `views`, `preset`, and `Predictor`. All that is said about the rest stands
here: a command looks into `NEEDED_BY` before it begins, and an import of this package that fails for want of an extra
ends in the same sentence (`MissingExtra`), wherever it stands and from whichever entrance it was reached.
"""

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from types import FrameType, ModuleType

from pptsm.runtime.errors import UserError

PACKAGE = "pptsm"
SHOWN = 4  # modules that a sentence names

# Extra -> the top modules that it brings and this package imports. `gpu` brings the same as `cpu`.
EXTRAS = {
    "pipeline": (
        "dvc", "dvc_data", "dvc_objects", "great_expectations", "hydra", "imagehash", "jinja2", "matplotlib",
        "requests", "safetensors", "scipy", "urllib3",
    ),
    "cpu": ("paddle", "paddle2onnx", "requests", "safetensors", "urllib3"),
    "flows": ("prefect",),
    "cluster": ("distributed",),
    "openvino": ("openvino",),
    "service": ("fastapi", "prometheus_client", "python_multipart", "uvicorn"),
    "tuning": ("optuna",),
    "mlflow": ("mlflow",),
    "hub": ("huggingface_hub",),
    "docs": ("mkdocs", "material"),
}  # fmt: skip

# Stage or command -> the extras that it needs, whatever its parameters; those that are not here need none. (Stages
# start and also, and `pptsm fetch`, need what two extras bring: their import says it.)
NEEDED_BY: dict[str, tuple[str, ...]] = {
    "validate": ("pipeline",),
    "validate_frames": ("pipeline",),
    "teacher": ("pipeline", "cpu"),
    "student": ("pipeline", "cpu"),
    "baseline": ("pipeline", "cpu"),
    "export": ("cpu",),
    "evaluate": ("pipeline", "cpu"),
    "explanations": ("pipeline",),
    "quantize": ("pipeline",),
    "evaluate_also": ("pipeline", "cpu"),
    "report": ("pipeline",),
    "benchmark": ("pipeline",),
    "crossval": ("pipeline", "cpu"),
    "compare": ("pipeline",),
    "tune": ("pipeline", "tuning"),
    "publish": ("pipeline",),  # and `mlflow` or `hub`, as it is asked
    "package": ("pipeline",),
    "promote": ("pipeline",),
    "convert": ("cpu",),
    "serve": ("service",),
}


class MissingExtra(UserError, ModuleNotFoundError):  # noqa: N818 (a UserError; and who may do without still finds it)
    """Something needs an extra that is not installed here."""


def require(what: str, extras: Iterable[str]) -> None:
    """Check that extras are installed.

    Args:
        what: what needs them, as it begins the sentence.
        extras: their names, of `EXTRAS`.

    Raises:
        MissingExtra: one of them is missing, or a part of it.
    """
    missing = {extra: absent for extra in extras if (absent := _absent(EXTRAS[extra]))}
    if missing:
        modules = sorted({module for absent in missing.values() for module in absent})
        raise MissingExtra(_sentence(what, modules, list(missing)))


def require_for(command: str) -> None:
    """Check that the extras of a stage or a command are installed; as `require`."""
    require(f"`pptsm {command}`", NEEDED_BY.get(command, ()))
    if "DVC_ROOT" in os.environ:  # set by DVC for the commands of its stages
        require(f"`pptsm {command}`, which DVC has started,", ["pipeline"])


def require_or_exit(what: str, extras: Iterable[str]) -> None:
    """As `require`, for a script: the sentence goes to stderr, and the exit code is 1."""
    try:
        require(what, extras)
    except MissingExtra as error:
        sys.exit(f"error: {error}")


def _absent(modules: Sequence[str]) -> list[str]:
    return [module for module in modules if sys.modules.get(module) is None and find_spec(module) is None]


def _sentence(what: str, modules: Sequence[str], extras: Sequence[str]) -> str:
    shown = ", ".join(modules[:SHOWN]) + (f" and {more} more" if (more := len(modules) - SHOWN) > 0 else "")
    absent = f"{shown} {'is' if len(modules) == 1 else 'are'} not installed here"
    if "cpu" in extras and (reason := no_paddle()):
        return f"{what} needs Paddle, and {reason}"
    named = " and ".join(f"`{extra}` (or `gpu`)" if extra == "cpu" else f"`{extra}`" for extra in extras)
    return f"{what} needs the extra{'s' if len(extras) > 1 else ''} {named}: {absent}. Install: {install(extras)}"


def install(extras: Sequence[str]) -> str:
    """The command that installs extras, to where this package is."""
    return f"python -m pip install '{PACKAGE}[{','.join(extras)}]=={_version()}', or in a clone `make setup`."


def no_paddle(system: str = "", machine: str = "") -> str:
    """Why Paddle cannot be installed on a platform (this one, unless it is named); empty where it can."""
    system, machine = system or platform.system(), machine or platform.machine()
    if system == "Linux" and machine in ("aarch64", "arm64"):
        return (
            f"there is no Paddle 3.2.2 for Linux on {machine}. Training, export and `pptsm convert` run on Linux on "
            "x86-64 or on macOS; the model file that they write answers here too (`pptsm predict`)."
        )
    return ""


def _version() -> str:
    from importlib.metadata import version

    return version(PACKAGE)


def explained(error: ModuleNotFoundError) -> str | None:
    """The sentence for a failed import, if an extra would bring the module; None for any other."""
    extras = _extras_with(error.name or "")
    return _sentence("this", [error.name or ""], extras[:1]) if extras else None


def _extras_with(module: str) -> list[str]:
    return [extra for extra, modules in EXTRAS.items() if module in modules]


class _Asked:
    """The last of the finders of modules: asked for what no other has found."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Nothing is found here.

        Raises:
            MissingExtra: this package imports a module of an extra. Other packages try which ones are there.
        """
        del path, target
        if (extras := _extras_with(name)) and (importer := _importer()).split(".", maxsplit=1)[0] == PACKAGE:
            raise MissingExtra(_sentence(importer, [name], extras[:1]), name=name)


def _importer() -> str:
    """The name of the module whose import statement is being run."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib._bootstrap"):
        frame = frame.f_back
    if frame is None:
        return ""
    started = getattr(frame.f_globals.get("__spec__"), "name", None)  # of `python -m`, whose name is __main__
    return str(started or frame.f_globals.get("__name__", ""))


def watch_imports() -> None:
    """Have imports of this package answered with a sentence where an extra is missing."""
    if not any(isinstance(finder, _Asked) for finder in sys.meta_path):
        sys.meta_path.append(_Asked())

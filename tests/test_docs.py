"""What the documents tell a person to type can be typed; and the command answers without loading much."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer._click.exceptions import MissingParameter

import pptsm
from conftest import ROOT
from pptsm.cli import app

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))
DIARY = ROOT / "docs/experiments.md"  # what was typed at its time
PACKAGE = Path(str(pptsm.__file__)).parent
COMMAND: Any = typer.main.get_command(app)
HEAVY = ("numpy", "pandas", "paddle", "onnxruntime", "great_expectations", "decord", "av", "scipy", "prefect", "dvc")


def typed() -> Iterator[Any]:
    """Every command line that a document or a preset shows, as words, with the place where it stands."""
    for document in [*DOCUMENTS, *sorted((ROOT / "presets").glob("*.yaml"))]:
        if document == DIARY:
            continue
        text = document.read_text(encoding="utf-8")
        shown = re.findall(r"`((?:pptsm|make|python|dvc) [^`\n]+)`", text)
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
            shown += [part.strip() for line in block.splitlines() for part in re.sub(r"\s#.*", "", line).split(";")]
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
    """Files named in links exist."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / Path(target)).exists(), f"{document.name} links to {target}"


def test_the_page_on_gpus_names_every_place_where_one_is_used() -> None:
    """Each row's file has the names beside it; and each file that speaks of CUDA has a row."""
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z/]+\.py) ?(.*?) \|", page, flags=re.M)
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

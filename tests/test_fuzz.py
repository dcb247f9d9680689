"""The command line and params.yaml under random input: a sentence and an exit code, never a trace or a half-made file.

About half a minute. Another draw each time: `PPTSM_FUZZ=20 pytest tests/test_fuzz.py` (that many times the examples).
"""

import contextlib
import io
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from conftest import ROOT, default_values
from pptsm.cli import app, main

MANY = int(os.environ.get("PPTSM_FUZZ", "1"))
DEFAULT = (ROOT / "params.yaml").read_text(encoding="utf-8")
NETWORK = {"fetch"}  # a drawn name or URL would be asked for
# What a command may leave: what it was told to write, and its own store.
OUTPUTS = {"out", "out.png", "out.npy", "out.csv", "out.onnx", ".pptsm"}
PLACES = [
    "params.yaml", "folder", "empty", "nowhere", "no/where", "text.txt", "bytes.bin", "video.mp4", "table.csv",
    "dangling", "loop", "-", "", ".", "/dev/null", "/proc/self/mem", b"\xff\xfe.mp4".decode("utf-8", "surrogateescape"),
    "fr\u00fch", "\u202e", "a\nb", "x" * 300, "~", "[x]", "*",
]  # fmt: skip


def fuzzed(examples: int) -> Any:
    """Settings of a fuzz test: the same draw each time, or with PPTSM_FUZZ many others."""
    return settings(
        max_examples=examples * MANY,
        derandomize=MANY == 1,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate],  # what fails is short enough; making it shorter took minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, emptied for every example by `filled`."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PPTSM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):  # nothing leaves this machine
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return folder


def filled(place: Path, parameters: str | bytes) -> set[str]:
    """Make the folder anew with parameters and a file of each kind; the names in it."""
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (place / "params.yaml").write_bytes(parameters if isinstance(parameters, bytes) else parameters.encode("utf-8"))
    (place / "presets").symlink_to(ROOT / "presets")
    (place / "folder" / "a").mkdir(parents=True)
    (place / "folder/a/video.mp4").write_bytes(b"no video")
    (place / "text.txt").write_text("a\nb\n", encoding="utf-8")
    (place / "bytes.bin").write_bytes(bytes(range(256)))
    (place / "video.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (place / "table.csv").write_text("id,label,split,num_frames\na/b.mp4,a,train,8\n", encoding="utf-8")
    (place / "empty").touch()
    (place / "dangling").symlink_to("gone")
    (place / "loop").symlink_to("loop")
    return {path.name for path in place.iterdir()}


class Screen(io.TextIOWrapper):
    """A terminal in memory, UTF-8 as a real one."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode("utf-8")


def answer(*words: str) -> tuple[Any, str]:
    """The exit code of the command, run in this process, and what it said; any other exception gets out."""
    said, errors = Screen(), Screen()
    with (
        mock.patch.object(sys, "argv", ["pptsm", *words]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # as for a user
        try:
            main()
        except SystemExit as end:
            return end.code, errors.text()
        finally:
            said.text()
    return 0, errors.text()


def commands() -> Iterator[tuple[str, list[tuple[str, Any]], list[str]]]:
    """Each command with its options and arguments."""
    import typer

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        options = [(option.opts[0], option) for option in command.params if option.opts[0].startswith("--")]
        arguments = [argument.name for argument in command.params if not argument.opts[0].startswith("--")]
        if name not in NETWORK | {"doctor"}:
            yield name, options, arguments


COMMANDS = list(commands())
WORD = st.one_of(
    st.sampled_from(PLACES),
    st.sampled_from(["0", "-1", "1e400", "nan", "5", "dense", "small", "eval", "motion", "seed=3", "index.root=~/x"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)


# Inputs of the right kind, so that a command comes as far as what is in them.
RIGHT = {
    "--index": ["table.csv", "empty", "bytes.bin"],
    "--labels": ["text.txt", "empty", "bytes.bin"],
    "--frames": ["folder"],
    "--start": ["folder"],
    "--teacher": ["folder"],
    "--student": ["folder"],
    "--baseline": ["folder"],
    "--export": ["folder"],
    "--params": ["params.yaml"],
    "--checked": ["text.txt"],
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, some twice or unknown, with values of the right and of wrong kinds."""
    name, options, arguments = draw(st.sampled_from(COMMANDS))
    words = [name]
    for flag, option in options:
        if flag == "--help" or not draw(st.integers(0, 9)) < (9 if option.required else 3):
            continue
        if option.is_flag:
            words.append(flag)
        elif flag in ("--out", "--docs", "--history", "--card", "--markdown", "--html", "--results") and draw(
            st.booleans()
        ):
            words += [flag, draw(st.sampled_from(["out", "out.png", "out.npy", "out.csv", "out.onnx"]))]
        else:
            words += [flag, draw(st.sampled_from(RIGHT[flag]) if flag in RIGHT and draw(st.booleans()) else WORD)]
    for _ in arguments:
        words += draw(st.lists(WORD, max_size=2))
    return words + draw(st.lists(st.one_of(WORD, st.sampled_from(["--help", "--nonsense", "--out"])), max_size=1))


@fuzzed(60)
@given(words=command_lines())
def test_a_command_line_never_ends_in_a_trace(place: Path, words: list[str]) -> None:
    """Whatever is typed: an exit code that the documents name, and nothing made but what was to be."""
    before = filled(place, DEFAULT)
    code, errors = answer(*words)
    assert code in (0, 1, 2, 75, 130), errors
    assert "Traceback" not in errors
    if code not in (0, None):
        assert errors.strip()
    made = {path.name for path in place.iterdir()} - before
    assert not list(place.rglob("*.partial"))
    assert made <= OUTPUTS | set(words) | {word.split("/")[0] for word in words}


VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(PLACES[:-10]),
    st.sampled_from(["(?P<label>.)(", "(?P<label>.)\\", "~/x", "$HOME", "1_0", "2020-01-01", "presets/none"]),
    st.dates(),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def changed_values(draw: st.DrawFn) -> dict[Any, Any]:
    """params.yaml with some values replaced, taken away, added, or put one level lower."""
    values = default_values()
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from([values, *(value for value in values.values() if isinstance(value, dict))]))
        if not section:
            continue
        key = draw(st.sampled_from(list(section)))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "lower", "swap"])):
            case "replace":
                section[key] = draw(VALUE)
            case "remove":
                del section[key]
            case "add":
                section[draw(st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans()))] = draw(VALUE)
            case "lower":
                section[key] = {key: section[key]}
            case "swap":
                section[key] = section[draw(st.sampled_from(list(section)))]
    return values


SNIPPETS = [
    "&a", "*a", "<<: ", "!!int ", "!!python/name:os.system ", "!!set ", "!!omap ", "!!timestamp ", "!!binary ", "!x ",
    "[", "]", "{", "}", ": ", "- ", "? ", "|", ">", "%YAML 1.1\n---\n", "---\n", "...\n", "\t", "\0", "\ufeff",
    "\u2028", '"', "'", "#", "\\", "`", "@", "~", ".inf", "2026-13-45", "0o9", "1e999", "\r", "\x85", "=", "é",
]  # fmt: skip


@st.composite
def changed_texts(draw: st.DrawFn) -> bytes:
    """The text of params.yaml with pieces put in, cut out or doubled, sometimes in bytes that are no UTF-8."""
    text = DEFAULT
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 200)))
        middle = draw(
            st.sampled_from([*SNIPPETS, "", text[start:end] * 2])
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        )
        text = text[:start] + middle + text[end:]
    content = text.encode("utf-8")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(min_size=1, max_size=3)) + content[at:]
    return content


def as_text(values: Any) -> str:
    """Values as YAML."""
    out = io.StringIO()
    YAML(typ="safe").dump(values, out)
    return out.getvalue()


@fuzzed(100)
@given(content=st.one_of(changed_values().map(as_text), changed_texts()))
def test_a_file_of_parameters_never_ends_in_a_trace(place: Path, content: str | bytes) -> None:
    """Whatever stands in it, `check` says yes, or a sentence with the file's name."""
    before = filled(place, content)
    code, errors = answer("check", "--drawn", "data/raw/motion", "--out", "out")
    assert code in (0, 1, 2), errors
    assert "Traceback" not in errors
    assert {path.name for path in place.iterdir()} - before == ({"out"} if code == 0 else set())
    if code:
        assert errors.startswith("error: ")

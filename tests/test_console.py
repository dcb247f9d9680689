"""What comes from outside is shown, and steers neither a terminal nor a reader of lines."""

import json
import subprocess
import sys

import pytest

from conftest import pptsm
from pptsm.report.page import as_markdown
from pptsm.runtime.console import as_json, note, one_line, printable, say

HOSTILE = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u202a\u202e\u2066\u2069\ud800\udcff"]


@pytest.mark.parametrize("sign", HOSTILE, ids=ascii)
def test_no_control_character_reaches_a_terminal(sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Line feeds and tabs are layout, but not in a name; the rest is shown as its number, in JSON as JSON has it."""
    kept = sign if sign in "\n\t" else ""
    assert [part for part in printable(f"a{sign}b") if part in HOSTILE] == [*kept]
    assert not [part for part in one_line(f"a{sign}b") if part in HOSTILE]
    assert not [part for part in as_json({"file": f"a{sign}b"}) if part in HOSTILE]
    assert json.loads(as_json(f"a{sign}b")) == f"a{sign}b"
    note(f"a{sign}b")
    say(f"a{sign}b")
    written = "".join(capsys.readouterr())
    assert [part for part in written if part in HOSTILE and part != "\n"] == [*(kept * 2).replace("\n", "")]


def test_words_of_all_languages_are_printed_as_they_are() -> None:
    """Only what a terminal obeys is escaped."""
    text = "走る früh e\u0301 עברית \u00a0🎬 \\x1b"
    assert printable(text) == one_line(text) == text


def test_a_sentence_about_a_hostile_name_is_printed_escaped(tmp_path: object) -> None:
    """Of a file that is not there."""
    done = pptsm("predict", "no\x1b[31m\r.mp4", "--model", "no\x1b]0;title\x07.onnx", cwd=tmp_path, check=False)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert "\\x1b" in done.stderr
    assert not set(done.stdout + done.stderr) & set(HOSTILE) - {"\n"}


@pytest.mark.parametrize("text", [
    "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "a | b", "`code`", "# head", "*em* _em_", "~~no~~",
    "line\n\n# other", "ret\rurn", "$x$", "\x1b[31m",
])  # fmt: skip
def test_a_title_is_text_in_markdown(text: str) -> None:
    """No markup, no HTML, one line."""
    shown = as_markdown(text)
    assert "<" not in shown
    assert not set(shown) & set("\n\r\x1b")
    bare = shown.replace("\\\\", "")
    for sign in "`*_[]#|~$":
        assert bare.count(sign) == bare.count(f"\\{sign}")


@pytest.mark.parametrize(("before", "shown"), [
    ("", "a line\n"),
    ("logging.getLogger('pptsm').setLevel(logging.WARNING)", ""),
    ("logging.getLogger('pptsm').disabled = True", ""),
    ("logging.basicConfig(level=logging.INFO)", "a line\n"),  # as Paddle does it: still one line
    ("logging.getLogger('pptsm').addHandler(logging.StreamHandler(sys.stdout))", ""),
    ("import pptsm.runtime.console\nlogging.getLogger('pptsm').handlers.clear()", ""),
])  # fmt: skip
def test_a_program_can_silence_the_notes(before: str, shown: str) -> None:
    """They come by the package's logger, whenever it is set."""
    program = f"import logging, sys\n{before}\nfrom pptsm.runtime.console import note\nnote('a line')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == shown
    assert (done.stdout == "a line\n") == ("stdout" in before)

"""The guide: it builds, needs no network, has all of the code, and shows of a screen what a screen shows."""

import ast
import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import typer
from ruamel.yaml import YAML

from conftest import ROOT, TINY_SCREEN, copy_project, copy_tree, moving_square
from helpers.shown import DOCTESTED, Block, blocks, missing, screen
from pptsm.cli import STAGES, app
from pptsm.ingest.motion import CLASSES
from pptsm.presets.compose import PRESETS
from pptsm.video.encode import write_video

DOCS = ROOT / "docs"
GUIDE = DOCS / "guide"
sys.path.insert(0, str(GUIDE))
import made  # noqa: E402

DIARY = sorted((DOCS / "log").glob("*.md"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if path not in DIARY),
]

# The tutorial's folder of videos
ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
ACTORS = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
TO_INDEX = ("pptsm preset", "pptsm check", "dvc repro index")  # what is typed on such a folder; seconds

# What a run prints only where a preset or the outcome is another than the tiny run's. The code has each sentence.
OTHER_RUN = ("teacher: nothing", "student: 10 clips", "student: about", "student: one group", "student: computes")

# Blocks that are not run here, by their words: the file of tests that has the commands, or why none has. Reasons are
# few, and counted.
NOT_RUN = {
    "$ dvc exp run --temp -n dense": "tests/test_compare.py",
    "$ python flows/sweep.py": "tests/test_flows.py",
    "$ pptsm tune": "tests/test_tune.py",
    "$ pptsm publish": "tests/test_publish.py",
    "from dask_jobqueue import": "Slurm",
    "#SBATCH --job-name=pptsm\n": "Slurm",
    "#SBATCH --job-name=pptsm-2x8": "Slurm",
    "$ PPTSM_TOKEN=": "all interfaces",  # tests/test_service.py asks with a token, on loopback
}
CHECKED = {"json", "yaml", "ini", "text", "mermaid"}  # what is no command: it must be what it says it is


def test_each_block_is_run_or_says_why_not() -> None:
    """Commands and examples of all documents: run here, by test_docs or by test_python, or counted in NOT_RUN."""
    reasons, unknown = Counter[str](), []
    for block in (block for document in DOCUMENTS for block in blocks(document)):
        reason = next((why for words, why in NOT_RUN.items() if words in block.text), None)
        name = block.document.relative_to(ROOT).as_posix()
        runs = {
            "sh": True,  # test_docs.test_the_commands_of_a_document_work takes every one
            "python": name in DOCTESTED,
            "console": block.document.name in SCREENS,
        }
        if reason and reason.startswith("tests/"):
            assert (ROOT / reason).is_file(), reason
        elif reason:
            reasons[reason] += 1
        elif not runs.get(block.language, block.language in CHECKED):
            unknown.append(f"{block} ({block.language or 'no language'})")
    assert unknown == []
    assert reasons == {"Slurm": 3, "all interfaces": 1}


@pytest.mark.parametrize(
    "block", [block for document in DOCUMENTS for block in blocks(document, *CHECKED, "bash", "python")], ids=str
)
def test_a_block_is_in_its_language(block: Block) -> None:
    """What is no command can be read by whoever it is for, shell scripts and examples too."""
    match block.language:
        case "json":
            for line in [block.text] if block.text.count("\n{") == 0 else block.text.splitlines():
                json.loads(line)
        case "yaml":
            assert YAML(typ="safe").load(block.text)
        case "ini":
            assert configparser.RawConfigParser(strict=False).read_string(block.text) is None
        case "bash":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        case "python" if ">>>" not in block.text:
            ast.parse(block.text)


@pytest.mark.parametrize("block", blocks(DOCS / "clusters.md", "bash"), ids=str)
def test_a_job_of_slurm_asks_for_what_it_uses(block: Block) -> None:
    """Its directives come first, are of `sbatch`, and agree with what is launched."""
    first, *lines = block.text.splitlines()
    assert first == "#!/bin/bash"
    words = [line.removeprefix("#SBATCH --").partition("=") for line in lines if line.startswith("#SBATCH")]
    asked = {name: value for name, _, value in words}
    assert not any(line.startswith("#SBATCH") for line in lines[len(asked) :])  # sbatch reads none behind a command
    known = {"job-name", "nodes", "ntasks", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time"}
    assert set(asked) <= known | {"signal", "requeue", "output"}
    assert re.fullmatch(r"\d\d:\d\d:\d\d", asked["time"])
    assert asked.get("ntasks", asked.get("ntasks-per-node")) == "1"  # one launcher a node; it starts the ranks
    devices = re.search(r"--devices ([\d,]+)", block.text)
    if devices:
        assert len(devices[1].split(",")) == int(asked["gpus-per-node"])
        command = re.search(r'"\$\(which pptsm\)" (student .*?)\' "', block.text.replace("\\\n", ""), flags=re.S)
        assert command
        stage = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["student"]["cmd"]
        assert " ".join(command[1].split()) in " ".join(stage.split())  # dvc.yaml adds --code


# What a screen shows


@pytest.mark.slow
def test_the_tutorial_shows_what_the_screen_says(tmp_path: Path, tiny_project: Path) -> None:
    """Up to the index on videos of the same names, to the digit; then as the tiny run prints it, figures aside."""
    project = copy_project(tmp_path / "project")
    (project / ".venv").symlink_to(sys.prefix)
    for number, action in enumerate(ACTIONS):
        (tmp_path / "my_videos" / action).mkdir(parents=True)
        for place, actor in enumerate(ACTORS):
            frames = moving_square(8, seed=9 * number + place)
            write_video(tmp_path / "my_videos" / action / f"{actor}_{action}.avi", frames, 10, "mpeg4")
    printed = (tiny_project / TINY_SCREEN).read_text(encoding="utf-8")
    names = {*ACTIONS, *CLASSES, "above chance", "NOT ABOVE CHANCE"}
    lost: dict[str, list[str]] = {}
    for typed in screen(DOCS / "own_videos.md"):
        if typed.line.startswith(TO_INDEX):
            lines = missing(typed.shown, typed_in(project, typed.line), figures=False)
        elif typed.line == "dvc repro":
            lines = unsaid(typed.shown, printed, names)
        elif typed.line.startswith("pptsm predict"):
            lines = predicted(typed.line, typed.shown, tiny_project, tmp_path)
        else:
            assert typed.line.startswith("git add")  # test_docs types it
            lines = []
        if lines:
            lost[typed.line] = lines
    assert lost == {}


def unsaid(shown: str, printed: str, names: set[str]) -> list[str]:
    """The sentences that neither a run has printed, in their order, nor, where it could not, the code can say."""
    shown, printed = (re.sub(r" groups? \([^)]*\)", " groups (those)", text) for text in (shown, printed))
    lines = [line for line in shown.splitlines() if line.strip() not in ("...", "")]
    starts = rf"(?:{'|'.join([*STAGES, 'runtimes'])}): |student starts"
    whole = "\n".join(line if re.match(starts, line) else f" {line}" for line in lines)
    sentences = [" ".join(sentence.split()) for sentence in re.split(r"\n(?! )", whole)]
    of_code = [sentence for sentence in sentences if sentence.startswith(OTHER_RUN)]
    rest = "\n...\n".join(sentence for sentence in sentences if sentence not in of_code)
    return [*missing(rest, printed, figures=True, names=names), *(each for each in of_code if not sayable(each))]


def sayable(text: str) -> bool:
    """Whether the code has the most of each sentence, in pieces between which something is put in."""
    return all(covered(sentence) > 0.6 for sentence in re.split(r"(?<=\.) (?=[A-Z(])", text) if sentence)


def covered(sentence: str) -> float:
    """The share of a sentence's letters that stand in pieces of the code's texts."""
    found = [False] * len(sentence)
    for piece in PIECES:
        for match in re.finditer(re.escape(piece), sentence):
            found[match.start() : match.end()] = [True] * len(piece)
    letters = [place for place, character in enumerate(sentence) if character.isalpha()]
    return sum(found[place] for place in letters) / max(1, len(letters))


TEXTS = {made.text_of(node) for path in made.PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))}
PIECES = {piece for text in TEXTS for piece in re.split(r"…|\n", text) if len(re.findall(r"[a-z]", piece)) >= 8}


def predicted(line: str, shown: str, done: Path, beside: Path) -> list[str]:
    """What the tiny project's model says of the tutorial's video; it warns as that of the tutorial does."""
    folder = copy_tree(done, beside / "done")
    said = typed_in(folder, line.replace("pptsm predict", "pptsm predict --runtime onnxruntime"))
    warning = " ".join(shown.split()).partition("warning: ")[2].partition(" ../my_videos")[0].partition(" predict:")[0]
    rest = re.sub(r"^warning: .*?(?=^predict:)", "", shown, flags=re.M | re.S)
    lost = missing(rest, said, figures=True, names={*ACTIONS, *CLASSES})
    return lost if sayable(warning) else [*lost, warning]


def typed_in(project: Path, line: str) -> str:
    """Type a line in a project; what comes on the screen, in its order."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.md", "tour.md"])
def test_a_page_shows_what_the_screen_says(page: str, tmp_path: Path, tiny_project: Path) -> None:
    """In a project in which the pipeline has run."""
    project = copy_tree(tiny_project, tmp_path / "done")
    (project / ".venv").symlink_to(sys.prefix)
    video = next((project / "data/raw/motion").rglob("*.mp4"))
    shutil.copy(video, project / "video.mp4")
    for typed in screen(DOCS / page):
        printed = typed_in(project, typed.line.replace("make ", "make -o .venv/ready "))
        assert missing(typed.shown, printed, figures=True, names=set(CLASSES)) == [], printed


@pytest.mark.slow
def test_the_service_answers_as_its_page_shows(tmp_path: Path, tiny_project: Path) -> None:
    """Typed with curl, as it stands there; scores and the model's digest are those of another model."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project = copy_tree(tiny_project, tmp_path / "done")
    shutil.copy(next((project / "data/raw/motion").rglob("*.mp4")), project / "a.mp4")
    clip = json.loads((project / "models/student/card.json").read_text())["clip"]
    shape = [1, clip["segments"], 3, clip["test_crop_px"], clip["test_crop_px"]]
    tensor = {"name": "clips", "shape": shape, "datatype": "FP32", "data": np.zeros(shape).ravel().tolist()}
    (project / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    model = ["--model", "models/export/model.onnx", "--runtime", "onnxruntime"]
    service = subprocess.Popen(["pptsm", "serve", "--port", str(port), *model], cwd=project)
    try:
        for _ in range(600):
            if not typed_in(project, f"curl -s -o /dev/null http://127.0.0.1:{port}/v2/health/ready || echo waiting"):
                break
            assert service.poll() is None
            time.sleep(0.2)
        lost = {}
        for typed in screen(DOCS / "service.md"):
            if typed.line.startswith("curl") and "TOKEN" not in typed.line:
                line = typed.line.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("curl ", "curl -s ")
                lost[line] = unlike(typed.shown, typed_in(project, line))
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)
    assert len(lost) == 3
    assert not any(lost.values()), lost


def unlike(shown: str, printed: str) -> str:
    """Where two answers in JSON have other keys or kinds of values; words that name a model or a class may differ."""
    told, found = (json.loads(text.replace("[...]", "[0.5]")) for text in (shown, printed))
    found.pop("warning", None)  # the tiny run's model is not above chance, and says so
    told, found = form(told), form(found)
    return "" if told == found else f"{told} is not {found}"


def form(value: object) -> object:
    """Keys and kinds of a value; of a list the kinds in it."""
    match value:
        case dict():
            return {key: form(each) for key, each in value.items()}
        case list():
            return sorted({str(form(each)) for each in value})
        case bool() | None:
            return value
        case int() | float():
            return "number"
        case str() if value in CLASSES or re.match(r"student-", value):
            return "name"
    return value


SCREENS = {"own_videos.md", "index.md", "tour.md", "service.md"}  # what the three tests above type


# The guide itself


class Fetched(HTMLParser):
    """What a page loads when it opens, and the texts of its table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(named.get("src") or "")
        if tag == "link" and named.get("rel") != "canonical":
            self.addresses.append(named.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide, built as `make docs` builds it."""
    out = tmp_path_factory.mktemp("guide") / "site"
    command = re.search(r"-m (mkdocs build .*)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert command
    done = subprocess.run(
        [sys.executable, "-m", *command[1].split(), "--site-dir", out],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_guide_needs_no_network(site: Path) -> None:
    """Nothing that a page loads is elsewhere, and what it loads is in the folder."""
    for page in site.rglob("*.html"):
        parser = Fetched()
        text = page.read_text(encoding="utf-8")
        parser.feed(text)
        for address in parser.addresses:
            assert not re.match(r"(https?:)?//", address), f"{page}: {address}"
            if page.name != "404.html" and address and not address.startswith("data:"):
                assert (page.parent / address.partition("#")[0].partition("?")[0]).exists(), f"{page}: {address}"
        assert 'class="mermaid"' not in text, page  # the theme would fetch what draws it
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?https?:|@import", styles)


def test_the_guide_can_be_searched_from_the_disk(site: Path) -> None:
    """The index is a script, and has words of a hand-written, of a made and of a decision's page."""
    index = (site / "search/search_index.js").read_text(encoding="utf-8")
    locations = {entry["location"] for entry in json.loads(index.removeprefix("var __index = "))["docs"]}
    assert {"index.html", "tour.html", "parameters.html", "sentences.html", "changelog.html"} <= locations
    assert "near_duplicate_bits" in index
    assert (site / "guide/iframe-worker.js").exists()
    assert 'src="guide/iframe-worker.js"' in (site / "index.html").read_text(encoding="utf-8")


def test_a_browser_finds_a_word_in_it(site: Path, tmp_path: Path) -> None:
    """From file://, where browsers start no Worker: the search answers all the same."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    page = f"file://{site}/index.html?q=near_duplicate_bits"
    done = subprocess.run(
        [chromium, *options, f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom", page],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.findall(r'<a href="([^"?#]*)[^"]*" class="md-search-result__link"', done.stdout)
    assert any(address.endswith("parameters.html") for address in found), found


def test_the_guide_has_every_parameter_command_and_name(site: Path) -> None:
    """With what is said of each where the code says it."""
    pages = {name: (site / f"{name}.html").read_text(encoding="utf-8") for name in ("parameters", "commands", "python")}
    values = YAML(typ="safe").load((PRESETS / "base.yaml").read_text(encoding="utf-8"))
    keys = {key for key, _ in made._leaves(values)}
    assert len(keys) > 100
    assert [key for key in sorted(keys) if f"<code>{key}</code>" not in pages["parameters"]] == []
    assert "whole number from 16 to 8,192" in pages["parameters"]  # clip.crop_px
    assert "bits of 256, at most, in which three frames" in pages["parameters"]  # a comment of two lines
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f'id="pptsm-{name}"' in pages["commands"], name
        for parameter in command.params:
            for option in parameter.opts:
                assert option in pages["commands"], f"{name} {option}"
    for name in ("pptsm.Predictor", "Predictor.predict_many", "pptsm.build_model"):
        assert f">{name}<" in pages["python"]
    assert "frames that the shift mixes" in pages["python"]
    assert not any("made from code" in text for text in pages.values())


def test_the_graph_is_drawn(site: Path) -> None:
    """Each stage of the Mermaid text has a box, and each arrow a line."""
    (block,) = blocks(DOCS / "tour.md", "mermaid")
    page = (site / "tour.html").read_text(encoding="utf-8")
    (drawn,) = re.findall(r'<div class="graph">.*?</div>', page, flags=re.S)
    assert drawn.count("<rect") == len(
        set(re.findall(r"\b(?!flowchart|LR)([a-z_]+)\b(?=\s*(?:-->|\[|$))", block.text, re.M))
    )
    assert drawn.count('marker-end="url(#arrow)"') == block.text.count("-->")
    assert ">start@student</text>" in drawn


def test_every_document_is_in_the_navigation() -> None:
    """A page that nobody finds is none; the strict build says so too."""
    nav = YAML(typ="safe").load((GUIDE / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    found = Counter(pages(nav))
    assert [page for page, times in found.items() if times > 1] == []
    documents = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(documents - set(found)) == [], "put them into nav of docs/guide/mkdocs.yml"


def pages(nav: object) -> Iterator[str]:
    """The pages of a navigation, sections in sections."""
    match nav:
        case str():
            yield nav
        case list():
            for each in nav:
                yield from pages(each)
        case dict():
            for each in nav.values():
                yield from pages(each)


def test_each_sentence_of_troubleshooting_is_one_of_the_code() -> None:
    """Quoted with … for what is put in; all of its pieces stand, in this order, in one text of the package."""
    said = re.findall(r"^> (.*)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), flags=re.M)
    assert len(said) > 25
    texts = {" ".join(text.split()) for text in TEXTS}
    for sentence in said:
        pieces = [re.escape(piece.strip()) for piece in sentence.split("…") if re.search(r"\w", piece)]
        pattern = re.compile(".*?".join(pieces))
        assert any(pattern.search(text) for text in texts), sentence


def test_a_link_to_a_place_outside_the_documents_leads_to_its_page(site: Path) -> None:
    """Of folders and of files beside docs/."""
    assert 'href="decisions/index.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert 'href="docs' not in "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))

"""Cameras, addresses and standard input: the answers of the file, in time, through stalls and breaks."""

import contextlib
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import pptsm
from helpers.exported import LABELS, exported
from helpers.feeds import as_it_happens, at_once
from helpers.videos import KINDS, encode
from pptsm.data.spec import ClipSpec
from pptsm.runtime.feed import live_feed
from pptsm.serving.predictor import Predictor
from pptsm.serving.stream import Patience, Stream
from pptsm.serving.timeline import Timeline, Window, WindowScorer, timeline_of
from pptsm.serving.windows import Grid
from pptsm.video.live import Source, source_of
from pptsm.video.types import VideoError

GRID = Grid(1.0, 0.4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("videos") / "a.mpg", KINDS["h264 transport stream"])


@pytest.fixture(scope="module")
def of_the_file(video: Path, model: Path) -> Timeline:
    return timeline_of(video, WindowScorer(Predictor(model)), GRID, 0.4, 3, 60.0)


@contextlib.contextmanager
def served(answer: Any) -> Iterator[str]:
    """An address on this machine; `answer(handler, turn)` writes what a request is sent, the first being turn 1."""
    turns = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            turns.append(self.path)
            with contextlib.suppress(OSError):
                answer(self, len(turns))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/camera"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: Any, data: bytes, *, length: bool = True) -> None:
    handler.send_response(200)
    if length:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def send_in_chunks(handler: Any, data: bytes) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
    handler.close_connection = True


def stream_of(model: Path) -> Stream:
    return Stream(WindowScorer(Predictor(model)), GRID, 0.4, 3, 3)


def require_the_same(events: list[dict[str, Any]], found: Timeline) -> None:
    windows = [event for event in events if event["event"] == "window"]
    assert [(event["start"], event["end"]) for event in windows] == [window[:2] for window in found.windows]
    for event, (*_, scores) in zip(windows, found.windows, strict=True):
        expected = {label: round(float(score), 6) for label, score in zip(LABELS, scores, strict=True)}
        assert {guess["label"]: guess["score"] for guess in event["top"]} == expected
    segments = [(event["label"], *event["segment"], event["score"]) for event in events if event["event"] == "segment"]
    expected_segments = [(one.label, one.start_sec, one.end_sec, one.score) for one in found.segments]
    assert sorted(segments) == sorted(expected_segments)
    assert segments
    assert events[-1] == {"event": "end", "windows": len(windows), "dropped": 0, "gaps": 0}


def test_standard_input_is_answered_as_the_file(video: Path, model: Path, of_the_file: Timeline) -> None:
    """Lines of JSON: the same windows, scores and segments."""
    words = ["timeline", "-", "--model", str(model), "--window", "1", "--every", "0.4", "--threshold", "0.4"]
    with video.open("rb") as file:
        done = subprocess.run(
            ["pptsm", *words],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    require_the_same([json.loads(line) for line in done.stdout.splitlines()], of_the_file)


def test_an_address_is_answered_as_the_file(video: Path, model: Path, of_the_file: Timeline) -> None:
    """What an HTTP server sends, whose answer says its length."""
    stream = stream_of(model)
    with served(lambda handler, _: send(handler, video.read_bytes())) as address:
        events = list(stream.events(Source(address, "http"), Patience(20, 0)))
    require_the_same([*events, *stream.closing()], of_the_file)


def test_what_breaks_is_opened_again_and_the_gap_is_said(video: Path, model: Path) -> None:
    """Answers that end without a length, an error, then the whole: times go on after each gap."""

    def answer(handler: Any, turn: int) -> None:
        if turn == 2:
            handler.send_error(503)
        elif turn == 3:
            send_in_chunks(handler, video.read_bytes())
        else:
            send(handler, video.read_bytes(), length=turn == 4)

    stream, pauses = stream_of(model), []
    with served(answer) as address:
        events = list(stream.events(Source(address, "http"), Patience(20, 2, 0.1), pauses.append))
    events += stream.closing()
    kinds = [event["event"] for event in events if event["event"] not in ("window", "segment")]
    assert kinds == ["broken", "broken", "gap", "broken", "gap", "end"]
    assert [event["try"] for event in events if event["event"] == "broken"] == [1, 2, 1]
    assert events[-1]["gaps"] == 2
    assert next(event["reason"] for event in reversed(events) if event["event"] == "gap") == "it ended"
    assert pauses == [0.1, 0.2, 0.1]
    begins = [place for place, event in enumerate(events) if event["event"] == "gap"]
    parts = [events[: begins[0]], events[begins[0] : begins[1]], events[begins[1] :]]
    answers = [[event for event in part if event["event"] == "window"] for part in parts]
    assert [[event["top"] for event in part] for part in answers] == [[event["top"] for event in answers[0]]] * 3
    assert [part[0]["start"] for part in answers[1:]] == [events[place]["end"] for place in begins]
    assert answers[1][0]["start"] >= answers[0][-1]["end"]


def test_what_stalls_is_ended(video: Path, model: Path) -> None:
    """A server that stops sending in the middle: after the stated time it has broken, and nothing is left behind."""
    import multiprocessing

    over = threading.Event()

    def answer(handler: Any, _: int) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(video.read_bytes()[:-2000])
        over.wait(60)

    before = set(multiprocessing.active_children())
    stream, began = stream_of(model), time.monotonic()
    with served(answer) as address, pytest.raises(VideoError, match="nothing came for 2 s"):
        list(stream.events(Source(address, "http"), Patience(2, 0)))
    assert time.monotonic() - began < 30
    over.set()
    assert not set(multiprocessing.active_children()) - before


def test_a_slow_network_drops_and_never_lags() -> None:
    """With a network that takes six times as long, results are dropped and counted; none that is taken is old."""
    taken, lags = [], []
    with live_feed(as_it_happens, (), 20.0) as results:
        for each in results:
            lags.append(time.monotonic() - each.result.due_at)
            taken.append(each)
            time.sleep(0.3)
    assert 5 <= len(taken) <= 15
    assert len(taken) + sum(each.dropped for each in taken) == 60
    assert taken[-1].result.number == 60  # the last one is always answered
    assert np.median(lags) < 0.2
    assert max(lags[:-1]) < 0.3 + 0.2  # a step, and what a busy machine adds


def test_what_comes_faster_than_it_is_shown_is_waited_for() -> None:
    """A file behind an address is ahead of the clock: nothing is dropped."""
    with live_feed(at_once, (), 20.0) as results:
        assert [each.dropped for each in results if not time.sleep(0.01)] == [0] * 60


def test_dropped_windows_are_counted_in_the_answers(video: Path, model: Path) -> None:
    """A camera's frames in their own time, and a network that needs longer than a step."""
    scorer = WindowScorer(Predictor(model))

    class Slow:
        labels: list[str] = scorer.labels
        clip: ClipSpec = scorer.clip
        sampling = scorer.sampling

        def __call__(self, window: Window) -> Any:
            time.sleep(1.0)
            return scorer(window)

    def answer(handler: Any, _: int) -> None:
        data, handler.began = video.read_bytes(), time.monotonic()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 2000):  # in about four seconds
            handler.wfile.write(data[start : start + 2000])
            time.sleep(4.0 * 2000 / len(data))

    stream = Stream(Slow(), GRID, 0.4, 1, 3)  # type: ignore[arg-type]
    with served(answer) as address:
        events = [*stream.events(Source(address, "http"), Patience(20, 0)), *stream.closing()]
    windows = [event for event in events if event["event"] == "window"]
    assert events[-1]["windows"] == len(windows)
    assert events[-1]["dropped"] == sum(event["dropped"] for event in windows) > 0
    assert max(event["lag_sec"] for event in windows) < 1.0 + 1.0 + GRID.every_sec  # the network's second, one waiting


@pytest.mark.parametrize(
    ("name", "kind"),
    [("-", "stdin"), ("rtsp://u:p@h/1", "rtsp"), ("HTTPS://h/a.ts", "https"), ("/dev/zero", "device"), ("a.mp4", None)],
)
def test_only_a_users_word_names_a_source(name: str, kind: str | None) -> None:
    """Addresses, devices, standard input; all else is a file. Passwords are not shown."""
    source = source_of(name)
    assert (source and source.kind) == kind
    assert source is None or "u:p" not in source.shown


@pytest.mark.parametrize("name", ["file:///etc/passwd", "concat://a|b", "ftp://h/a.mp4", "udp://h:1"])
def test_other_addresses_are_refused(name: str) -> None:
    with pytest.raises(VideoError, match="addresses begin with"):
        source_of(name)


def test_a_playlist_is_not_followed(model: Path) -> None:
    """What a server sends may name files and addresses; none of them is opened."""
    asked = []

    def answer(handler: Any, _: int) -> None:
        asked.append(handler.path)
        send(handler, b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n")

    with served(answer) as address, pytest.raises(VideoError, match=r"no video that can be read|cannot be opened"):
        list(stream_of(model).events(Source(f"{address}.m3u8", "http"), Patience(20, 0)))
    assert set(asked) == {"/camera.m3u8"}


def test_a_redirection_to_a_file_is_not_followed(video: Path, model: Path) -> None:
    def answer(handler: Any, _: int) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"file://{video}")
        handler.end_headers()

    with served(answer) as address, pytest.raises(VideoError):
        list(stream_of(model).events(Source(address, "http"), Patience(20, 0)))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "sends no video that can be read|broke off|cannot be opened"),
        (b"a text\n" * 999, "no video that can be read"),
    ],
)
def test_what_is_no_video_is_a_sentence(model: Path, sent: bytes, said: str) -> None:
    """And the end is said as well."""
    import re

    done = subprocess.run(["pptsm", "timeline", "-", "--model", model], input=sent, capture_output=True, check=False)
    assert done.returncode == 1
    assert re.search(said, done.stderr.decode()), done.stderr
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout) == {"event": "end", "windows": 0, "dropped": 0, "gaps": 0}


def test_files_are_for_files(tmp_path: Path, model: Path) -> None:
    done = pptsm("timeline", "http://h/a", "--model", model, "--csv", "a.csv", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "--csv: for files" in done.stderr

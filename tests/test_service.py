"""`pptsm serve`: the answers of `pptsm predict` over HTTP, and a sentence with a status code for all else."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from PIL import Image

from conftest import moving_square, pptsm
from helpers.exported import LABELS, SHAPE, exported
from helpers.videos import MPEG2, X264, Kind, encode
from pptsm.data.clips import views_of_file
from pptsm.deploy.calibrated import with_calibration
from pptsm.evaluation.calibrate import Scored, calibrate
from pptsm.evaluation.engines import open_session
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video

BOUNDARY = "-----a-boundary"
TIMEOUT_SEC = 4  # of the decoder
WAITING = 2
START_SEC = 120
PATIENCE_SEC = 120


@dataclass
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


class Running:
    """A service in a process of its own."""

    def __init__(self, model: Path, temporary: Path, *options: object, **environment: str) -> None:
        temporary.mkdir(exist_ok=True)
        self.temporary, self.model = temporary, model
        words = [
            sys.executable,
            "-c",
            "from pptsm.cli import main; main()",
            "serve",
            "--model",
            model,
            "--port",
            0,
            *options,
        ]
        self.process = subprocess.Popen(
            list(map(str, words)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), **environment},
        )
        assert self.process.stdout is not None
        self.first_lines = []
        for line in self.process.stdout:
            self.first_lines.append(line)
            if found := re.search(r"serving on http://\S+:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError("".join(self.first_lines))

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **options: Any
    ) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SEC)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {}, **options)
            response = connection.getresponse()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def predict(self, file: Path | bytes, name: str = "a.mp4", query: str = "", **headers: str) -> Answered:
        data = file if isinstance(file, bytes) else file.read_bytes()
        return self.ask("POST", f"/predict{query}", form(data, name), {**FORM, **headers})

    def infer(self, request: Any, model: str = "model", **headers: str) -> Answered:
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.ask("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"} | headers)

    def decoders(self) -> list[psutil.Process]:
        """Its processes that decode."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def uploads(self) -> list[Path]:
        """What lies in its temporary folder."""
        return [path for folder in self.temporary.glob("pptsm-serve-*") for path in folder.iterdir()]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; its exit code and what it said."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        with self.process.stdout:
            said = self.process.stdout.read()
        return self.process.wait(PATIENCE_SEC), said


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(data: bytes, disposition: str) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"


def form(data: bytes, name: str) -> bytes:
    return part(data, f'name="file"; filename="{name}"') + f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows its doubts, and videos, among them one that takes seconds to decode."""
    folder = tmp_path_factory.mktemp("service")
    model, rng = exported(folder), np.random.default_rng(1)
    labels = rng.integers(0, len(LABELS), 200)
    logits_NK = np.float32(3 * np.eye(len(LABELS))[labels] + rng.standard_normal((200, len(LABELS))))
    videos = Scored(logits_NK, labels, [f"g{number % 20}" for number in range(200)])
    model.write_bytes(with_calibration(model.read_bytes(), calibrate(videos, videos, "uniform", chose=False)))
    write_video(folder / "a.mp4", moving_square(40), 10, "h264")
    write_video(folder / "three.mp4", moving_square(3, seed=3), 10, "mpeg4")
    encode(folder / "raw.mpg", Kind(".mpg", "mpeg2video", "pyav", MPEG2, 640, 480, count=60))
    (folder / "long.mpg").write_bytes(100 * (folder / "raw.mpg").read_bytes())
    return folder


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Running]:
    """One process decodes, two requests may wait."""
    options = ("--max-mb", 40, "--max-seconds", 1000, "--timeout", TIMEOUT_SEC, "--max-waiting", WAITING)
    running = Running(place / "model.onnx", place / "tmp", *options, "--decoders", 1)
    yield running
    code, said = running.end()
    assert code == 0, said
    assert "Traceback" not in said
    assert not list(running.temporary.glob("pptsm-*"))


def command_says(place: Path, *words: object) -> Any:
    done = pptsm("predict", *words, "--model", place / "model.onnx", "--json", cwd=place)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", []),
        ("?top_k=1", ["--top-k", 1]),
        ("?start=0.5&end=2.5", ["--start", 0.5, "--end", 2.5]),
        ("?sampling=dense&top_k=3", ["--sampling", "dense", "--top-k", 3]),
        ("?coverage=0.9", ["--coverage", 0.9]),
    ],
)
def test_the_answers_are_those_of_the_command(service: Running, place: Path, query: str, words: list[object]) -> None:
    """Digit for digit, also for a video of three frames and one that has to be decoded to be counted."""
    names = ["a.mp4"] if "start" in query else ["a.mp4", "three.mp4", "raw.mpg"]
    for name, expected in zip(names, command_says(place, *names, *words), strict=True):
        found = service.predict(place / name, name, query)
        assert found.status == 200, found.said
        assert found.said == expected
        assert ("known" in expected) is ("dense" not in query)
        assert json.dumps(found.said["top"]) == json.dumps(expected["top"])


def test_real_videos_are_answered_as_by_the_command(service: Running, place: Path, shared: Path) -> None:
    """Of three datasets, at once: answers do not get mixed up."""
    videos = [next(iter(sorted((shared / "data").rglob(f"*{suffix}")))) for suffix in (".mp4", ".avi")]
    expected = command_says(place, *videos)
    with ThreadPoolExecutor(2) as clients:
        found = list(clients.map(lambda video: service.predict(video, video.name), videos))
    for answer, due in zip(found, expected, strict=True):
        assert {**due, "file": Path(due["file"]).name} == answer.said


def tensor_of(views: np.ndarray) -> dict[str, Any]:
    data = [float(value) for value in views.ravel()]
    return {"name": "clips", "shape": list(views.shape), "datatype": "FP32", "data": data}


@pytest.fixture(scope="module")
def views(place: Path) -> np.ndarray:
    """Two clips as the network takes them."""
    said = Predictor(place / "model.onnx").metadata.clip
    videos = [views_of_file(place / name, said, "uniform") for name in ("a.mp4", "three.mp4")]
    return np.concatenate(videos).reshape(-1, *SHAPE)


def test_a_tensor_is_answered_with_the_logits_of_the_file(service: Running, place: Path, views: np.ndarray) -> None:
    """Bit for bit, as numbers in a flat or a nested list, and as bytes behind the JSON; the id comes back."""
    expected = open_session(place / "model.onnx").run(["logits"], {"clips": views})[0]
    flat = tensor_of(views)
    for tensor in (flat, flat | {"data": views.tolist()}):
        found = service.infer({"id": "42", "inputs": [tensor], "outputs": [{"name": "logits"}]})
        assert found.status == 200, found.said
        said = found.said
        (output,) = said.pop("outputs")
        assert said == {"model_name": "model", "model_version": "student-0", "id": "42"}
        assert (output["name"], output["shape"], output["datatype"]) == ("logits", [2, len(LABELS)], "FP32")
        np.testing.assert_array_equal(np.float32(output["data"]).reshape(2, -1), expected)
    del flat["data"]
    flat["parameters"] = {"binary_data_size": views.nbytes}
    header = json.dumps({"inputs": [flat], "parameters": {"binary_data_output": True}}).encode()
    length = "Inference-Header-Content-Length"
    found = service.infer(header + views.tobytes(), **{length: str(len(header))})
    assert found.status == 200, found.said
    cut = int(found.headers[length.lower()])
    json_part, binary = found.body[:cut], found.body[cut:]
    assert json.loads(json_part)["outputs"][0]["parameters"] == {"binary_data_size": len(binary)}
    np.testing.assert_array_equal(np.frombuffer(binary, "<f4").reshape(2, -1), expected)


def test_a_tensor_gives_the_answer_of_its_video(service: Running, place: Path, views: np.ndarray) -> None:
    """The softmax of its logits is what /predict says of the file."""
    found = service.infer({"inputs": [tensor_of(views[:1])]}).said["outputs"][0]["data"]
    shares = np.exp(np.float64(found) - max(found))
    best = int(np.argmax(found))
    top = service.predict(place / "a.mp4").said["top"][0]
    assert top["label"] == LABELS[best]
    assert abs(top["score"] - (shares / shares.sum())[best]) < 2e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": [1, 3, 4, 32, 32]}, "`shape` of 'clips' is [1, 3, 4, 32, 32], and should be [N, 4, 3, 32, 32]"),
        ({"shape": list(SHAPE)}, "should be [N, 4, 3, 32, 32]"),
        ({"shape": [0, *SHAPE]}, "should be [N, 4, 3, 32, 32]"),
        ({"shape": [-1, *SHAPE]}, "should be [N, 4, 3, 32, 32]"),
        ({"shape": [True, *SHAPE]}, "should be [N, 4, 3, 32, 32]"),
        ({"shape": [1e300, *SHAPE]}, "should be [N, 4, 3, 32, 32]"),
        ({"shape": [2, *SHAPE]}, "and the shape [2, 4, 3, 32, 32] has 24,576 values"),
        ({"shape": [33, *SHAPE]}, "has 33 clips, and one request may have 32"),
        ({"shape": None}, "is None, and should be [N, 4, 3, 32, 32]"),
        ({"datatype": "FP64"}, "`datatype` of the input is 'FP64', and should be 'FP32'"),
        ({"name": "x"}, "`name` of the input is 'x', and should be 'clips'"),
        ({"data": [[1], [1, 2]]}, "lists of different lengths"),
        ({"data": ["1"] * 12288}, "should be numbers alone"),
        ({"data": [None] * 12288}, "should be numbers alone"),
        ({"data": [True] * 12288}, "should be numbers alone"),
        ({"data": [1] * 12287}, "has 12,287 values"),
        ({"data": []}, "has 0 values"),
        ({"data": "x"}, "should be a list of numbers"),
        ({"data": [1] * 12287 + [float("nan")]}, "1 of the 12,288 values of 'clips' are not a number or infinite"),
        ({"data": [1] * 12287 + [float("-inf")]}, "1 of the 12,288 values"),
        ({"data": [1e39] * 12288}, "12,288 of the 12,288 values"),
    ],
)
def test_another_tensor_is_refused(service: Running, views: np.ndarray, change: Any, sentence: str) -> None:
    """With 400 and what was found."""
    found = service.infer({"inputs": [tensor_of(views[:1]) | change]})
    assert found.status == 400
    assert sentence in found.said["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'"x"', 'should be an object {"inputs": [...]}'),
        (b"{}", "`inputs` should be a list of one tensor, 'clips', and is None"),
        (b'{"inputs": [{}, {}]}', "`inputs` should be a list of one tensor"),
        (b'{"id": 1, "inputs": []}', "`id` is 1, and should be a text"),
        (b'{"inputs": [' + b'{"a": ' * 2000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_what_is_no_request_of_the_protocol_is_refused(service: Running, body: bytes, sentence: str) -> None:
    """With 400 and a sentence."""
    found = service.infer(body)
    assert found.status == 400
    assert sentence in found.said["error"]


def test_the_protocol_says_what_is_served(service: Running) -> None:
    """Server, model and health, also by the version; another model or version is not there."""
    assert service.ask("GET", "/v2").said["extensions"] == ["binary_tensor_data"]
    assert service.ask("GET", "/v2/health/live").said == {"live": True}
    assert service.ask("GET", "/v2/health/ready").said["ready"] is True
    assert service.ask("GET", "/v2/models/model/ready").said == {"name": "model", "ready": True}
    model = service.ask("GET", "/v2/models/model/versions/student-0").said
    assert model == service.ask("GET", "/v2/models/model").said
    assert model["inputs"] == [{"name": "clips", "datatype": "FP32", "shape": [-1, *SHAPE]}]
    assert model["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, len(LABELS)]}]
    for path in ("/v2/models/other", "/v2/models/model/versions/2", "/nothing"):
        found = service.ask("GET", path)
        assert found.status == 404
        assert found.said["error"]
    assert service.infer({}, "other").status == 404
    assert service.ask("GET", "/predict").status == 405


def large_frame(folder: Path) -> bytes:
    kind = Kind(".mp4", "libx264", "pyav", X264, 7680, 4320, count=1)
    return encode(folder / "8k.mp4", kind).read_bytes()


def test_a_bad_video_gets_a_status_and_a_sentence(service: Running, place: Path, tmp_path: Path) -> None:
    """And leaves nothing behind."""
    whole = (place / "raw.mpg").read_bytes()
    video = (place / "a.mp4").read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n"
    long = tmp_path / "long.mp4"
    write_video(long, moving_square(1200), 1, "mpeg4")
    cases = [
        (b"", 422, "the file is empty"),
        (b"a text\n" * 100, 422, "not a readable video"),
        (video[: len(video) // 2], 422, "not a readable video"),
        (video[:-200], 422, ""),
        (playlist, 422, "not a readable video"),
        (large_frame(tmp_path), 422, "its frames have 7680x4320 pixels, 33.2 million, and may have 9 million here"),
        (long.read_bytes(), 422, "it lasts 1200 s, and may last 1000 s here"),
        (whole * 200, 413, "more than 40 MB"),
    ]
    for data, status, sentence in cases:
        found = service.predict(data)
        assert (found.status, sentence in found.said["error"]) == (status, True), found.said
        assert str(place) not in found.said["error"]
    assert service.predict(place / "a.mp4").status == 200
    assert not service.uploads()


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (f"--{BOUNDARY}--\r\n".encode(), None, 400, "has no file"),
        (b"", None, 400, "has no file"),
        (b"nonsense", None, 400, "no multipart/form-data"),
        (part(b"x", 'name="file"; filename="a"'), None, 400, "ends in the middle"),
        (part(b"3", 'name="top_k"') + form(b"x", "a"), None, 400, "options belong into the address"),
        (part(b"x", 'name="a"; filename="a"') + form(b"x", "b"), None, 400, "several files"),
        (b"x", "video/mp4", 415, "of type 'video/mp4'"),
        (b"x", "multipart/form-data", 415, "Send one video"),
        (b"x", "multipart/form-data; boundary=" + 300 * "b", 400, "no multipart/form-data"),
    ],
)
def test_what_is_no_upload_is_refused(
    service: Running, body: bytes, kind: str | None, status: int, sentence: str
) -> None:
    """With what to send."""
    found = service.ask("POST", "/predict", body, {"Content-Type": kind} if kind else FORM)
    assert found.status == status
    assert sentence in found.said["error"]
    assert not service.uploads()


@pytest.mark.parametrize(
    "query",
    [
        "top_k=0",
        "top_k=x",
        "start=1",
        "start=2&end=1",
        "start=nan&end=1",
        "end=inf&start=0",
        "sampling=x",
        "url=http://a",
    ],
)
def test_an_option_that_is_none_is_refused(service: Running, place: Path, query: str) -> None:
    """Also one that nobody knows: an address, for one, is never fetched."""
    found = service.predict(place / "a.mp4", query=f"?{query}")
    assert found.status == 422
    assert query.partition("=")[0] in found.said["error"]


def test_a_part_that_is_not_there_is_refused(service: Running, place: Path) -> None:
    """In the words of the command."""
    found = service.predict(place / "a.mp4", query="?start=90&end=91")
    assert (found.status, found.said) == (422, {"error": "it lasts 4.00 s, so nothing is at 90 to 91 s"})


def test_a_name_of_a_client_is_no_path(service: Running, place: Path) -> None:
    """It is shown as it is."""
    for name in ("../../../tmp/x.mp4", "/etc/passwd", "img_%05d.jpg", "<b>.mp4", "ünï.mp4", "." * 1000):
        found = service.predict(place / "a.mp4", name)
        assert (found.status, found.said["file"]) == (200, name)
    assert not service.uploads()


def test_a_body_that_does_not_say_its_length_is_cut_at_the_limit(service: Running) -> None:
    """With 413, and without the rest."""

    def endless() -> Iterator[bytes]:
        yield part(b"", 'name="file"; filename="a"')[:-2]
        for _ in range(60):
            yield b"x" * 1_000_000

    found = service.ask("POST", "/predict", endless(), FORM, encode_chunked=True)
    assert found.status == 413
    assert not service.uploads()


def busy(service: Running, place: Path) -> "tuple[ThreadPoolExecutor, Any]":
    """Have it decode the long video; it has begun when this returns."""
    client = ThreadPoolExecutor(1)
    (decoder,) = service.decoders()
    before = decoder.cpu_times().user
    running = client.submit(service.predict, place / "long.mpg", "long.mpg")
    wait_until(lambda: service.decoders()[0].cpu_times().user > before + 0.3)
    return client, running


def wait_until(what: Any) -> None:
    end = time.monotonic() + PATIENCE_SEC
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_more_requests_than_may_wait_are_sent_away_and_health_answers(service: Running, place: Path) -> None:
    """503 with Retry-After; those that had a place get their answers."""
    client, first = busy(service, place)
    with client, ThreadPoolExecutor(8) as others:
        found = list(others.map(lambda _: service.predict(place / "a.mp4"), range(8)))
        began = time.monotonic()
        assert service.ask("GET", "/v2/health/ready").status == 200
        assert time.monotonic() - began < TIMEOUT_SEC / 2
    refused = [each for each in found if each.status == 503]
    assert len(refused) == 8 - WAITING
    assert {each.headers["retry-after"] for each in refused} == {"1"}
    assert "no more may wait" in refused[0].said["error"]
    assert sorted(each.status for each in found if each.status != 503) == [200] * WAITING
    assert first.result().status in (200, 422)  # by the machine: it may take longer than may be


def test_a_file_that_crashes_its_decoder_costs_a_process_and_a_4xx(service: Running, place: Path) -> None:
    """The next one is answered by another process."""
    client, running = busy(service, place)
    (crashed,) = service.decoders()
    crashed.kill()
    with client:
        found = running.result()
    assert (found.status, found.said) == (422, {"error": "the decoder crashed on it (exit code -9)."})
    assert service.predict(place / "a.mp4").status == 200
    assert service.decoders()[0].pid != crashed.pid
    assert not service.uploads()


def test_a_file_that_hangs_costs_a_process_and_a_4xx(service: Running, place: Path) -> None:
    """After the time that it may take."""
    client, running = busy(service, place)
    (hung,) = service.decoders()
    hung.suspend()
    with client:
        found = running.result()
    assert (found.status, found.said) == (422, {"error": f"it took longer than {TIMEOUT_SEC} s to decode."})
    assert service.predict(place / "a.mp4").status == 200
    assert not hung.is_running()


def test_a_decoder_that_was_ended_while_idle_is_replaced(service: Running, place: Path) -> None:
    """As where memory ran out: nobody's request pays for it."""
    (idle,) = service.decoders()
    idle.kill()
    assert service.predict(place / "a.mp4").status == 200


def test_who_leaves_leaves_nothing_behind(service: Running, place: Path) -> None:
    """In the middle of an upload, and while it is decoded."""
    body = form((place / "long.mpg").read_bytes(), "a.mpg")
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
    for share in (0.5, 1):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: int(share * len(body))])
            wait_until(service.uploads)
        wait_until(lambda: not service.uploads())
    assert service.predict(place / "a.mp4").status == 200
    assert 'status="499"' in service.ask("GET", "/metrics").body.decode()


def test_a_page_of_another_site_gets_no_answer(service: Running, place: Path) -> None:
    """Neither under a name that leads here, nor by a form that a browser sends."""
    assert service.ask("GET", "/v2", headers={"Host": f"evil.example:{service.port}"}).status == 403
    assert service.ask("GET", "/v2", headers={"Host": f"localhost:{service.port}"}).status == 200
    assert service.predict(place / "a.mp4", **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert service.predict(place / "a.mp4", **{"Sec-Fetch-Site": "same-origin"}).status == 200


def test_metrics_count(service: Running, place: Path) -> None:
    """Requests by status, and clips."""

    def counted(line: str) -> float:
        text = service.ask("GET", "/metrics").body.decode()
        return float(next((each.rsplit(" ", 1)[1] for each in text.splitlines() if each.startswith(line)), 0))

    lines = ('pptsm_requests_total{route="/predict",status="200"}', "pptsm_clips_total")
    before = [counted(line) for line in lines]
    service.predict(place / "a.mp4")
    assert [counted(line) for line in lines] == [before[0] + 1, before[1] + 1]
    assert counted("pptsm_under_way") == 0
    assert counted("process_open_fds") > 0
    service.ask("GET", "/any/thing/at/all")
    assert counted('pptsm_requests_total{route="other",status="404"}') > 0


def refused_start(place: Path, *words: object) -> str:
    done = pptsm("serve", "--model", place / "model.onnx", "--port", 0, *words, cwd=place, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_beyond_this_machine_it_asks_for_a_token(place: Path) -> None:
    """It does not start without one."""
    assert "can be reached from other machines, and no token is set" in refused_start(place, "--host", "0.0.0.0")
    assert "the token is empty" in refused_start(place, "--token", "")
    assert "cannot listen on no.such.host.invalid" in refused_start(place, "--host", "no.such.host.invalid")


def test_a_taken_port_and_a_model_of_another_project_are_said(place: Path, tmp_path: Path) -> None:
    """Before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in refused_start(
            place, "--port", port
        )
    foreign = onnx.load(str(place / "model.onnx"))
    del foreign.metadata_props[:]
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    assert "was not written by `pptsm export`" in refused_start(place, "--model", tmp_path / "foreign.onnx")
    assert "no exported model" in refused_start(place, "--model", tmp_path / "none.onnx")


def test_requests_need_the_token_and_what_is_under_way_ends(place: Path) -> None:
    """Wherever it listens; health, page and documentation need none. SIGTERM: no new request, exit code 0."""
    secret = "a-secret-of-many-letters"
    options = ("--host", "0.0.0.0", "--name", "squares", "--decoders", 1)
    running = Running(place / "model.onnx", place / "tmp2", *options, PPTSM_TOKEN=secret)
    assert running.ask("GET", "/v2/health/ready").status == 200
    for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": secret}, {"Authorization": "Bearer "}):
        found = running.predict(place / "a.mp4", **wrong)
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
        assert running.ask("GET", "/metrics", headers=wrong).status == 401
    right = {"Authorization": f"Bearer {secret}"}
    assert running.predict(place / "a.mp4", **right).status == 200
    assert running.ask("GET", "/v2/models/squares", headers=right).status == 200
    with ThreadPoolExecutor(1) as client:
        first = client.submit(running.predict, place / "long.mpg", "long.mpg", **right)
        wait_until(running.uploads)
        time.sleep(0.5)
        ended: list[tuple[int, str]] = []
        ending = threading.Thread(target=lambda: ended.append(running.end()))
        ending.start()
        wait_until(lambda: not listens(running.port))
        assert first.result().status == 200
    ending.join()
    assert ended[0][0] == 0
    assert "what was under way has its answers" in ended[0][1]
    assert not list(running.temporary.glob("pptsm-*"))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_the_documentation_needs_no_network(service: Running) -> None:
    """All that can be asked stands there; nothing is loaded from elsewhere, and no script runs."""
    page = service.ask("GET", "/docs")
    text = page.body.decode()
    assert "POST /predict" in text
    assert "POST /v2/models/{model}/infer" in text
    assert "How many classes." in text
    assert not re.search(r"(src|href)=\"(?!/|data:)|<script|@import|url\(", text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/predict" in service.ask("GET", "/openapi.json").said["paths"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """Headless Chromium, steered over its own protocol."""

    def __init__(self, profile: Path) -> None:
        from websockets.sync.client import connect

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        self.process = subprocess.Popen(
            [str(CHROMIUM), *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        file = profile / "DevToolsActivePort"
        wait_until(lambda: file.exists() and file.read_text().count("\n"))
        port = int(file.read_text().split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        with contextlib.closing(connection):
            connection.request("GET", "/json")
            (page,) = [each for each in json.load(connection.getresponse()) if each["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE_SEC)
        self._number = 0
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_SEC))
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                said = message["params"]
                if said.get("entry", {}).get("level") not in ("verbose", "info"):
                    self.complaints.append(json.dumps(said))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def choose(self, file: Path) -> None:
        """Give a file to the page, as a person does who chooses it."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(file)])

    def close(self) -> None:
        self._socket.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser with an empty page."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    pytest.importorskip("websockets", reason="Chromium is steered through it")
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()


def test_a_person_drops_a_video_and_sees_answers_and_frames(
    service: Running, place: Path, tmp_path: Path, browser: Browser
) -> None:
    """In a browser: the scores, the frames that the network saw, and of a bad file the sentence; names stay text."""
    for domain in ("Page", "Log", "Runtime"):
        browser.call(f"{domain}.enable")
    browser.call("Page.navigate", url=f"http://127.0.0.1:{service.port}/")
    wait_until(lambda: browser.value("document.readyState == 'complete' && !!document.getElementById('file')"))
    video = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    video.write_bytes((place / "a.mp4").read_bytes())
    browser.choose(video)
    wait_until(lambda: browser.value("document.querySelectorAll('#frames img').length"))
    expected = service.predict(place / "a.mp4", query="?frames=true").said
    assert len(expected["frames"]) == SHAPE[0]
    assert browser.value("[...document.querySelectorAll('#frames img')].map(image => image.src)") == expected["frames"]
    wait_until(lambda: browser.value("[...document.querySelectorAll('#frames img')].every(i => i.naturalWidth > 0)"))
    rows = browser.value("[...document.querySelectorAll('#answers tr')].map(row => row.innerText)")
    due = [(guess["label"], f"{100 * guess['score']:.2f} %") for guess in expected["top"]]
    assert [tuple(row.split("\t")[::2]) for row in rows] == due
    assert browser.value("document.getElementById('said').textContent") == video.name
    assert browser.value("document.querySelectorAll('#said *').length") == 0
    bad = tmp_path / "bad.mp4"
    bad.write_text("text")
    browser.choose(bad)
    wait_until(lambda: "not a readable video" in browser.value("document.getElementById('said').textContent"))
    assert browser.value("document.querySelectorAll('#frames img').length") == 0
    others = [each for each in browser.complaints if "status of 422" not in each]
    assert not others  # the policy of the page has refused nothing


def test_what_people_see_is_what_the_network_saw(service: Running, place: Path, views: np.ndarray) -> None:
    """The pictures show the frames of the clip, in their order: the square moves on."""
    frames = service.predict(place / "a.mp4", query="?frames=true").said["frames"]
    for frame, view in zip(frames, views[0], strict=True):
        data = base64.b64decode(frame.removeprefix("data:image/jpeg;base64,"))
        small = np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((32, 32)), np.float64)
        assert np.corrcoef(small.ravel(), view.mean(axis=0).ravel())[0, 1] > 0.95


def test_the_runtime_keeps_no_identifier_and_reports_nothing(place: Path, tmp_path: Path) -> None:
    """ONNX Runtime's builds would, by themselves: they leave files in the home and the temporary folder."""
    program = f"from pptsm import Predictor\nPredictor({str(place / 'model.onnx')!r})"
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | folders
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not list(tmp_path.iterdir())

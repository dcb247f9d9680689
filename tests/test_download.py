"""Fetching weights from a real server on loopback that misbehaves in every way it can."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pptsm.files import sha256_of
from pptsm.model import download as module
from pptsm.model.download import DownloadError, download, known_weights, locate_weights

BODY = bytes(range(256)) * 4000  # a megabyte
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers by the path; counts requests and keeps the Range headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    """/good serves; /once500, /404, /cut (closes half-way, once), /short (always), /always500 do not."""

    server: Server

    def do_GET(self) -> None:  # the base class's name
        """Answer as the path says."""
        turn = len(self.server.ranges)
        self.server.ranges.append(self.headers.get("Range"))
        if self.path == "/404.bin":
            self.send_error(404)
        elif self.path == "/always500.bin" or (self.path == "/once500.bin" and turn == 0):
            self.send_error(500)
        else:
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            rest = BODY[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            whole = self.path not in ("/cut.bin", "/short.bin") or (self.path == "/cut.bin" and turn > 0)
            self.wfile.write(rest if whole else rest[: len(rest) // 2])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback, short waits, and a state folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "RETRY", module.RETRY.new(backoff_factor=0.01))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}.bin"


def parts() -> list[str]:
    """Files left in the download folder."""
    return sorted(path.name for path in Path(".pptsm").rglob("*") if path.is_file())


def test_a_good_file_comes_once_and_is_recorded(server: Server) -> None:
    """The second use asks nobody; its hash is held to the record."""
    path = download(url(server, "good"), DIGEST[:8])
    assert path.read_bytes() == BODY
    assert download(url(server, "good")) == path
    assert len(server.ranges) == 1
    assert parts() == ["good.bin", "good.bin.sha256"]
    path.write_bytes(BODY[:-1])
    with pytest.raises(DownloadError, match="another or a damaged file"):
        download(url(server, "good"))


def test_a_server_error_is_tried_again(server: Server) -> None:
    """One 500, then the file."""
    assert sha256_of(download(url(server, "once500"))) == DIGEST
    assert len(server.ranges) == 2


def test_a_broken_transfer_is_resumed_where_it_stopped(server: Server) -> None:
    """The second request asks for the second half (and the packet that was under way)."""
    assert sha256_of(download(url(server, "cut"))) == DIGEST
    first, second = server.ranges
    assert first is None
    assert second is not None
    start = int(second.removeprefix("bytes=").rstrip("-"))
    assert len(BODY) // 2 - module.CHUNK_BYTES < start <= len(BODY) // 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("404", "the server answered 404"), ("always500", "cannot download"), ("short", "cannot download")],
)
def test_what_cannot_be_had_is_said_and_no_bad_file_is_in_place(server: Server, name: str, sentence: str) -> None:
    """A clear sentence; at most a .partial for resuming."""
    with pytest.raises(DownloadError, match=sentence):
        download(url(server, name))
    assert f"{name}.bin" not in parts()


def test_a_wrong_hash_is_refused_and_removed(server: Server) -> None:
    """Nothing of it stays."""
    with pytest.raises(DownloadError, match="has SHA-256"):
        download(url(server, "good"), "0" * 64)
    assert parts() == []


def test_a_file_that_changed_on_the_server_is_refused(server: Server) -> None:
    """The record of the first download outlives the file."""
    path = download(url(server, "good"))
    path.unlink()
    record = path.with_name("good.bin.sha256")
    record.write_text("f" * 64 + "  good.bin\n")
    with pytest.raises(DownloadError, match="is not the file it was"):
        download(url(server, "good"))


def test_a_path_is_taken_as_it_is_and_an_unknown_name_is_explained(tmp_path: Path) -> None:
    """File, or a sentence that names all three ways."""
    (tmp_path / "w.pdparams").write_bytes(BODY)
    assert locate_weights(str(tmp_path / "w.pdparams"), DIGEST) == tmp_path / "w.pdparams"
    with pytest.raises(DownloadError, match=f"write its SHA-256 beside it .*{DIGEST}"):
        locate_weights(str(tmp_path / "w.pdparams"), None)
    with pytest.raises(DownloadError, match="neither a URL nor a known name"):
        locate_weights("pptsm-r50-typo", None)


def test_the_registry_names_every_row_of_the_published_table() -> None:
    """Six PP-TSM files, four TSM files, four ImageNet starts; addresses are https."""
    known = known_weights()
    assert len([name for name in known if "k400" in name]) == 10
    assert len([name for name in known if "imagenet" in name]) == 4
    assert all(row.url.startswith("https://") and row.note for row in known.values())

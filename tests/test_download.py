"""Fetching weights from a real server on loopback that misbehaves in every way it can."""

import concurrent.futures
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from badserver import BadServer
from pptsm.files import sha256_of
from pptsm.ingest import download as module
from pptsm.ingest.download import DownloadError, download, known_weights, locate_weights
from pptsm.model.pickles import WeightsError

BODY = bytes(range(256)) * 4000  # a megabyte
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    """A server on loopback, short waits, and a state folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "RETRY", module.RETRY.new(backoff_factor=0.01))
    with BadServer(BODY) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def parts() -> list[str]:
    """Files left in the download folder."""
    return sorted(path.name for path in Path(".pptsm").rglob("*") if path.is_file() and path.name != "lock")


def test_a_good_file_comes_once_and_is_recorded(server: BadServer) -> None:
    """The second use asks nobody; its hash is held to the record."""
    path = download(server.url("good"), DIGEST[:8])
    assert path.read_bytes() == BODY
    assert download(server.url("good")) == path
    assert len(server.ranges) == 1
    assert parts() == ["good.bin", "good.bin.sha256"]
    path.write_bytes(BODY[:-1])
    assert download(server.url("good")).read_bytes() == BODY  # damaged since: fetched again
    assert len(server.ranges) == 2


def test_a_file_that_is_no_weights_is_not_kept(server: BadServer) -> None:
    """Such as a page that says to log in: the next fetch starts anew."""
    with pytest.raises(WeightsError, match="good"):
        locate_weights(server.url("good"), None)
    assert parts() == []


def test_a_server_error_is_tried_again(server: BadServer) -> None:
    """One 500, then the file."""
    assert sha256_of(download(server.url("once500"))) == DIGEST
    assert len(server.ranges) == 2


def test_a_broken_transfer_is_resumed_where_it_stopped(server: BadServer) -> None:
    """The second request asks for the second half (and the packet that was under way)."""
    assert sha256_of(download(server.url("cut"))) == DIGEST
    first, second = server.ranges
    assert first is None
    assert second is not None
    start = int(second.removeprefix("bytes=").rstrip("-"))
    assert len(BODY) // 2 - module.CHUNK_BYTES < start <= len(BODY) // 2


def test_a_file_that_changed_half_way_is_fetched_anew(server: BadServer) -> None:
    """Two halves of two versions would be no file at all."""
    assert download(server.url("changed")).read_bytes() == bytes(reversed(BODY))
    assert server.requests["changed"] == 2


def test_two_processes_that_want_the_same_file_fetch_it_once(server: BadServer) -> None:
    """The second waits for the first."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: download(server.url("slow")), range(3)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert server.requests["slow"] == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("404", "the server answered 404"), ("always500", "cannot download"), ("short", "cannot download")],
)
def test_what_cannot_be_had_is_said_and_no_bad_file_is_in_place(server: BadServer, name: str, sentence: str) -> None:
    """A clear sentence; at most a .partial for resuming."""
    with pytest.raises(DownloadError, match=sentence):
        download(server.url(name))
    assert f"{name}.bin" not in parts()


def test_a_wrong_hash_is_refused_and_removed(server: BadServer) -> None:
    """Nothing of it stays."""
    with pytest.raises(DownloadError, match="has SHA-256"):
        download(server.url("good"), "0" * 64)
    assert parts() == []


def test_a_file_that_changed_on_the_server_is_refused(server: BadServer) -> None:
    """The record of the first download outlives the file."""
    path = download(server.url("good"))
    path.unlink()
    record = path.with_name("good.bin.sha256")
    record.write_text("f" * 64 + "  good.bin\n")
    with pytest.raises(DownloadError, match="is not the file it was"):
        download(server.url("good"))


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

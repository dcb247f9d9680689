"""Fetching weights from a real server on loopback that misbehaves in every way it can."""

import concurrent.futures
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.badserver import BadServer
from pptsm.runtime.files import sha256_of
from pptsm.weights import download as module
from pptsm.weights.download import DownloadError, download, locate_weights
from pptsm.weights.registry import known_by_file, known_weights
from pptsm.weights.state_dict import WeightsError, read_weights

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


@pytest.mark.parametrize("how", ["", "-dated", "-fresh", "-weak", "-silent", "-deaf"])
def test_a_file_that_changed_half_way_is_fetched_anew(server: BadServer, how: str) -> None:
    """Two halves of two versions would be no file at all, however the server calls a version, or does not.

    What it calls the version is not asked for where that is no proof; and a server that sends the rest of another
    version all the same is not believed.
    """
    assert download(server.url(f"changed{how}")).read_bytes() == bytes(reversed(BODY))
    assert server.requests[f"changed{how}"] == (3 if how == "-deaf" else 2)
    assert (server.ranges[1] is None) == (how in ("-fresh", "-weak", "-silent"))


def test_a_date_that_is_sure_is_enough_to_resume(server: BadServer) -> None:
    """Servers of buckets often have no ETag that stands for the bytes."""
    assert download(server.url("dated")).read_bytes() == BODY
    assert server.ranges[1] is not None
    assert len(server.ranges) == 2
    assert parts() == ["dated.bin", "dated.bin.sha256"]


@pytest.mark.parametrize("name", ["shifted", "rangeless", "parts"])
def test_what_is_continued_elsewhere_is_no_continuation(server: BadServer, name: str) -> None:
    """From another byte, or from nobody knows where: anew. A rest that comes in parts is asked for part by part."""
    assert download(server.url(name)).read_bytes() == BODY
    assert (server.ranges[2] is None) == (name != "parts")


@pytest.mark.parametrize("name", ["huge", "endless"])
def test_what_is_too_large_is_refused(server: BadServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By what the server promises before a byte is written, or while it comes; nothing of it stays."""
    if name == "endless":
        monkeypatch.setattr(module, "MAX_BYTES", 3_000_000)
    with pytest.raises(DownloadError, match=r"bytes or more, and at most [\d,]+ are taken") as caught:
        download(server.url(name))
    assert caught.value.exit_code == 1
    assert server.requests[name] == 1
    assert parts() == []


def test_the_first_download_says_that_nobody_has_checked_it(
    server: BadServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with a whole hash, nor a second time; eight digits are some check, and called so."""
    download(server.url("good"))
    said = f"good.bin was not checked against a published hash, because no more of one is known: its SHA-256 {DIGEST}"
    assert said in capsys.readouterr().err
    download(server.url("good"))
    assert "published hash" not in capsys.readouterr().err
    download(server.url("once500"), DIGEST)
    assert "published hash" not in capsys.readouterr().err
    download(server.url("cut"), DIGEST[:8])
    assert "cut.bin was checked by the first 8 digits alone of a published hash" in capsys.readouterr().err


def test_a_servers_words_cannot_reach_the_terminal(server: BadServer) -> None:
    """Which would do what they say."""
    server.reason = "gone\x1b[2J\x1b]0;title\x07"
    with pytest.raises(DownloadError, match="the server answered 404 gone") as caught:
        download(server.url("404"))
    assert str(caught.value).isprintable()


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
    """PP-TSM: six files, PP-TSMv2: six, three of PaddleX, the fights, four TSM files, six ImageNet starts."""
    known = known_weights()
    assert len([name for name in known if "k400" in name]) == 19
    assert len([name for name in known if "imagenet" in name]) == 6
    assert "pptsm-r50-fight-dense" in known
    packaged = {name for name, row in known.items() if row.url is None}
    assert packaged == {"efficientnet-lite0-imagenet"}
    assert all(
        row.package and row.file and len(row.sha256 or "") == 64 for name, row in known.items() if name in packaged
    )
    assert all(row.url.startswith("https://") for row in known.values() if row.url is not None)
    assert all(row.note and row.place for row in known.values())
    assert all(row.published for name, row in known.items() if "imagenet" not in name)


def test_a_source_is_known_by_name_by_file_and_by_address() -> None:
    """What a file is called where it is published says which row it is; another name says nothing."""
    for source in (
        "pptsm-r50-k400-dense",
        "/downloads/ppTSM_k400_dense.pdparams",
        "https://videotag.bj.bcebos.com/PaddleVideo-release2.1/PPTSM/ppTSM_k400_dense.pdparams",
    ):
        row = known_by_file(source)
        assert row is not None
        assert row.name == "pptsm-r50-k400-dense"
    assert known_by_file("mine.pdparams") is None


def inference_archive(path: Path) -> Path:
    """A tar as PaddleX publishes it for serving, but for its size."""
    with tarfile.open(path, "w") as archive:
        for name in ("inference.json", "inference.pdiparams", "inference.yml"):
            entry = tarfile.TarInfo(f"PP-TSM-R50_8frames_uniform_infer/{name}")
            entry.size = len(BODY)
            archive.addfile(entry, io.BytesIO(BODY))
    return path


def test_an_inference_archive_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    """A tar of PaddleX, a ZIP of PaddleVideo: a static graph is nothing to train from."""
    tar = inference_archive(tmp_path / "PP-TSM-R50_8frames_uniform_infer.tar")
    with zipfile.ZipFile(tmp_path / "ppTSM_fight.zip", "w") as archive:
        archive.writestr("ppTSM/ppTSM.pdiparams", BODY[:1000])
    for path in (tar, tmp_path / "ppTSM_fight.zip"):
        with pytest.raises(
            WeightsError, match=r"inference archive.* MODEL_pretrained.pdparams in place of MODEL_infer"
        ):
            read_weights(path)


def test_another_tar_and_a_cut_one_are_no_weights(tmp_path: Path) -> None:
    """They get the sentence of a damaged file, and no stack trace."""
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("readme.txt"))
    cut = inference_archive(tmp_path / "whole.tar").read_bytes()[:700]
    (tmp_path / "cut.tar").write_bytes(cut)
    for name in ("other.tar", "cut.tar"):
        with pytest.raises(WeightsError, match="is no weights file, or is cut off"):
            read_weights(tmp_path / name)


def test_a_downloaded_inference_archive_is_not_kept(server: BadServer, tmp_path: Path) -> None:
    """Refused before it is in place; the next fetch starts anew."""
    server.body = inference_archive(tmp_path / "x_infer.tar").read_bytes()
    with pytest.raises(WeightsError, match="inference archive"):
        locate_weights(server.url("good"), None)
    assert parts() == []


@pytest.mark.parametrize("damage", [b"", b"3f2a", b"\xff\xfe\x00", b"no digest  good.bin\n", None])
def test_a_damaged_record_is_said_and_the_file_fetched_again(
    server: BadServer, damage: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half-written, other bytes, empty, a folder: the next download records anew."""
    record = download(server.url("good")).with_name("good.bin.sha256")
    record.unlink()
    if damage is None:
        record.mkdir()
    else:
        record.write_bytes(damage)
    assert download(server.url("good")).read_bytes() == BODY
    assert "good.bin.sha256 is damaged and removed" in capsys.readouterr().err
    assert record.read_text() == f"{DIGEST}  good.bin\n"
    assert len(server.ranges) == 2


def test_a_damaged_note_of_the_version_begins_the_transfer_anew(server: BadServer) -> None:
    """Bytes of which nobody knows the version are no beginning; nor can such a note be sent."""
    path = download(server.url("good"))
    path.rename(path.with_name("good.bin.partial"))
    path.with_name("good.bin.validator").write_bytes(b'"\n\xff')
    assert download(server.url("good")).read_bytes() == BODY
    assert server.ranges == [None, None]


@pytest.mark.parametrize("name", ["good.bin", "good.bin.partial", "good.bin.validator"])
def test_a_folder_in_the_place_of_a_download_is_removed(server: BadServer, name: str) -> None:
    """Nothing there is of any use."""
    path = download(server.url("good"))
    path.unlink()
    (path.with_name(name) / "in").mkdir(parents=True)
    assert download(server.url("good")).read_bytes() == BODY
    assert parts() == ["good.bin", "good.bin.sha256"]

"""Fetching weights: by known name, URL or file; resumed, retried, checked, and whole or absent.

The transfer itself is ours because it resumes: a file of 300 MB over a bad line goes on where it stopped, also days
later, and only if the server says that it is still the same file (If-Range: RFC 9110, sections 13.1.5 and 14). The
libraries for downloads begin anew.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.util.retry import Retry

from pptsm.runtime.console import note, one_line, progress
from pptsm.runtime.errors import TEMPORARY, UserError
from pptsm.runtime.files import atomic_file, naming_full_disk, put_in_place, remove, sha256_of, state_dir
from pptsm.weights.installed import installed_weights
from pptsm.weights.registry import known_weights
from pptsm.weights.state_dict import read_weights

CHUNK_BYTES = 1 << 16  # what is lost at most when a transfer breaks off
TIMEOUT_SEC = (10, 60)  # to connect, and between two packets
TRIES = 4  # a transfer that breaks off is resumed so often
MAX_BYTES = 1 << 30  # the largest published file has 0.4 GB; without a limit any server could fill the disk
LATER = (408, 425, 429)  # the server asks to come again
RECORD = re.compile(r"([0-9a-f]{64})  .*\n?")
ETAG = re.compile(r'"[!-~]*"')  # a weak one (W/"...") does not stand for the bytes
DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
DATE_IS_SURE = timedelta(seconds=60)  # a file may change twice within the second that its date names
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
RETRY = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)


class DownloadError(UserError):
    """A file could not be fetched, or is not what it should be."""


class TransferError(DownloadError):
    """The line or the server fails; later it may not."""

    exit_code = TEMPORARY


def locate_weights(source: str, sha256: str | None) -> Path:
    """The local file that `source` means, downloaded if need be.

    Args:
        source: a name in known_weights.yaml, a http(s) URL, or a path.
        sha256: what the file must hash to (or begin with), or None.

    Raises:
        DownloadError: no such file or name, or the transfer or the check failed.
        UserError: the package that has them is not installed (`installed_weights`).
    """
    if row := known_weights().get(source):
        if row.url is None:
            return installed_weights(str(row.package), str(row.file), sha256 or str(row.sha256))
        return download(row.url, sha256 or row.sha256, look=read_weights)
    if urlsplit(source).scheme in ("http", "https"):
        return download(source, sha256, look=read_weights)
    path = Path(source)
    if not path.is_file():
        raise DownloadError(
            f"no weights {source!r}: there is no such file (looked from {Path.cwd()}), and it is neither a URL nor "
            "a known name. `pptsm weights` lists the known names."
        )
    digest = _check(path, sha256, source)
    if sha256 is None:
        raise DownloadError(
            f"{path} is a local file, and DVC would not notice if it changed: write its SHA-256 beside it in "
            f"params.yaml (start.sha256): {digest}"
        )
    return path


def download(url: str, sha256: str | None = None, look: Callable[[Path], object] | None = None) -> Path:
    """Fetch a file into the state folder, unless it is there already.

    A transfer that breaks off is resumed where it stopped. The first download of a URL records its
    SHA-256 beside it, and every later use is held to that; where no hash was published for it, a line says so. What
    was damaged since is fetched again, as is a file whose record is damaged. Of two processes that want the same
    file, one waits for the other.

    Args:
        url: where the file is.
        sha256: what it must hash to (or begin with), or None.
        look: looks into the file before it is kept, and raises a UserError if it is not what it should be.

    Raises:
        TransferError: the server fails or the line breaks again and again.
        DownloadError: the server refuses, the file is larger than `MAX_BYTES`, or the hash is wrong.
        UserError: `look` refused.
    """
    name = Path(urlsplit(url).path).name or "weights"
    folder = state_dir(f"downloads/{hashlib.sha256(url.encode()).hexdigest()[:12]}")
    target, partial, record = folder / name, folder / f"{name}.partial", folder / f"{name}.sha256"
    with FileLock(folder / "lock"), naming_full_disk(partial):
        recorded = _recorded(record)
        for place in (target, partial, _validator_of(partial)):
            if place.is_dir():
                note(f"{place} is to be a file of a download, and is a folder: it is removed")
                remove(place)
        if target.exists() and recorded == sha256_of(target):
            _check(target, sha256, url)
            return target
        _transfer(url, partial)
        try:
            digest = _check(partial, sha256, url)
            if recorded not in (None, digest):
                raise DownloadError(
                    f"{url} is not the file it was: SHA-256 {digest} now, {recorded} at the first download. If the "
                    f"change is meant, delete {record}."
                )
            if look is not None:
                look(partial)
        except UserError:
            _discard(partial)
            raise
        with atomic_file(record) as whole:
            whole.write_text(f"{digest}  {name}\n", encoding="utf-8")
        put_in_place(partial, target)
        _validator_of(partial).unlink(missing_ok=True)
        if recorded is None and len(sha256 or "") < len(digest):
            checked = f"checked by the first {len(sha256)} digits alone of" if sha256 else "not checked against"
            note(
                f"{name} was {checked} a published hash, because no more of one is known: its SHA-256 {digest} "
                "is recorded, and later downloads are held to it. To check it yourself, compare it with another "
                "machine's or the publisher's."
            )
    return target


def _recorded(record: Path) -> str | None:
    """The SHA-256 of the first download; None where there was none, or its record is damaged and so removed."""
    try:
        found = RECORD.fullmatch(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (IsADirectoryError, UnicodeDecodeError):
        found = None
    if found is None:
        note(f"the record {record} is damaged and removed: its file is fetched again, and held to no earlier SHA-256")
        remove(record)
        return None
    return found[1]


def _transfer(url: str, partial: Path) -> None:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=RETRY))
    session.mount("https://", HTTPAdapter(max_retries=RETRY))
    problem = ""
    for _ in range(TRIES):
        try:
            problem = _transfer_once(session, url, partial)
        except requests.RequestException as error:
            problem = one_line(f"{type(error).__name__}: {str(error)[:200]}")
        if not problem:
            return
        note(f"download of {url}: {problem}")
    raise TransferError(
        f"cannot download {url} after {TRIES} tries: {problem}. What was received is kept for resuming."
    )


def _transfer_once(session: requests.Session, url: str, partial: Path) -> str:
    """One request from where the last one stopped; returns what went wrong, or nothing.

    What was received before is used only where the server confirms that it is the beginning of the same file: by the
    validator that came with it (If-Range), and by the range that the answer says it holds.
    """
    validator, have = _received(partial)
    # identity: with a compressed transfer neither lengths nor ranges would count the file's own bytes
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}  # a server with another version sends all of it
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SEC) as response:
        if response.status_code == 416:  # nothing to resume: start again
            _discard(partial)
            return "the server has no more bytes than were already received; starting again"
        if 400 <= response.status_code < 500 and response.status_code not in LATER:
            raise DownloadError(
                f"{url}: the server answered {response.status_code} {one_line(response.reason)}. Check the address."
            )
        if not response.ok:
            return f"the server answered {response.status_code} {one_line(response.reason)}"
        if response.status_code == 206:
            total = _total_of_the_rest(response.headers, have)
            if total is None or not have or _validator_in(response.headers) not in ("", validator):
                _discard(partial)
                said = one_line(response.headers.get("Content-Range", "no range"))
                return f"bytes from {have} on were asked for, and the server sent {said}, or of another file: anew"
        else:
            have = 0
            _discard(partial)
            promised = response.headers.get("Content-Length", "")
            total = int(promised) if re.fullmatch(r"\d{1,18}", promised) else None
            if validator := _validator_in(response.headers):
                _validator_of(partial).write_text(validator, encoding="latin-1")
        _require_small(url, partial, total or 0)
        got = have
        with (
            partial.open("ab" if have else "wb") as file,
            progress(None, partial.stem, "B", total, unit_scale=True, initial=have) as bar,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                got += len(chunk)
                _require_small(url, partial, got)
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and got != total:
        return f"{got} of {total} bytes came"
    return ""


def _received(partial: Path) -> tuple[str, int]:
    """What can be resumed: the validator of the file and the bytes so far; nothing of a file without a validator."""
    try:
        validator = _validator_of(partial).read_text(encoding="latin-1")
        have = partial.stat().st_size
    except FileNotFoundError:
        validator, have = "", 0
    if ETAG.fullmatch(validator) or DATE.fullmatch(validator):
        return validator, have
    _discard(partial)  # of which version the bytes are nobody knows
    return "", 0


def _total_of_the_rest(headers: CaseInsensitiveDict[str], have: int) -> int | None:
    """Bytes of the whole file by the header of a partial answer; None where that does not go on from `have`."""
    found = CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    total = last + 1 if found[3] == "*" else int(found[3])
    return total if first == have <= last < total else None


def _validator_in(headers: CaseInsensitiveDict[str]) -> str:
    """What a server calls this version of a file: a strong ETag, else a date that is sure; "" where it has neither."""
    etag, changed = str(headers.get("ETag", "")), str(headers.get("Last-Modified", ""))
    if ETAG.fullmatch(etag):
        return etag
    try:
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(changed)
    except (KeyError, ValueError, TypeError):
        return ""
    return changed if DATE.fullmatch(changed) and age >= DATE_IS_SURE else ""


def _require_small(url: str, partial: Path, size: int) -> None:
    if size > MAX_BYTES:
        _discard(partial)
        raise DownloadError(
            f"{url} has {size:,} bytes or more, and at most {MAX_BYTES:,} are taken: no published weights are so "
            "large. Check the address; what is meant to be larger, download by other means and name the file."
        )


def _discard(partial: Path) -> None:
    """Remove what came of a download so far."""
    partial.unlink(missing_ok=True)
    _validator_of(partial).unlink(missing_ok=True)


def _validator_of(partial: Path) -> Path:
    """Where the server's name for the version of what was received so far is kept: an ETag or a date."""
    return partial.with_suffix(".validator")


def _check(path: Path, sha256: str | None, origin: str) -> str:
    digest = sha256_of(path)
    if sha256 is not None and not digest.startswith(sha256):
        raise DownloadError(
            f"{origin} has SHA-256 {digest}, but {sha256} is required: it is another or a damaged file."
        )
    return digest

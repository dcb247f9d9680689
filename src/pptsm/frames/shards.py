"""Frame archives of many clips in one file, a shard: for storage that is asked over a network, where each file costs.

A shard is a ZIP without compression whose members are the clips' archives, byte for byte; so a clip is read at its
place in the shard as from a file of its own. Which shard a clip is in, its id alone says: one more video changes one
shard. A member's comment says what it holds, by the name of its archive in the store; the shard's says that it is one.
"""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pptsm.frames.archive import DAMAGE, EXTRACT_AGAIN, FIXED_DATE, Place, archive_name
from pptsm.runtime.files import atomic_file
from pptsm.video.types import VideoError

KIND = "frame archives of clips"  # what the comment of a shard has under "kind"
NAMED = r"\d{5}-of-(\d{5})\.zip"
COPIED_BYTES = 1 << 20  # at once
DIRECTORIES = 4096  # of shards, kept by each process: about 100 bytes a clip


class Member(NamedTuple):
    """A clip that goes into a shard."""

    clip_id: str
    file: Path  # its archive, whose name says what it holds


def shard_name(clip_id: str, shards: int) -> str:
    """Path below the frames folder of the shard of a row of the index."""
    number = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % shards
    return f"{number:05d}-of-{shards:05d}.zip"


def shards_in(folder: Path) -> int | None:
    """Of how many shards a folder of frames is one; None where it has none."""
    if not folder.is_dir():
        return None
    for file in sorted(folder.glob("*-of-*.zip")):
        found = re.fullmatch(NAMED, file.name)
        if found and _is_shard(file):
            return int(found[1])
    return None


def place_in_shard(folder: Path, clip_id: str, shards: int) -> Place:
    """Where a clip's archive is.

    Raises:
        VideoError: the shard is missing, damaged or something else, or the clip is not in it.
    """
    file = folder / shard_name(clip_id, shards)
    try:
        facts = file.stat()
        directory = _directory(file, facts.st_size, facts.st_mtime_ns)
    except FileNotFoundError:
        raise VideoError(f"there is no {file}") from None
    except DAMAGE as error:
        raise VideoError(f"{file}: {error}") from None
    if clip_id not in directory:
        raise VideoError(f"{file}: this shard has {len(directory)} clips, but not this one; {EXTRACT_AGAIN}")
    return directory[clip_id]


def clips_in(file: Path) -> dict[str, Place] | None:
    """The clips of a shard by their ids; None where the ZIP is none.

    Raises:
        VideoError: the file is missing or damaged.
    """
    try:
        facts = file.stat()
        return _directory(file, facts.st_size, facts.st_mtime_ns) if _is_shard(file) else None
    except DAMAGE as error:
        raise VideoError(f"{file}: {error}") from None


def _is_shard(file: Path) -> bool:
    """Whether a file ends as a shard does; a frame archive's comment is another, also where a clip has such a name."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - len(_comment())))
        return opened.read() == _comment()


@lru_cache(DIRECTORIES)
def _directory(file: Path, size: int, changed_ns: int) -> dict[str, Place]:  # noqa: ARG001  another file has others
    with zipfile.ZipFile(file) as shard:
        if shard.comment != _comment():
            raise zipfile.BadZipFile("it is no shard of frame archives")
        infos = shard.infolist()
        ends = [*(info.header_offset for info in infos[1:]), shard.start_dir]  # a content ends where the next begins
    suffix = archive_name("")
    return {
        info.filename.removesuffix(suffix): Place(file, end - info.file_size, info.file_size)
        for info, end in zip(infos, ends, strict=True)
    }


def write_shard(file: Path, members: Iterable[Member]) -> None:
    """Write a shard; the same members give the same bytes. It is whole or absent, but for a power cut.

    Raises:
        OSError: an archive cannot be read, or the shard not be written.
    """
    with (
        atomic_file(file, settle=False) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as shard,
    ):
        shard.comment = _comment()
        for member in sorted(members):
            info = zipfile.ZipInfo(archive_name(member.clip_id), FIXED_DATE)
            info.comment, info.file_size = member.file.name.encode(), member.file.stat().st_size
            with member.file.open("rb") as archive, shard.open(info, "w") as place:
                shutil.copyfileobj(archive, place, COPIED_BYTES)


def taken_out(shard: Path, wanted: Collection[Path]) -> int:
    """Write those archives that are not there, and of which a shard has a whole one, as files again; how many.

    Args:
        shard: an older form of a shard; what is damaged in it is passed over.
        wanted: the archives, as `Member.file`.
    """
    missing = {file.name: file for file in wanted if not file.exists()}
    count = 0
    with suppress(*DAMAGE), zipfile.ZipFile(shard) as archive:
        for info in archive.infolist():
            file = missing.get(info.comment.decode(errors="replace"))
            if file is None:
                continue
            with suppress(*DAMAGE), atomic_file(file, settle=False) as partial:
                with archive.open(info) as content, partial.open("wb") as place:
                    shutil.copyfileobj(content, place, COPIED_BYTES)  # checks the sum at the end
                count += 1
    return count


def _comment() -> bytes:
    return json.dumps({"kind": KIND}).encode()

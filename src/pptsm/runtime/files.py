"""Outputs that are whole or absent, and the folder for everything that outlives a run."""

import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pptsm.runtime.dvc_yaml import expanded
from pptsm.runtime.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_BYTES = 1 << 16  # with less free space than this a writer's error is taken for that of a full disk
UNLOCKED_SEC = 24 * 3600  # where a file system has no locks, a partial that is older is nobody's
SETTLERS = 16  # threads: 800 small files are on the disk in 0.2 s, with one in 3 s
FEW = 16  # files; so many take no threads, whose memory a training may have used up
LOCK, BEFORE = ".pptsm_lock", ".pptsm_before"  # in a partial's folder, beside what is made: the output there was
CACHE = ("files", "md5")  # in DVC's cache a file is files/md5/01/23456789...
MARKER = ".made_by_pptsm"  # in folders that no dvc.yaml names; in DVC's outputs it would be one file more
MARKED = "A pptsm command wrote this folder. Named as its output again, it is replaced with all that is in it.\n"


@contextmanager
def atomic_file(path: Path, *, settle: bool = True) -> Iterator[Path]:
    """Give a temporary name; on success it becomes `path` in one step, on failure it is removed.

    Args:
        path: its folder is made if need be.
        settle: whether it is on the disk before it has its name, so that no power cut leaves half of it. Without, who
            reads the file must see whether it is whole.

    Raises:
        UserError: as `require_writable`, or a file is in the place of its folder.
        OSError: the disk is full, whatever the writer called that.
    """
    path = require_writable(path)
    with _partial(path) as partial:
        yield partial
        if settle:
            put_in_place(partial, path)
        else:
            partial.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success it replaces `path`, on failure it is removed.

    Raises:
        UserError: as `require_replaceable`.
        OSError: as `atomic_file`.
    """
    require_replaceable(path)
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        if not _is_of_graph(path):
            (partial / MARKER).write_text(MARKED, encoding="utf-8")
        _settle_all([each for each in partial.rglob("*") if not each.is_symlink()])
        if path.exists():
            path.rename(partial.with_name(BEFORE))
        put_in_place(partial, path)


def require_writable(path: Path) -> Path:
    """Where a file is to be written that a command's output names: `path`, or what it links to.

    A file that has its name in one step takes the place of whatever had it: of a device, of a pipe that somebody reads
    from, of a link that somebody has made on purpose. So only a regular file is replaced, and a link keeps leading to
    it. Links into DVC's cache alone are replaced themselves: what they lead to is not this output's (cache.type).

    Raises:
        UserError: a folder, a device, a pipe or a socket is there, or the link leads to where no file can be.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        mode = path.stat().st_mode  # of what a link leads to
    except (FileNotFoundError, NotADirectoryError):
        if target is not path and not target.parent.is_dir():
            raise UserError(
                f"{path} is a link to {target}, and there is no folder {target.parent}. Make that, or remove the link."
            ) from None
        return target
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is to be a file, but a folder is there. Name another file, or move the folder away.")
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"))
        kind = next((name for is_it, name in kinds if is_it(mode)), "a device")
        raise UserError(f"{path} is to be a file, but {kind} is there, which nothing may replace. Name a file.")
    return path if target.parts[-4:-2] == CACHE else target


def put_in_place(partial: Path, path: Path) -> None:
    """Rename what is finished to its name, both on the disk when this returns."""
    _settle(partial)
    partial.replace(path)
    _settle(path.parent)


def _settle_all(paths: list[Path]) -> None:
    if len(paths) <= FEW:
        for path in paths:
            _settle(path)
    else:
        with ThreadPoolExecutor(SETTLERS) as pool:
            list(pool.map(_settle, paths))


def _settle(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A name for `path` while it is made: in a folder beside it that is locked until this ends.

    Whatever a process dies of, the kernel takes its locks back, also where its number means nothing: in another
    container. So a partial that is not locked is nobody's, and the next writer of `path` removes it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"cannot write {path}: {path.parent} is no folder. Name another place.") from None
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        _remove_if_nobodys(left)
    folder, lock = _locked_folder(path)
    try:
        with naming_full_disk(path):
            yield folder / path.name
    finally:
        lock.release()  # first: some file systems keep a folder with an open file in it
        shutil.rmtree(folder, ignore_errors=True)  # another writer may be at it, too


def _locked_folder(path: Path) -> tuple[Path, FileLock]:
    while True:
        folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        folder.mkdir()
        lock = _lock_of(folder)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):  # in the moment before it was locked another took it for nobody's
            continue
        except OSError:  # no locks here: it is too young to be removed
            pass
        return folder, lock


def _remove_if_nobodys(left: Path) -> None:
    lock = _lock_of(left)
    try:
        lock.acquire()
    except (Timeout, FileNotFoundError):  # somebody writes it, or removes it
        return
    except OSError:
        if time.time() - left.lstat().st_mtime < UNLOCKED_SEC:
            return
    lock.release()
    remove(left)


def _lock_of(partial: Path) -> FileLock:
    return FileLock(partial / LOCK, blocking=False, fallback_to_soft=False)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn whatever says that the disk below `path` is full into OSError(ENOSPC) with a name.

    A write to an open file names none, and SQLite, Paddle and others have errors of their own.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = isinstance(error, OSError) and error.errno in FULL
        if isinstance(error, OSError) and said and error.filename:
            raise
        if said or shutil.disk_usage(path.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def require_replaceable(path: Path) -> Path:
    """`path`, if nothing of the user's is lost when a command's output takes its place.

    So it is if `path` is absent, empty, in an output of the dvc.yaml of the working folder, holds such outputs alone,
    or was written by a command before.

    Raises:
        UserError: it is something else, or a link.
    """
    if path.is_symlink():
        raise UserError(
            f"{path} is to be a folder, but is a link to {os.path.realpath(path)}: whichever of the two took the "
            "output's place, the other would be lost. Name the folder itself, or remove the link."
        )
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is to be a folder, but a file is there. Name another folder, or move the file away.")
    found = sorted(path.iterdir()) if path.is_dir() else []
    outputs = _outputs()
    if not found or path / MARKER in found or _is_in(path, outputs):
        return path
    if others := [each.name for each in found if each.is_dir() or _place(each) not in outputs]:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise UserError(
            f"{path} would be replaced with all that is in it ({shown}), and it is neither an output of the dvc.yaml "
            f"in {Path.cwd()} nor was it written by such a command. Name another folder, or empty this one."
        )
    return path


def is_output(path: Path) -> bool:
    """Whether a path is, or lies in, what the stages of the dvc.yaml in the working folder write."""
    return _is_in(path, _outputs())


def _is_of_graph(path: Path) -> bool:
    outputs = _outputs()
    return _is_in(path, outputs) or _place(path) in {output.parent for output in outputs}


def _is_in(path: Path, outputs: set[Path]) -> bool:
    place = _place(path)
    return not outputs.isdisjoint((place, *place.parents))


def _outputs() -> set[Path]:
    """What the stages of the dvc.yaml in the working folder write."""
    if not Path("dvc.yaml").is_file():
        return set()
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = expanded(YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]).values()
    except (OSError, ValueError, YAMLError, TypeError, AttributeError, KeyError):
        return set()
    outputs = [out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return {_place(Path(next(iter(out)) if isinstance(out, dict) else out)) for out in outputs}


def _place(path: Path) -> Path:
    """Where a path is, however it is written; what is a link itself stays one."""
    return path.absolute().parent.resolve() / path.name


def remove(path: Path) -> None:
    """Remove a file, or a folder with what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_home() -> Path:
    """The folder of all that outlives a run: `PPTSM_STATE`, or `.pptsm` below the working folder."""
    return Path(os.environ.get("PPTSM_STATE") or ".pptsm")


def cache_home() -> Path:
    """The folder of what may be forgotten, and holds for all working folders of a user: what was measured of a machine.

    `PPTSM_CACHE`, or `pptsm` in the cache folder of the user (XDG Base Directory Specification).
    """
    if chosen := os.environ.get("PPTSM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pptsm"


def state_dir(kind: str) -> Path:
    """The folder for finished work that later runs may take up: probes, frame archives, training states.

    It is no output of any stage, so DVC leaves it alone when it empties a stage's outputs. Everything in
    it is keyed by content; it may be deleted at any time and costs only work done again.

    Raises:
        UserError: a file is in its place.
    """
    folder = state_home() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"finished work is to be kept in {folder}, but a file is in its place: move that away, or set PPTSM_STATE."
        ) from None
    return folder

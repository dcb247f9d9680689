"""StoredAs frames lie on the disk once: as links of the store, of a stage's output and of DVC's cache."""

import hashlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HASHERS = 4  # threads: hashing leaves Python alone
READ_ONLY = 0o444  # as DVC has the files of its cache


def share_with_dvc(folder: Path, out: Path) -> None:
    """Where DVC runs this command, link the files below `folder` into DVC's cache, before DVC would copy them there.

    DVC hashes what a stage wrote, and copies what its cache has not; of what it has as a link it makes nothing
    anew (docs/decisions/0008). On another file system than the cache's, DVC copies. Hashes are kept where DVC keeps
    those of its outputs: neither reads a file again that it or the other has read.

    Args:
        folder: the files, before they are in their place.
        out: that place.
    """
    root = os.environ.get("DVC_ROOT")  # set by DVC for the commands of its stages
    files = {str(out.absolute() / path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    if root is None or not files:
        return
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_objects.fs.local import LocalFileSystem

    disk = LocalFileSystem()
    facts = {place: disk.info(str(path)) for place, path in files.items()}
    with Repo(root) as repo, ThreadPoolExecutor(HASHERS) as pool:
        known = {place: said for place, _, said in repo.state.get_many(files, disk, facts) if said}
        fresh = [place for place in files if place not in known]
        known |= zip(fresh, (HashInfo("md5", md5) for md5 in pool.map(_md5_of, map(files.get, fresh))), strict=True)
        try:
            for place, path in files.items():
                _link_over(path, Path(repo.cache.local.oid_to_path(known[place].value)))
        except OSError:
            return
        repo.state.save_many([(place, known[place], facts[place]) for place in fresh], disk)


def _link_over(path: Path, cached: Path) -> None:
    """Make `cached` a link to this file, also in place of one of the same hash: that may be damaged, this was read."""
    if cached.exists() and cached.samefile(path):
        return
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_name(f"{cached.name}.{secrets.token_hex(4)}.tmp")
    os.link(path, partial)
    partial.chmod(READ_ONLY)
    partial.replace(cached)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

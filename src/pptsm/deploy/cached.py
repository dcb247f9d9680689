"""What DVC's cache has of an output that is written again."""

import hashlib
import os
from pathlib import Path


def drop_damaged_copies(folder: Path) -> None:
    """Where DVC runs this command, remove from its cache what has the name of one of these files, but other bytes.

    DVC names a cached file by its hash and keeps one that it has: of an output that is computed again, equal to the
    bit, a damaged copy would stay, and `dvc checkout` would hand it out.

    Args:
        folder: the files as they should be.
    """
    root = os.environ.get("DVC_ROOT")  # set by DVC for the commands of its stages
    if root is None:
        return
    from dvc.repo import Repo

    with Repo(root) as repo:
        for path in folder.rglob("*"):
            if path.is_file():
                cached = Path(repo.cache.local.oid_to_path(digest := _md5_of(path)))
                if cached.is_file() and _md5_of(cached) != digest:
                    cached.unlink()


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

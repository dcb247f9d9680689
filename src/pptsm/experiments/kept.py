"""Files of stages as they were at a revision: out of DVC's cache where they lie there, fetched by DVC where not."""

from functools import cached_property
from pathlib import Path
from typing import Any

from pptsm.experiments.graph import LOCK
from pptsm.experiments.revisions import ASK_TIMEOUT_SEC, bytes_of, yaml_at
from pptsm.orchestration.running import CommandError, lines_of


class Kept:
    """What the stages of a checkout wrote, at any of its revisions.

    `dvc get` takes seconds a file; what dvc.lock and the cache have of it is read at once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: dict[str | None, dict[str, Any]] = {}

    def read(self, path: str, revision: str | None) -> bytes | None:
        """The content of a file at a revision (None: in the checkout); None where it is nowhere."""
        if revision is None:
            file = self.root / path
            return file.read_bytes() if file.is_file() else None
        digest = self.digest(path, revision)
        if digest is not None and (cached := self._cache / "files/md5" / digest[:2] / digest[2:]).is_file():
            return cached.read_bytes()
        try:
            return bytes_of(self.root, path, revision)
        except CommandError:
            return None

    def digest(self, path: str, revision: str | None) -> str | None:
        """What an output hashes to by dvc.lock at a revision; None where it stands in none."""
        outs = [out for stage in self._lock(revision).values() for out in stage.get("outs", [])]
        found = next((out.get("md5") for out in outs if out.get("path") == path), None)
        return str(found) if found else None

    def digests(self, revision: str | None) -> dict[str, str]:
        """Output -> hash, of all that dvc.lock has at a revision."""
        outs = [out for stage in self._lock(revision).values() for out in stage.get("outs", [])]
        return {out["path"]: str(out["md5"]) for out in outs if out.get("md5")}

    def _lock(self, revision: str | None) -> dict[str, Any]:
        if revision not in self._locks:
            self._locks[revision] = (yaml_at(self.root, LOCK, revision) or {}).get("stages", {})
        return self._locks[revision]

    @cached_property
    def _cache(self) -> Path:
        """The folder of DVC's cache, wherever `cache.dir` and links put it."""
        said = list(lines_of(["dvc", "cache", "dir"], cwd=self.root, timeout_sec=ASK_TIMEOUT_SEC))
        return self.root / said[-1] if said else self.root / ".dvc/cache"

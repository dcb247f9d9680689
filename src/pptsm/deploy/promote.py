"""A package in the place of the one in service: compared on the same videos, exchanged in one step, and back again.

The folder in service is a link to one of the copies beside it; the former copy is kept, so that undoing is one step
too.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from pptsm.deploy.package import MODEL_FILE, SUMS_FILE
from pptsm.evaluation.paired import mcnemar_p
from pptsm.evaluation.statistics import Gain, gain_over
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import sha256_of
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.parity import serve

REMEDY = "`dvc repro --force --single-item package` makes it anew."


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same videos; a video without an answer was not recognised."""

    videos: int
    challenger: float  # share of videos recognised
    champion: float
    gain: Gain
    p_value: float  # of the exact test of McNemar: how likely so uneven a difference is between equals

    def is_worse(self, may_lose: float) -> bool:
        """Whether the challenger recognises a larger share less than it may lose; NaN would be worse."""
        return not self.gain.gain >= -may_lose - 1e-12

    def in_words(self) -> str:
        """The line of the log."""
        return (
            f"challenger {self.challenger:.2%}, in service {self.champion:.2%} of the same {self.videos} videos: "
            f"{self.gain.in_words()}, p = {self.p_value:.3g} (McNemar, exact)"
        )


def compare(right_N: NDArray[np.bool_], champion_right_N: NDArray[np.bool_], groups_N: list[str]) -> Comparison:
    """Compare by which videos each recognised; N at least 1."""
    won, lost = int((right_N & ~champion_right_N).sum()), int((~right_N & champion_right_N).sum())
    shares = float(right_N.mean()), float(champion_right_N.mean())
    return Comparison(len(right_N), *shares, gain_over(right_N, champion_right_N, groups_N), mcnemar_p(won, lost))


def recognised(package: Path, root: Path, videos: pd.DataFrame, frame_name: str | None) -> NDArray[np.bool_]:
    """[N]: which of the original videos a package's model recognises, asked as `pptsm predict` asks it.

    Args:
        package: the folder.
        root: folder of the videos.
        videos: rows of the index.
        frame_name: of the frames, where a video is a folder of them.

    Raises:
        UserError: the package is not as it was made, or it answered nothing.
    """
    check_sums(package)
    model = package / MODEL_FILE
    truth = videos[["id", "label"]].assign(top1=videos["label"], score1=1.0)
    served = serve(model, root, videos, truth, ModelMetadata.of_file(model).clip.sampling, frame_name)
    served.require_answers()
    return np.asarray(served.answers["served"] == served.answers["label"])


def check_sums(package: Path) -> None:
    """Check all files of a package.

    Raises:
        UserError: it is no package, or a file is missing or is not as it was packaged.
    """
    try:
        lines = (package / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{package} is no package: its {SUMS_FILE} cannot be read ({error}). {REMEDY}") from None
    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if MODEL_FILE not in said or any("/" in name or name in ("", "..") for name in said):
        raise UserError(f"{package / SUMS_FILE} is no list of a package's files: {MODEL_FILE} is not in it. {REMEDY}")
    for name, digest in said.items():
        file = package / name
        if not file.is_file() or sha256_of(file) != digest:
            found = "has another hash" if file.is_file() else "is missing"
            raise UserError(f"{file} is not as it was packaged: it {found}. Nothing was changed. {REMEDY}")


def in_service(folder: Path) -> bool:
    """Whether a package is in service.

    Raises:
        UserError: something is there that no promotion put there.
    """
    if folder.is_symlink():
        return folder.is_dir()
    if folder.exists():
        raise UserError(
            f"{folder} is to be a link to the package in service, but something else is there. Move it away, or name "
            "another folder (--folder, serving.folder)."
        )
    return False


def same_package(one: Path, other: Path) -> bool:
    """Whether two packages have the same files."""
    sums = [folder / SUMS_FILE for folder in (one, other)]
    return all(file.is_file() for file in sums) and sums[0].read_bytes() == sums[1].read_bytes()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other promotion works on this folder, and keep others out."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def put_in_service(package: Path, folder: Path) -> None:
    """Copy a package beside the folder and lead the folder to it, in one step; the former copy is kept.

    Raises:
        UserError: as `check_sums` and `in_service`.
    """
    in_service(folder)
    copies = _copies(folder)
    copies.mkdir(parents=True, exist_ok=True)
    copy = copies / secrets.token_hex(6)
    partial = copy.with_name(f".{copy.name}")
    try:
        shutil.copytree(package, partial)
        check_sums(partial)  # of the copy: what is checked is what is served
        partial.rename(copy)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if folder.is_symlink():
        _lead(_former(folder), folder.resolve())
    _lead(folder, copy)
    kept = {link.resolve() for link in (folder, _former(folder)) if link.is_symlink()}
    for other in copies.iterdir():
        if other.resolve() not in kept:
            shutil.rmtree(other, ignore_errors=True)


def undo(folder: Path) -> None:
    """Lead the folder to the former package; undone twice, it is as before.

    Raises:
        UserError: there is none, or it is not as it was packaged.
    """
    former = _former(folder)
    if not in_service(folder) or not former.is_dir():
        raise UserError(f"there is no former package of {folder} to go back to: looked for {former}. Nothing changed.")
    now, before = folder.resolve(), former.resolve()
    check_sums(before)
    _lead(folder, before)
    _lead(former, now)


def _copies(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.packages")


def _former(folder: Path) -> Path:
    return _copies(folder).with_name(f".{folder.name}.former")


def _lead(link: Path, to: Path) -> None:
    """Make a link, or lead it elsewhere, in one step; relative, so that the folder around it can be moved."""
    fresh = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    fresh.symlink_to(os.path.relpath(to, link.parent.resolve()))
    fresh.replace(link)

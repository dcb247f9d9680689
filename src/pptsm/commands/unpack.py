"""StoredAs frames as folders of loose JPEGs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import OutFolder

if TYPE_CHECKING:
    pass


def unpack(
    frames: Annotated[Path, typer.Argument(help="Folder of frame archives, as stage frames writes it.")],
    out: OutFolder,
) -> None:
    """Turn archives into folders of loose JPEGs (CLASS/VIDEO/img_00001.jpg), byte for byte, for tools that need them.

    Archives that lie in shards (frames.shards) are found there.

    With index.root set to that folder and index.frame_name to img_%05d.jpg the pipeline reads them again.
    """
    from pptsm.frames.archive import EXTRACT_AGAIN, Place, archive_name, unpack
    from pptsm.frames.shards import clips_in
    from pptsm.frames.store import call_damaged
    from pptsm.runtime.console import progress, say
    from pptsm.runtime.files import atomic_folder
    from pptsm.video.types import VideoError

    suffix = archive_name("")
    files = sorted(path for path in frames.rglob(f"*{suffix}") if path.is_file())
    if not files:
        raise UserError(
            f"no archive in {frames}: looked for files that end in {suffix} in it and its folders. With frames.source: "
            "archive, `dvc repro frames` makes them."
        )
    count = clips = 0
    with atomic_folder(out) as folder:
        for file in progress(files, "unpack", "files"):
            name = file.relative_to(frames).as_posix().removesuffix(suffix)
            try:
                archives = clips_in(file) or {name: Place(file)}
                count += sum(unpack(place, folder / clip) for clip, place in archives.items())
            except VideoError as error:
                call_damaged(file)
                raise UserError(f"cannot unpack {error}. {EXTRACT_AGAIN} mends it.") from None
            clips += len(archives)
    say(f"{out}: {count} frames of {clips} archives")

"""The split as lists of another toolbox."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pptsm.stages.options import OutFolder

if TYPE_CHECKING:
    pass

DEFAULT_INDEX, DEFAULT_LABELS = Path("data/index.csv"), Path("data/labels.txt")


def lists(
    toolbox: Annotated[
        Literal["paddlevideo", "paddlex", "mmaction2"],
        typer.Option("--format", help="The toolbox whose lists to write."),
    ],
    out: OutFolder,
    index: Annotated[Path, typer.Option(help="Index that stage index wrote.")] = DEFAULT_INDEX,
    labels: Annotated[Path, typer.Option(help="Class names that stage index wrote.")] = DEFAULT_LABELS,
    frames: Annotated[
        bool, typer.Option("--frames", help="List folders of frames, as `pptsm unpack` makes them.")
    ] = False,
) -> None:
    """Write the split as lists of another toolbox, to run it on the same clips.

    Refused is what such lists cannot hold: parts of files, and paths with spaces.
    """
    from pptsm.data.table import load_index, load_labels
    from pptsm.ingest.export_lists import lists_for
    from pptsm.runtime.console import note, say
    from pptsm.runtime.files import atomic_folder

    table = load_index(index)
    texts, notes = lists_for(toolbox, table, load_labels(labels, table), frames)
    with atomic_folder(out) as partial:
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
    for name, text in texts.items():
        say(f"{out / name}: {text.count(chr(10))} lines")
    for line in notes:
        note(f"lists: {line}")
    if toolbox == "paddlex":
        note(f"lists: the paths begin with videos/: link the videos there, `ln -s ROOT {out}/videos`")
    else:
        note(
            f"lists: the paths are below {'the unpacked frames' if frames else 'index.root'}: that is their data prefix"
        )

"""Which format the files of index.annotations have, where index.format leaves it to them."""

import io
import re
from pathlib import Path

from pptsm.errors import UserError
from pptsm.ingest.annotations import kinetics, lists, own, ucf101
from pptsm.ingest.annotations.reading import SPLIT_NUMBER, read_text
from pptsm.params import AnnotationFormat


def format_of(files: list[Path]) -> AnnotationFormat:
    """The format that names and first lines show.

    Raises:
        UserError: they show none.
    """
    if by_name := _by_names(files):
        return by_name
    first = [_first_line(file) for file in files]
    header = {cell.strip(' "').lower() for cell in re.split("[,;\t]", first[0])}
    if header.issuperset(kinetics.NEEDED):
        return "kinetics"
    if header & set(own.NEEDED):
        return "csv"
    if all(lists.LINE.fullmatch(line) for line in first):
        return "list"
    if all(ucf101.LISTED.fullmatch(line) for line in first):
        return "ucf101"
    raise UserError(
        f"index.annotations: no format begins like {files[0].name}, whose first line is {first[0][:120]!r}. A table of "
        'your own has "path,label" in it; index.format names another one (docs/coming_from.md).'
    )


def _by_names(files: list[Path]) -> AnnotationFormat | None:
    if any(file.suffix.lower() == ".json" for file in files):
        return "ssv2"
    if any(lists.is_labels(file) for file in files):
        return "paddlex"
    if any(ucf101.OFFICIAL.match(file.name) or ucf101.is_order(file) for file in files):
        return "ucf101"
    if any(SPLIT_NUMBER.search(file.stem) for file in files):
        return "hmdb51"
    return None


def _first_line(file: Path) -> str:
    for line in io.StringIO(read_text(file)):
        if line.strip():
            return line.strip()
    raise UserError(f"the annotations {str(file)!r} are empty.")

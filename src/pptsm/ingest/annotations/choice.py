"""Which format the files of index.annotations have, where index.format leaves it to them."""

import re
from pathlib import Path

from pptsm.ingest.annotations import kinetics, lists, own, ucf101
from pptsm.ingest.annotations.reading import HMDB51, read_lines
from pptsm.params.schema import AnnotationFormat
from pptsm.runtime.errors import UserError


def format_of(files: list[Path], frames: bool) -> AnnotationFormat:
    """The format that names and lines show; what does not fit it, its reader refuses.

    Args:
        files: as `annotation_files` gives them.
        frames: whether the root has folders of frames.

    Raises:
        UserError: they show none.
    """
    texts = {file: _lines(file) for file in files if file.suffix.lower() != ".json"}
    headers = {file: {cell.strip(' "').lower() for cell in re.split("[,;\t]", text[0])} for file, text in texts.items()}
    of_kinetics = [file for file, header in headers.items() if header.issuperset(kinetics.NEEDED)]
    if of_kinetics and len(of_kinetics) == len(texts):
        return "kinetics"  # with or without the same as JSON
    if by_name := _by_names(files):
        return by_name
    if files[0] in of_kinetics:
        return "kinetics"
    if headers[files[0]] & set(own.NEEDED):
        return "csv"
    return _by_lines(texts, frames)


def _by_lines(texts: dict[Path, list[str]], frames: bool) -> AnnotationFormat:
    kinds = [{lists.parse(line, frames, lambda _: False).kind for line in text} for text in texts.values()]
    lines = [line for text in texts.values() for line in text]
    # of UCF101's lists one has numbers and the other has none
    if {"none"} in kinds and all(len(of_file) == 1 for of_file in kinds) and ucf101.fits(lines):
        return "ucf101"
    if set().union(*kinds) - {"none"}:
        return "list"
    first, text = next(iter(texts.items()))
    raise UserError(
        f"index.annotations: no format begins like {first.name}, whose first line is {text[0][:120]!r}. A table of "
        'your own has "path,label" in it; index.format names another one (docs/coming_from.md).'
    )


def _by_names(files: list[Path]) -> AnnotationFormat | None:
    if any(file.suffix.lower() == ".json" for file in files):
        return "ssv2"
    if any(lists.is_labels(file) for file in files):
        return "paddlex"
    if any(ucf101.OFFICIAL.match(file.name) or ucf101.is_order(file) for file in files):
        return "ucf101"
    if all(HMDB51.search(file.stem) for file in files):
        return "hmdb51"
    return None


def _lines(file: Path) -> list[str]:
    lines: list[str] = read_lines(file)["text"].tolist()
    if not lines:
        raise UserError(f"the annotations {str(file)!r} are empty.")
    return lines

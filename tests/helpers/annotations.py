"""Annotation files of a few lines, and what is read of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import params_with
from pptsm.ingest.annotations import annotated_labels, read_annotations
from pptsm.ingest.index import plan_index
from pptsm.runtime.errors import UserError

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text file, in new folders if need be, and gives its name."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return str(path)

    return written


def read(annotations: object, found: list[str] | None = None, **changes: object) -> pd.DataFrame:
    """The clips by path."""
    params = params_with(index={"root": "videos", "annotations": annotations, **changes}).index
    return read_annotations(params, found or []).set_index("path")


def labels(annotations: object, found: list[str] | None = None, **changes: object) -> list[str] | None:
    """The order that the annotations give."""
    params = params_with(index={"root": "videos", "annotations": annotations, **changes}).index
    return annotated_labels(params, found or [])


def refused(sentence: str, annotations: object, found: list[str] | None = None, **changes: object) -> str:
    """The sentence with which these annotations are refused."""
    with pytest.raises(UserError, match=sentence) as error:
        read(annotations, found, **changes)
    return str(error.value)


TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
air drumming,--abc_def-1,12,22,train,0
air drumming,_bcd-efg_h2,3,13,train,0
"zumba, fast",cdefghijkl3,100,110,train,0
"""
VALIDATE = "label,youtube_id,time_start,time_end,split\nair drumming,defghijklm4,0,10,validate\n"
TEST = "youtube_id,time_start,time_end,split\nefghijklmn5,0,10,test\n"
PULLING = "Pulling [something] from left to right"
ENTRIES: list[Any] = [
    {"id": "78687", "label": "holding potato", "template": "Holding [something] next to [something]"},
    {"id": 42, "label": "pulling a pen from left to right", "template": PULLING},
]
NAMES = {"Pulling something from left to right": "1", "Holding something next to something": "0", "Poking a hole": "2"}
FILES = [f"p{person}/{number}.mp4" for person in range(6) for number in range(4)]
SEED = 2  # deals the six people to all three splits


def plan(annotations: str | list[str], ids: list[str] = FILES, **changes: object) -> pd.DataFrame:
    """The plan's rows by id; the path tells the person, and nothing of the class."""
    pattern = r"(?P<group>p\d)/\d.mp4"
    changes = {"root": "videos", "annotations": annotations, "pattern": pattern, "split_seed": SEED} | changes
    return plan_index(sorted(ids), params_with(index=changes).index)[0].set_index("id")


def rows(ids: list[str], *more: str) -> str:
    """A table of one's own: jump and run in turn."""
    lines = [f"{name},{('jump', 'run')[number % 2]}" for number, name in enumerate(ids)]
    return "\n".join(["path,label", *lines, *more])

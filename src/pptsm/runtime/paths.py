"""Names of files as people write them: text or a path."""

import os
from pathlib import Path
from typing import Any

from pptsm.runtime.errors import UserError

StrPath = str | os.PathLike[str]


def as_path(name: Any, what: str) -> Path:
    """A name as a path.

    Args:
        name: a str or any `os.PathLike`; bytes too, as the system's own names.
        what: what is sought under it, for the error.

    Raises:
        UserError: it is something else, or empty.
    """
    try:
        text = os.fsdecode(name)
    except TypeError:
        raise UserError(f"{what} should be a name (str or PathLike), and is a {type(name).__name__}.") from None
    if not text or "\0" in text:  # which no file has, and the system refuses with an error of its own
        raise UserError(f"{what} should be the name of a file or folder, and is {text!r}.")
    return Path(text)

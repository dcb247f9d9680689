"""Files that come with the package under the name that they have in a clone, such as presets/labels/fight.txt.

In a clone there are links of that name, so that DVC sees such a file as any other dependency. In another folder nothing
of that name is there, and the package's own file stands for it.
"""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent
FOLDER = "presets"


def packaged(path: Path) -> Path:
    """The file or folder of that path; if there is none, the one that the package brings under that name.

    Args:
        path: any; one that does not begin with `presets` is returned as it is, as is one that is nowhere.
    """
    if path.exists() or path.parts[:1] != (FOLDER,) or ".." in path.parts:
        return path
    own = PACKAGE / path
    return own if own.exists() else path

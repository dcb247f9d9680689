"""The classes of a dataset among those of a network that was trained elsewhere: matched by name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pptsm.ingest.texts import plain
from pptsm.runtime.errors import UserError

SHOWN = 5  # names in an error


@dataclass(frozen=True)
class ClassMatch:
    """Where a dataset's classes stand among a network's."""

    columns: list[int]  # of each class of the dataset: its place among the network's
    of: int  # how many classes the network has

    @property
    def restricted(self) -> bool:
        """Whether the network has classes that the dataset has not: its answers are then the best of the dataset's."""
        return self.of > len(self.columns)


def match_classes(classes: Sequence[str], labels: Sequence[str], network: str) -> ClassMatch:
    """Find each class of a dataset among a network's.

    Names are the same, or differ as spellings do (`pptsm.ingest.texts.plain`), where that leaves one class.

    Args:
        classes: of the dataset.
        labels: of the network, in the order of its logits.
        network: its name, for an error.

    Raises:
        UserError: the network does not know all of them, or a name fits several of its classes.
    """
    place = {name: number for number, name in enumerate(labels)}
    alike = Counter(map(plain, labels))
    loosely = {plain(name): number for number, name in enumerate(labels) if alike[plain(name)] == 1}
    found = {name: place.get(name, loosely.get(plain(name))) for name in classes}
    if missing := [name for name, number in found.items() if number is None]:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise UserError(
            f"evaluate.also: {network} cannot be asked about these videos: of the dataset's {len(classes)} classes it "
            f"does not know {len(missing)} ({', '.join(map(repr, missing[:SHOWN]))}{more}); it knows {len(labels)} "
            f"({', '.join(map(repr, labels[:SHOWN]))}{', ...' if len(labels) > SHOWN else ''}). Nothing was scored. "
            "Take the network out of the list, or name the classes as it does."
        )
    columns = [number for number in found.values() if number is not None]
    if len(set(columns)) < len(columns):
        twice = [name for name in classes if columns.count(columns[list(found).index(name)]) > 1]
        raise UserError(
            f"evaluate.also: {network} cannot be asked about these videos: the dataset's classes "
            f"{', '.join(map(repr, twice[:SHOWN]))} are one class to it. Nothing was scored."
        )
    return ClassMatch(columns, len(labels))

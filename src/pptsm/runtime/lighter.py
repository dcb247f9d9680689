"""What libraries cost before they do anything: cycles of references sought too often, modules that nobody uses."""

import gc
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

OBJECTS = 200_000  # made since the last look; Python's own number is 700


def collect_rarely() -> None:
    """Look for cycles of references after 200,000 new objects: for a command that makes many, of which few form any."""
    gc.set_threshold(OBJECTS, 20, 50)


def import_when_used(package: str, name: str) -> None:
    """Have `from package import name` give a module that is imported when something of it is asked for.

    `importlib.util.LazyLoader` will not do: on Python 3.11 the import statement itself looks into what it finds.
    """
    whole = f"{package}.{name}"
    if whole not in sys.modules:
        with suppress(ImportError):  # whoever needs it says so
            setattr(import_module(package), name, _Later(whole))


class _Later(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self.__name__), attribute)  # the package then has the module itself

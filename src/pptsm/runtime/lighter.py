"""What Python itself costs a command that makes many objects: cycles of references sought too often."""

import gc

OBJECTS = 200_000  # made since the last look; Python's own number is 700


def collect_rarely() -> None:
    """Look for cycles of references after 200,000 new objects: for a command that makes many, of which few form any."""
    gc.set_threshold(OBJECTS, 20, 50)

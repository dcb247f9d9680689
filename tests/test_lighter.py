"""What Python itself costs a command."""

import gc

from pptsm.runtime.lighter import OBJECTS, collect_rarely


def test_cycles_are_sought_rarely() -> None:
    """And still sought."""
    before = gc.get_threshold()
    try:
        collect_rarely()
        assert gc.get_threshold()[0] == OBJECTS
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)

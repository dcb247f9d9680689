"""What libraries cost before they do anything."""

import gc
import subprocess
import sys

from pptsm.runtime.lighter import OBJECTS, collect_rarely

SCRIPT = """
import sys
import pptsm.validation.expectations
assert "great_expectations" in sys.modules
assert "scipy.stats" not in sys.modules, "something asks for it while it is imported"
from scipy import stats
assert abs(stats.norm.ppf(0.975) - 1.959964) < 1e-6
import scipy
assert scipy.stats is sys.modules["scipy.stats"]
"""


def test_a_module_that_nobody_uses_is_not_imported() -> None:
    """Great Expectations names `scipy.stats`, which takes a second; whoever then uses it has the module itself."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cycles_are_sought_rarely() -> None:
    """And still sought."""
    before = gc.get_threshold()
    try:
        collect_rarely()
        assert gc.get_threshold()[0] == OBJECTS
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)

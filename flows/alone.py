"""Lets a flow's file run as a script without a server: imported first, before Prefect reads its settings.

Without an address in PREFECT_API_URL, Prefect starts a temporary server of its own for the run.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

sys.path.insert(0, str(ROOT))
os.environ.setdefault("PREFECT_API_URL", "")  # and not the one in prefect.toml, where perhaps nobody listens
os.environ.setdefault("PREFECT_HOME", str(ROOT / ".prefect"))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

"""Lets a flow's file run as a script without a server: imported first, before Prefect reads its settings.

Where no address is in PREFECT_API_URL, Prefect starts a temporary server of its own for the run. Its database is not
that of `make serve`, which a killed script could only mislead.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")  # 20 are few on a busy machine
if "PREFECT_API_URL" not in os.environ:
    home = ROOT / ".prefect/scripts"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    # Prefect reads prefect.toml where it is started; from elsewhere the server named there, where perhaps nobody
    # listens, is not asked for
    os.chdir(ROOT / "flows")

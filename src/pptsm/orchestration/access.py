"""Address and password of the Prefect server that `make serve` runs for a folder: a file that only its owner can read.

Whoever may use a server of Prefect may run code as its owner, so the server asks for a password, which is new at each
start. Commands typed in the folder find it here. Without Prefect: its settings are read when it is imported.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path

OWNER_ALONE = 0o077  # the umask of what nobody else may read
NO_TRACKING = "DO_NOT_TRACK"  # Prefect's clients obey it towards any server
ADDRESS, PASSWORD = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
SERVERS_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"


def keep_private(home: Path) -> Path:
    """Make PREFECT_HOME if need be, so that its owner alone may look into it, also where it was made before."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):  # another's: it is for them to say
        home.chmod(0o777 & ~OWNER_ALONE)
    return home


def access_file(home: Path) -> Path:
    """Where it stands below PREFECT_HOME."""
    return home / "access.json"


def grant_access(home: Path, address: str) -> dict[str, str]:
    """Make a password for the server at an address and write both down.

    Returns:
        The environment variables that the server and its clients read.
    """
    password = f"pptsm:{secrets.token_urlsafe(32)}"
    file = access_file(home)
    file.unlink(missing_ok=True)  # whoever has an old one open shall not read the new one
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        json.dump({ADDRESS: address, PASSWORD: password}, opened)
    return {ADDRESS: address, PASSWORD: password, SERVERS_PASSWORD: password}


def known_access(home: Path) -> dict[str, str]:
    """The environment variables by which a client finds the server of a folder, without those that are set already.

    Nothing where there is no such server, or where the environment names another one: that shall not see the password.
    """
    try:
        found = json.loads(access_file(home).read_text(encoding="utf-8"))
        access: dict[str, str] = {name: found[name] for name in (ADDRESS, PASSWORD)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if os.environ.get(ADDRESS, access[ADDRESS]) != access[ADDRESS]:
        return {}
    return {name: value for name, value in access.items() if name not in os.environ}

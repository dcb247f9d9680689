"""The one exception that stands for a user's mistake: the command prints it as a sentence, without a trace."""

TEMPORARY = 75  # exit code for what may succeed if it is tried again later; EX_TEMPFAIL of sysexits.h


class UserError(Exception):
    """What was sought, where, what was found, and what to do about it, in one or a few sentences."""

    exit_code = 1


class ParamsError(UserError):
    """params.yaml holds something that cannot be used."""

    exit_code = 2

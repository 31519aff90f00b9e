"""The errors a user may meet. Each message is one line that names the value and the fix."""


class UnstaticError(Exception):
    """Something failed that is not the user's doing; the command line leaves with `exit_code`."""

    exit_code: int = 1


class InputError(UnstaticError, ValueError):
    """The user can mend this: the message names the offending value and says what would be accepted."""

    exit_code: int = 2

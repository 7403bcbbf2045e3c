"""The one exception that is the user's to mend, and the commonest reason to raise it."""

from collections.abc import Collection


class InputError(ValueError):
    """Wrong input: the message names the file or argument, what is wrong with it, and what would be right.

    The command line prints it as one line and exits with code 2.
    """


def check_choice(what: str, value: str | int, choices: Collection[str | int]) -> None:
    """Raise `InputError`, which calls the value `what`, unless it is one of the choices."""
    if not isinstance(value, str | int) or value not in choices:
        raise InputError(f"{what} {value!r} is unknown; choose one of {', '.join(map(str, choices))}")

"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """Wrong input: the message names the file or argument, what is wrong with it, and what would be right.

    The command line prints it as one line and exits with code 2.
    """

"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Something the user gave is not valid. The command line prints it as one line and exits with code 2."""

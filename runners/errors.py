"""The one error type that a user meets."""


class RunError(Exception):
    """Something the user can put right; its text is the whole message: lowercase, one fact, then what to do."""

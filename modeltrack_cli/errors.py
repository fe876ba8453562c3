"""What ends a command: one kind of error, whose text is for whoever ran it and repeats no secret."""


class CommandFailed(Exception):
    """The command cannot go on; the text says why, and what to do."""

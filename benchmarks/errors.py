"""What keeps a figure from being measured, in one line that a person can act on."""


class NotMeasured(Exception):
    """Something is missing or went wrong: the thing, the reason and the remedy."""

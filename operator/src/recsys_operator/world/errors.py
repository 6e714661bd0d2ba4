"""The two errors that the world raises."""


class WorldError(Exception):
    """Something outside did not do as asked; the message names it, what was seen, and the mend."""


class UnavailableError(WorldError):
    """It could not be reached, or is not ready: worth another try after a while."""


class RefusedError(WorldError):
    """It answered and said no, in the words of the message: waiting alone will not help."""

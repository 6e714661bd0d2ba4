"""What a user can mend, told in one paragraph."""

import sys
from collections.abc import Callable


class Unmet(Exception):  # noqa: N818 - the domain's word: a need that is not met
    """Something that this machine or this call lacks, and how to mend it.

    Args:
        what: the field, program, port or file that is wrong.
        seen: the value or the state that was found.
        mend: what the user can do about it.
    """

    def __init__(self, what: str, seen: str, mend: str) -> None:
        """Keep the three parts, so that a caller may print them its own way."""
        super().__init__(f"{what}: {seen}. {mend}")
        self.what = what
        self.seen = seen
        self.mend = mend


def told(main: Callable[[], int]) -> int:
    """Run a command line program; an unmet need is one paragraph on stderr and exit status 2, never a traceback."""
    try:
        return main()
    except Unmet as unmet:
        print(f"\nerror: {unmet}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        return 130

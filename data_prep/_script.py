"""How every script of this folder reports an error: one line on stderr, exit status 1."""

import sys
from collections.abc import Callable, Sequence

from bbb.errors import BBBError


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Call ``main`` and turn the errors that a user can mend into a message.

    Args:
        main: Takes the command-line arguments, or None for those of the process.
        argv: The arguments.

    Returns:
        The exit status: 0, 1 after an error, 130 after an interrupt.
    """
    try:
        main(argv)
    except (BBBError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0

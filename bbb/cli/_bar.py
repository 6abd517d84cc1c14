"""Progress bars on standard error, gone when the work is done."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress while the block runs.

    Args:
        text: What is being done.
        total: Number of steps.

    Yields:
        A function that takes the number of steps done since its last call.
    """
    with _progress(text, shown=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda steps: progress.update(task, advance=steps)


@contextlib.contextmanager
def counter(text: str, *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show progress of work whose size is not known before it begins.

    Args:
        text: What is being done.
        shown: Whether there is anything to show.

    Yields:
        A function that takes the steps done so far and their total.
    """
    with _progress(text, shown=shown) as progress:
        task = progress.add_task(text)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _progress(text: str, *, shown: bool) -> Progress:
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # In a log file a bar that is erased leaves blank lines.
    hidden = not (shown and console.is_terminal)
    return Progress(*columns, console=console, transient=True, disable=hidden)

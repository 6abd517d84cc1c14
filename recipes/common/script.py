"""What the scripts of all recipes do alike: end with an error, refuse a folder, show progress."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bbb.errors import BBBError, ConfigError


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a script with the words of its command line; what it refuses is said in one line."""
    try:
        main(sys.argv[1:])
    except (BBBError, OSError) as error:
        sys.exit(f"error: {error}")


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on in a folder that holds a run with other settings.

    Args:
        found: Settings of the run that is there.
        wanted: Settings of now; only their keys count.
        folder: The folder, for the message.

    Raises:
        ConfigError: If values differ; it names all such keys.
    """
    other = [
        f"{key} ({found.get(key)} there, {value} now)"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if other:
        msg = (
            f"{folder} holds a run with other settings: {', '.join(other)}; "
            "take another folder, or remove it"
        )
        raise ConfigError(msg)


def steps_progress() -> Progress:
    """Return bars that count steps, on the standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))

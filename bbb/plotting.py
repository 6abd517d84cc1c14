"""Where plots are drawn: on the caller's axes, or into a file that appears whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bbb.errors import ConfigError
from bbb.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Target: TypeAlias = "str | os.PathLike[str] | Axes"

FORMATS = (".png", ".pdf", ".svg")


def check_picture(path: "str | os.PathLike[str]", who: str) -> None:
    """Refuse a name of an unknown format, before any work is done.

    Args:
        path: Name of the picture.
        who: Name of the caller, for the message.

    Raises:
        ConfigError: If the suffix is not one of `FORMATS`.
    """
    if Path(path).suffix not in FORMATS:
        msg = f"{who} needs a path ending in {', '.join(FORMATS)}, got '{path}'; rename it"
        raise ConfigError(msg)


@contextmanager
def axes_at(target: Target, who: str, size: tuple[float, float] = (5.5, 4.0)) -> Iterator["Axes"]:
    """Yield axes to draw on.

    Args:
        target: Matplotlib's axes, or a picture to write in one atomic step once the block is done.
        who: Name of the caller, for the messages.
        size: Width and height of such a picture, in inches.

    Yields:
        The axes.

    Raises:
        ConfigError: If the picture's suffix is unknown.
        ModuleNotFoundError: If matplotlib is not installed.
    """  # noqa: DOC502 (the suffix, by check_picture)
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    check_picture(target, who)
    try:
        # Slow to import, and only a picture needs it. Figure alone has no window and no state.
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        msg = f"{who} needs {error.name}; pip install 'bayes-by-backprop[speech]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=150)

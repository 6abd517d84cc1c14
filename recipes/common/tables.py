"""Tables as Markdown and in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, with ``header`` and ``rows`` of its length."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    width: int = 0,
    section: int = 0,
) -> None:
    """Print a table.

    Args:
        header: Names of the columns; those of numbers are flushed right.
        rows: Texts, each of the header's length.
        title: Above the table.
        width: Least width in characters, where the terminal is narrower.
        section: Rows between two lines; 0: no lines.
    """
    table = Table(title=title or None, title_justify="left")
    for name, *cells in zip(header, *rows, strict=True):
        number = all(cell[:1] in "+-.0123456789" for cell in cells)
        table.add_column(name, justify="right" if number else "left")
    for count, row in enumerate(rows, 1):
        table.add_row(*row, end_section=bool(section) and count % section == 0)
    _console(width).print(table)


def print_markdown(text: str, width: int = 140) -> None:
    """Print Markdown with its tables set, at least ``width`` characters wide."""
    _console(width).print(Markdown(text))


def _console(width: int) -> Console:
    return Console(width=max(width, Console().width))

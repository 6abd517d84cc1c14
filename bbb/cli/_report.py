"""Tables of ``bbb evaluate``."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

_NAMES = {
    "eer": "EER",
    "min_dcf": "min-DCF",
    "min_dcf_mean": "min-DCF, mean",
    "act_dcf": "act-DCF",
    "act_dcf_mean": "act-DCF, mean",
    "cllr": "Cllr",
    "min_cllr": "min-Cllr",
}


def print_report(name: str, report: dict[str, Any]) -> None:
    """A table with a row per figure, and its interval where there is one.

    Args:
        name: The score file.
        report: What `bbb.scoring.evaluate` returns.
    """
    table = Table("figure")
    table.add_column("value", justify="right")
    if "bootstrap" in report:
        table.add_column(f"95 % interval by {report['bootstrap']['unit']}", justify="right")
    intervals = {text: value for text, value, _ in _rows(report, "_ci")}
    for text, value, form in _rows(report):
        cells = [text, format(value, form)]
        if intervals:
            cells.append(_range(intervals[text], form))
        table.add_row(*cells)
    print(f"{name}: {report['num_target']} target, {report['num_nontarget']} nontarget trials")
    _print(table)


def print_conditions(report: dict[str, Any]) -> None:
    """A table with a row per condition, and the pooled one.

    Args:
        report: What `bbb.scoring.evaluate` returns, with ``conditions``.
    """
    table = Table("condition", box=SIMPLE)
    for text in ("target", "nontarget", *(text for text, _, _ in _rows(report))):
        table.add_column(text.replace(" ", "\n"), justify="right")
    for name, part in {**report["conditions"], "pooled": report}.items():
        figures = {text: format(value, form) for text, value, form in _rows(part)}
        counts = (str(part[key]) for key in ("num_target", "num_nontarget"))
        table.add_row(name, *counts, *(figures.get(text, "-") for text, _, _ in _rows(report)))
    _print(table)


def print_comparison(name: str, comparison: dict[str, Any]) -> None:
    """A table with a row per figure of two systems.

    Args:
        name: The first score file.
        comparison: What `bbb.scoring.compare` returns, and ``scores``, the second file.
    """
    table = Table("figure")
    unit = comparison["bootstrap"]["unit"]
    for text in ("A", "B", "B - A", f"95 % interval by {unit}", "p-value"):
        table.add_column(text, justify="right")
    for text, value, form in _rows(comparison):
        signed = f"+{form}"
        table.add_row(
            text,
            format(value["a"], form),
            format(value["b"], form),
            format(value["difference"], signed),
            _range([value["low"], value["high"]], signed),
            format(value["p_value"], ".3g"),
        )
    print(f"A: {name}\nB: {comparison['scores']}")
    _print(table)


def _rows(report: dict[str, Any], suffix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Name, value and number format of each figure that a report has."""
    for key, text in _NAMES.items():
        form = ".2%" if key == "eer" else ".4f"
        value = report.get(key + suffix)
        if key in {"min_dcf", "act_dcf"}:
            for point, figure in (value or {}).items():
                yield f"{text} ({point})", figure, form
        elif value is not None:
            yield text, value, form


def _print(table: Table) -> None:
    """Print as wide as the terminal is; a file or a pipe takes any width."""
    # Names of conditions are the user's, brackets and colons included.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _range(ends: list[float], form: str) -> str:
    """Both ends of an interval."""
    return " to ".join(format(end, form) for end in ends)

"""The table of all agents, and their curves, from the runs of `recipes.bandit.play`.

    python -m recipes.bandit.regret --config recipes/bandit/conf/short.yaml --exp-dir EXP

Writes results.json, RESULTS.md and regret.png. Intervals are Student's t over the seeds;
differences from the first agent are paired by seed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bbb.errors import DataError
from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.bandit.play import tail_start
from recipes.bandit.settings import Settings
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.statistics import interval_text, t_interval
from recipes.common.tables import markdown_table, print_table

Run = dict[str, Any]
# Agents are compared that met the same mushrooms and took as many training steps.
ALIKE = (
    *("mushrooms", "steps", "seeds", "early", "minibatches", "late_minibatches", "batch_size"),
    "decay",
)
KINDS = {"regret": "regret", "expected_regret": "expected regret"}


def read_runs(settings: Settings) -> list[Run]:
    """Read what each kind of agent did.

    Args:
        settings: ``exp_dir`` and ``agents`` count.

    Returns:
        A run of each.

    Raises:
        DataError: If one is missing, or differs from another in what has to be `ALIKE`.
    """
    runs = []
    for kind in settings.agents:
        file = settings.exp_dir / kind / "run.json"
        if not file.exists():
            msg = f"no {file}; let the agents play first (stage 1)"
            raise DataError(msg)
        runs.append(json.loads(file.read_text(encoding="utf-8")))
    for key in ALIKE:
        found = {run["kind"]: run.get(key) for run in runs}
        if any(value != runs[0].get(key) for value in found.values()):
            each = ", ".join(f"{value} of {kind}" for kind, value in found.items())
            msg = f"{settings.exp_dir} holds runs of different {key} ({each}); remove one of them"
            raise DataError(msg)
    return runs


def curves_of(runs: list[Run], key: str) -> dict[str, np.ndarray]:
    """Return the cumulative regret of each agent, (seeds, points)."""
    curves: dict[str, list[list[float]]] = {}
    for run in runs:
        for player in run["players"]:
            curves.setdefault(player["agent"], []).append(player[key])
    return {name: np.array(each) for name, each in curves.items()}


def make_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Return a row for each agent: means, intervals, values by seed, and paired differences."""
    steps = np.array(runs[0]["step"])
    tail = int(np.flatnonzero(steps == tail_start(runs[0]["steps"]))[0])
    rows: dict[str, dict[str, Any]] = {}
    for key in KINDS:
        curves = curves_of(runs, key)
        first = next(iter(curves.values()))
        for name, curve in curves.items():
            row = rows.setdefault(name, {"agent": name})
            late = curve[:, -1] - curve[:, tail]
            row[key] = t_interval(curve[:, -1].tolist())
            row[f"{key}_by_seed"] = curve[:, -1].tolist()
            row[f"{key}_late"] = t_interval(late.tolist())
            row[f"{key}_late_by_seed"] = late.tolist()
            if curve is not first:
                row[f"{key}_more"] = t_interval((curve[:, -1] - first[:, -1]).tolist())
                late_first = first[:, -1] - first[:, tail]
                row[f"{key}_late_more"] = t_interval((late - late_first).tolist())
    return list(rows.values())


def header(runs: list[Run]) -> list[str]:
    """Return the names of the columns."""
    last, first = runs[0]["steps"] - tail_start(runs[0]["steps"]), runs[0]["players"][0]["agent"]
    columns = ["agent"]
    for what in KINDS.values():
        columns += [what, f"more than {first}", f"{what}, last {last:,}"]
    return columns


def cells(row: dict[str, Any]) -> list[str]:
    """Return the texts of a row."""
    texts = [row["agent"]]
    for key in KINDS:
        more = interval_text(row[f"{key}_more"], "+,.0f") if f"{key}_more" in row else ""
        texts += [interval_text(row[key], ",.0f"), more]
        texts += [interval_text(row[f"{key}_late"], ",.0f")]
    return texts


def draw(runs: list[Run], file: Path) -> None:
    """Draw cumulative regret over steps, both logarithmic: means, and the range of the seeds."""
    steps = np.array(runs[0]["step"])
    with axes_at(file, "regret.py", (6.5, 4.5)) as axes:
        for name, curve in curves_of(runs, "expected_regret").items():
            (line,) = axes.plot(steps, curve.mean(0), label=name)
            low, high = curve.min(0), curve.max(0)
            axes.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        axes.set(xlabel="mushrooms", ylabel="cumulative expected regret")
        axes.set(xscale="log", yscale="log", xlim=(1, steps[-1]), ylim=(1, None))
        axes.legend(fontsize="small")


def main(argv: Sequence[str]) -> None:
    """Read the runs, write and print the table, draw."""
    settings = read_options(Settings, argv, __doc__)
    settings.check()
    runs = read_runs(settings)
    rows = make_rows(runs)
    seconds = ", ".join(f"{run['kind']} {run['cpu_seconds']:.0f} s" for run in runs)
    title = (
        f"{runs[0]['steps']:,} mushrooms, seeds {runs[0]['seeds']}; mean and 95 % interval over "
        f"them, differences paired. CPU time: {seconds}."
    )
    body = [cells(row) for row in rows]
    write_text(settings.exp_dir / "results.json", json.dumps(rows, indent=1) + "\n")
    lines = [title, "", *markdown_table(header(runs), body), "", "![regret](regret.png)", ""]
    write_text(settings.exp_dir / "RESULTS.md", "\n".join(lines))
    draw(runs, settings.exp_dir / "regret.png")
    print_table(header(runs), body, title=title, width=140)
    print(f"wrote results.json, RESULTS.md and regret.png to {settings.exp_dir}")


if __name__ == "__main__":
    script.run(main)

"""The paper's table 2: how many weights a net can do without.

The Bayesian net loses those of the lowest signal-to-noise ratio |mu| / sigma, or for comparison of
the smallest |mu|; the plain net those of the smallest magnitude. Weights and biases are ranked
together over the whole net, and nothing is trained afterwards. Writes PRUNING.md, pruning.json and
pruning.png to --exp-dir.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.progress import track
from torch import nn

import bbb
from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.common import script
from recipes.common.statistics import interval_text, t_interval
from recipes.common.tables import markdown_table, print_markdown
from recipes.mnist.data import load
from recipes.mnist.evaluate import evaluate
from recipes.mnist.runs import Run, load_model, read_runs, settings_of
from recipes.mnist.table import PAPER

FRACTIONS = (0.0, 0.5, 0.75, 0.95, 0.98)
Errors = dict[str, dict[float, list[float]]]


@torch.no_grad()
def prune_magnitudes(net: nn.Module, fraction: float) -> nn.Module:
    """Return a copy of a plain net whose smallest weights are 0.

    Args:
        net: The net.
        fraction: Share of all parameters, ranked together, that go.

    Returns:
        The copy, with exactly ``round(fraction * n)`` of n parameters set to 0.
    """
    pruned = copy.deepcopy(net)
    weights = list(pruned.parameters())
    flat = torch.cat([weight.flatten() for weight in weights])
    flat[flat.abs().argsort(stable=True)[: round(fraction * len(flat))]] = 0
    torch.nn.utils.vector_to_parameters(flat, weights)
    return pruned


def errors_of(run: Run, fraction: float, num_samples: int) -> dict[str, float]:
    """Return the test errors of a net without a share of its weights, for each way to take them."""
    settings, model, name = settings_of(run), load_model(run), Path(run["folder"]).parent.name
    x, y = load(settings).test
    if not settings.bayesian:
        plain = evaluate(prune_magnitudes(model, fraction), x, y)
        return {f"{name}, magnitude": plain["mean"]["error"]}
    means = evaluate(prune_magnitudes(bbb.to_deterministic(model), fraction), x, y)
    bbb.prune(model, fraction=fraction)
    found = evaluate(model, x, y, num_samples)
    return {
        f"{name}, signal-to-noise, mean": found["mean"]["error"],
        f"{name}, signal-to-noise, draws": found["draws"]["error"],
        f"{name}, magnitude of the mean": means["mean"]["error"],
    }


def widest(runs: dict[str, list[Run]]) -> list[str]:
    """Return the names of the widest plain and mixture nets."""
    wanted = {n: each[0]["settings"] for n, each in runs.items()}
    wanted = {n: s for n, s in wanted.items() if s["system"] in {"sgd", "mixture"}}
    units = max((s["units"] for s in wanted.values() if s["system"] == "mixture"), default=0)
    return [name for name, settings in wanted.items() if settings["units"] == units]


def make_rows(errors: Errors) -> list[dict[str, Any]]:
    """Return a row for each way, with the interval over seeds and the rise, paired by seed."""
    rows = []
    for method, by_fraction in errors.items():
        whole = by_fraction[min(by_fraction)]
        row: dict[str, Any] = {"method": method, "error": {}, "rise": {}}
        for fraction, values in by_fraction.items():
            rise = [value - start for value, start in zip(values, whole, strict=True)]
            row["error"][f"{fraction:g}"] = t_interval(values)
            row["rise"][f"{fraction:g}"] = t_interval(rise)
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    shares = list(rows[0]["error"])
    body = [
        [row["method"], *(interval_text(row["error"][share], unit=100) for share in shares)]
        for row in rows
    ]
    rise = [
        [row["method"], *(interval_text(row["rise"][share], "+.2f", 100) for share in shares)]
        for row in rows
    ]
    paper = (PAPER["pruning"].get(share) for share in shares)
    body.append(["paper, 1200 units", *(f"{value:.2f}" if value else "" for value in paper)])
    header = [f"{100 * float(share):g}%" for share in shares]
    lines = [
        "Test error in % with a share of the weights removed; means over seeds, 95 % t intervals.",
        "",
        *markdown_table(["removed", *header], body),
        "",
        "Rise over the whole net, paired by seed:",
        "",
        *markdown_table(["removed", *header], rise),
    ]
    return "\n".join([*lines, "", "![test error over the share](pruning.png)", ""])


def draw(errors: Errors, path: Path) -> None:
    """Draw the error over the share that is left, with the range over seeds."""
    with axes_at(path, "prune.py", (6.5, 4.5)) as axes:
        for method, by_fraction in errors.items():
            kept = [1 - fraction for fraction in by_fraction]
            each = 100 * torch.tensor(list(by_fraction.values()))
            (line,) = axes.plot(kept, each.mean(1), marker="o", markersize=3, label=method)
            low, high = each.amin(1), each.amax(1)
            axes.fill_between(kept, low, high, alpha=0.15, color=line.get_color())
        axes.set(xlabel="share of the weights that is left", ylabel="test error, %")
        axes.set(xscale="log", yscale="log")
        axes.invert_xaxis()
        axes.legend(fontsize="small")


def main(argv: Sequence[str]) -> None:
    """Prune, evaluate, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--names", nargs="+", help="which (default: widest plain and mixture nets)")
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--num-samples", type=PositiveInt, default=20, help="draws (default: 20)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    names = args.names or widest(read_runs(args.exp_dir))
    runs = [run for each in read_runs(args.exp_dir, names).values() for run in each]
    errors: Errors = {}
    # The rise is over the whole net.
    fractions = sorted({0.0, *args.fractions})
    jobs = [(run, fraction) for run in runs for fraction in fractions]
    for run, fraction in track(jobs, "pruning", console=Console(stderr=True)):
        for method, error in errors_of(run, fraction, args.num_samples).items():
            errors.setdefault(method, {}).setdefault(fraction, []).append(error)
    rows = make_rows(errors)
    write_text(args.exp_dir / "pruning.json", json.dumps(rows, indent=1) + "\n")
    write_text(args.exp_dir / "PRUNING.md", markdown(rows))
    draw(errors, args.exp_dir / "pruning.png")
    print_markdown(markdown(rows))


if __name__ == "__main__":
    script.run(main)

"""Trainings on disk: what they reached, and their nets."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bbb
from bbb.errors import DataError
from recipes.common import script
from recipes.mnist.mlp import make_bayesian, make_net
from recipes.mnist.settings import Settings

Run = dict[str, Any]


def make_model(settings: Settings) -> nn.Module:
    """Return the untrained net of a system, by torch's own generator."""
    if not settings.bayesian:
        share = (settings.dropout, settings.input_dropout) if settings.system == "dropout" else ()
        return make_net(settings.units, *share)
    prior: bbb.priors.Prior
    if settings.system == "gaussian":
        prior = bbb.priors.Normal(0.0, settings.prior_sigma)
    else:
        prior = bbb.priors.ScaleMixture(settings.pi, settings.sigma1, settings.sigma2)
    return make_bayesian(settings.units, prior, settings.sigma_init, settings.estimator)


def load_model(run: Run) -> nn.Module:
    """Return the trained net of a run, in ``eval()`` on the CPU."""
    with torch.random.fork_rng(devices=[]):
        model = make_model(settings_of(run))
    state = torch.load(Path(run["folder"]) / "model.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(state)
    return model.eval()


def read_curve(run: Run) -> list[dict[str, Any]]:
    """Return the points of a run's curve, one for each epoch."""
    text = (Path(run["folder"]) / "curve.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def settings_of(run: Run) -> Settings:
    """Return the settings of a run."""
    return Settings(**run["settings"], folder=Path(run["folder"]))


def read_runs(exp_dir: Path, names: list[str] | None = None) -> dict[str, list[Run]]:
    """Read what all trainings reached.

    Args:
        exp_dir: Folder with NAME/seedN/run.json.
        names: Which; default all, plain ones first.

    Returns:
        The runs of each name, by seed, each with its "folder".

    Raises:
        ConfigError: If those of one name differ in more than their seeds.
        DataError: If there is none.
    """  # noqa: DOC502 (the first by check_same)
    files = {path.parent.parent.name for path in exp_dir.glob("*/seed*/run.json")}
    found: dict[str, list[Run]] = {}
    for name in names or sorted(files):
        paths = sorted(exp_dir.glob(f"{name}/seed*/run.json"))
        each = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        each = [{**run, "folder": str(path.parent)} for run, path in zip(each, paths, strict=True)]
        found[name] = sorted(each, key=lambda run: run["settings"]["seed"])
        for run in found[name]:
            alike = settings_of(found[name][0]).identity | {"seed": run["settings"]["seed"]}
            script.check_same(settings_of(run).identity, alike, Path(run["folder"]))
    if not found or not all(found.values()):
        missing = ", ".join(name for name, each in found.items() if not each) or "any"
        msg = f"no trainings of {missing} in {exp_dir}; train first (stage 2)"
        raise DataError(msg)
    return found if names else dict(sorted(found.items(), key=_order))


def _order(item: tuple[str, list[Run]]) -> tuple[int, int, str]:
    settings = item[1][0]["settings"]
    systems = ("sgd", "dropout", "gaussian", "mixture")
    return settings["units"], systems.index(settings["system"]), item[0]

"""Small data sets: test log likelihood and error of each method, split by split.

What is chosen (penalty, prior, noise) is chosen on the last fifth of each training part, split by
split, and the networks are then trained anew on the whole training part. Writes SET/METHOD.json.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bbb.files import write_text
from bbb.uncertainty import gaussian_nll
from recipes.common import script
from recipes.common.options import read_options
from recipes.regression.fitting import fit, make_model
from recipes.regression.options import SetOptions
from recipes.regression.references import bayesian_ridge, gaussian_process, scores
from recipes.regression.regression import predictions
from recipes.regression.small_sets import Splits, load_splits

HELD_SHARE = 0.2
# Of the noise, in standard deviations of the targets, to choose from.
SIGMAS = torch.logspace(-2, 0.5, 61).tolist()
Result = dict[str, list[Any]]
"""One value per split: log likelihoods "ll" (nats per example), errors "rmse", choices."""


class Bench:
    """The networks of one set.

    Args:
        splits: The set.
        options: Of the trainings.
        folder: Of their checkpoints.
    """

    def __init__(self, splits: Splits, options: SetOptions, folder: Path) -> None:
        self.splits, self.options, self.folder = splits, options, folder
        held = max(1, round(HELD_SHARE * splits.x.shape[1]))
        self.whole = (splits.x, splits.y)
        self.part = (splits.x[:, :-held], splits.y[:, :-held])
        self.held = (splits.x[:, -held:], splits.y[:, -held:])

    def train(
        self,
        name: str,
        data: tuple[Tensor, Tensor],
        x: Tensor,
        penalties: list[list[float]],
        prior: str | None,
    ) -> list[list[Tensor]]:
        """Train networks on each split, and let them predict.

        Args:
            name: Of the checkpoint.
            data: Inputs and targets, of each split.
            x: Inputs to predict at, of each split.
            penalties: A network for each of the numbers, by split.
            prior: Of the weights; None for plain networks.

        Returns:
            Predicted means (samples, examples, 1), by split and network.
        """
        features, num_train = data[0].shape[2], data[0].shape[1]
        many = len(penalties[0])
        models = [
            make_model(
                features,
                self.options,
                num_train,
                prior=prior,
                penalty=penalty,
                seed=1000 * split + net,
            )
            for split, row in enumerate(penalties)
            for net, penalty in enumerate(row)
        ]
        x_all, y_all = (part.repeat_interleave(many, 0) for part in data)
        trained = iter(fit(models, x_all, y_all, self.options, self.folder / f"{name}.pt"))
        samples = self.options.num_samples
        return [[predictions(next(trained), at, samples) for _ in range(many)] for at in x]

    def bayesian(self, name: str, priors: Sequence[str]) -> Result:
        """Return what Bayes by Backprop reaches with the best of the priors and penalties."""
        choices, tests = [], []
        for prior in priors:
            job = f"{name}_{prior.replace(':', '_')}"
            chosen = self.choose(job, self.options.penalties, prior)
            each = [[choice["penalty"]] for choice in chosen]
            test = self.train(f"{job}_final", self.whole, self.splits.x_test, each, prior)
            choices.append([{**choice, "prior": prior} for choice in chosen])
            tests.append([samples for (samples,) in test])
        rows = []
        for i, candidates in enumerate(zip(*choices, strict=True)):
            best = min(range(len(priors)), key=lambda k: candidates[k]["nll"])
            rows.append((tests[best][i], candidates[best]))
        return self.evaluate(rows)

    def plain(self) -> dict[str, Result]:
        """Return what plain networks reach, one by one ("plain") and together ("ensemble")."""
        chosen = self.choose("plain", self.options.decays, None)
        same = [[choice["penalty"]] * self.options.members for choice in chosen]
        held = self.train("ensemble_held", self.part, self.held[0], same, None)
        test = self.train("ensemble_final", self.whole, self.splits.x_test, same, None)
        results = {}
        for name, size in (("plain", 1), ("ensemble", self.options.members)):
            rows = []
            for i, choice in enumerate(chosen):
                noise = best_noise(torch.cat(held[i][:size]), self.held[1][i])
                rows.append((torch.cat(test[i][:size]), {**choice, **noise}))
            results[name] = self.evaluate(rows)
        return results

    def choose(self, name: str, penalties: list[float], prior: str | None) -> list[dict[str, Any]]:
        """Return the penalty and the noise that are best on the held part of each split."""
        every = [penalties] * len(self.splits.x)
        held = self.train(f"{name}_choice", self.part, self.held[0], every, prior)
        chosen = []
        for samples, y in zip(held, self.held[1], strict=True):
            found = [best_noise(each, y) for each in samples]
            rows = [{"penalty": p, **noise} for p, noise in zip(penalties, found, strict=True)]
            chosen.append(min(rows, key=lambda row: row["nll"]))
        return chosen

    def evaluate(self, rows: list[tuple[Tensor, dict[str, Any]]]) -> Result:
        """Return the test scores, in the targets' own unit, of each split's samples and choice."""
        result: Result = {"ll": [], "rmse": [], "choice": []}
        splits = self.splits
        for (samples, choice), y, scale in zip(rows, splits.y_test, splits.scale, strict=True):
            nll = gaussian_nll(samples, choice["sigma"] ** 2, y) + scale.log()
            result["ll"].append(-nll.item())
            result["rmse"].append((scale * (samples.mean(0) - y).square().mean().sqrt()).item())
            result["choice"].append(choice)
        return result


def best_noise(samples: Tensor, y: Tensor) -> dict[str, float]:
    """Return the noise's "sigma" that suits predictions best, and the "nll" with it."""
    nll = [gaussian_nll(samples, sigma**2, y).item() for sigma in SIGMAS]
    best = min(range(len(nll)), key=nll.__getitem__)
    return {"sigma": SIGMAS[best], "nll": nll[best]}


def reference(splits: Splits, model: Callable[[Any, Any], Any]) -> Result:
    """Return what a method of scikit-learn reaches."""
    result: Result = {"ll": [], "rmse": []}
    parts = (splits.x, splits.y, splits.x_test, splits.y_test)
    for i, scale in enumerate(splits.scale.tolist()):
        x, y, x_test, y_test = (part[i].double().numpy() for part in parts)
        ll, rmse = scores(model(x, y[:, 0]), x_test, y_test[:, 0])
        result["ll"].append(ll - float(torch.tensor(scale).log()))
        result["rmse"].append(rmse * scale)
    return result


Job = tuple[str, dict[str, Any], Callable[[], dict[str, Result]]]


def jobs(splits: Splits, options: SetOptions, folder: Path) -> list[Job]:
    """Return what is to be done for a set: the last result's name, its options, and the work."""
    plain = replace(options, normal=[], mixture=[], penalties=[])
    gaussian = replace(options, mixture=[], decays=[], members=1)
    mixture = replace(options, normal=[], decays=[], members=1)

    def bayesian(name: str, own: SetOptions) -> Job:
        bench = Bench(splits, own, folder)
        work = partial(bench.bayesian, name, [*own.normal, *own.mixture])
        return f"bbb_{name}", own.identity, lambda: {f"bbb_{name}": work()}

    only = {"splits": options.splits}
    return [
        ("ridge", only, lambda: {"ridge": reference(splits, bayesian_ridge)}),
        ("gp", only, lambda: {"gp": reference(splits, gaussian_process)}),
        ("ensemble", plain.identity, Bench(splits, plain, folder).plain),
        bayesian("gaussian", gaussian),
        bayesian("mixture", mixture),
    ]


def main(argv: Sequence[str]) -> None:
    """Evaluate each method on each set that is not done."""
    options = read_options(SetOptions, argv, __doc__)
    torch.set_num_threads(options.threads)
    loaded = {name: load_splits(name, options.splits) for name in options.sets}
    for name, splits in loaded.items():
        folder = options.exp_dir / name
        for last, identity, job in jobs(splits, options, folder):
            file = folder / f"{last}.json"
            if file.exists():
                found = json.loads(file.read_text(encoding="utf-8"))
                script.check_same(found["options"], identity, folder)
                print(f"done already: {file}")
                continue
            for method, result in job().items():
                text = json.dumps({"options": identity, "overlap": splits.overlap, **result})
                write_text(folder / f"{method}.json", text + "\n")
            print(f"wrote {file}")


if __name__ == "__main__":
    script.run(main)

"""Trainings that go on where they were killed."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import bbb
from recipes.common import script
from recipes.regression.options import Training, parse_prior
from recipes.regression.regression import Regressor, Replicas, perceptron


def make_model(
    features: int,
    options: Training,
    num_train: int,
    *,
    prior: str | None,
    penalty: float,
    seed: int,
) -> Regressor:
    """Return a network, Bayesian if it has a prior, with initial weights of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = perceptron(features, options.hidden)
    if prior is None:
        return Regressor(net, num_train, penalty)
    density = parse_prior(prior)
    model = bbb.bayesianize(
        net,
        prior=density,
        sigma_init=options.sigma_init,
        bayesian_bias=True,
        # Less noisy gradients, where the KL term needs no draw of the weights.
        estimator="local" if density.closed_form else "weight",
    )
    return Regressor(model, num_train, penalty)


def fit(
    models: Sequence[Regressor], x: Tensor, y: Tensor, options: Training, file: Path
) -> list[Regressor]:
    """Train, or finish a training that was killed.

    Args:
        models: Networks of one shape.
        x: Inputs of each, (models, examples, features).
        y: Targets of each, (models, examples, 1).
        options: Of the training.
        file: Its checkpoint.

    Returns:
        The trained networks.

    Raises:
        ConfigError: If the checkpoint is of a training with other options.
    """  # noqa: DOC502 (by load)
    # Seeds of the draws must not be those of the weights.
    replicas = Replicas(models, x, y, seed=1_000_000)
    replicas.load(file, options.identity)
    with script.steps_progress() as progress:
        task = progress.add_task(file.stem, total=options.steps, completed=replicas.step)

        def after_step() -> None:
            progress.advance(task)
            if replicas.step % options.save_every == 0 or replicas.step == options.steps:
                replicas.save(file, options.identity)

        replicas.train(options.steps, options.batch_size, options.lr, after_step)
    return list(replicas.models())

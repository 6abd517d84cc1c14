"""The network, its Bayesian twin, and the loop that trains either.

Written to be copied: this file needs nothing but torch and ``bbb``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import bbb

PIXELS, CLASSES = 784, 10


def make_net(units: int, dropout: float = 0.0, input_dropout: float = 0.0) -> nn.Sequential:
    """Return a plain net of two hidden ReLU layers, with dropout before each linear layer.

    Args:
        units: Width of both hidden layers.
        dropout: Probability that a hidden unit is dropped; 0 for none.
        input_dropout: Probability that a pixel is dropped.

    Returns:
        The net, from (batch, 784) to logits (batch, 10).
    """
    layers: list[nn.Module] = []
    for size, p in ((PIXELS, input_dropout), (units, dropout)):
        layers += [nn.Dropout(p)] if p else []
        layers += [nn.Linear(size, units), nn.ReLU()]
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(units, CLASSES))


def make_bayesian(
    units: int, prior: bbb.priors.Prior, sigma_init: float, estimator: str = "auto"
) -> nn.Module:
    """Return the Bayesian net: a posterior over all weights and biases."""
    return bbb.bayesianize(
        make_net(units),
        prior=prior,
        sigma_init=sigma_init,
        estimator=estimator,
        bayesian_bias=True,
    )


def parameter_groups(model: nn.Module, rho_lr: float) -> list[dict[str, Any]]:
    """Return groups for an optimiser: all parameters but the posteriors' rho, and these.

    Args:
        model: The model, plain or Bayesian.
        rho_lr: Factor of the step size for rho, read by `train_epoch`.
    """
    names = dict(model.named_parameters())
    rho = [name for name in names if name.endswith("_rho")]
    groups: list[dict[str, Any]] = [{"params": [p for n, p in names.items() if n not in rho]}]
    if rho:
        groups.append({"params": [names[name] for name in rho], "factor": rho_lr})
    return groups


def train_step(
    model: nn.Module,
    criterion: bbb.ELBO,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    kl_weight: float = 1.0,
    num_samples: int = 1,
) -> Tensor:
    """Take one step down the negative evidence lower bound; a plain model's KL is 0.

    A step without a share of the KL divergence leaves it out, which saves a third of the time.

    Args:
        model: The model.
        criterion: Of the model.
        optimizer: Of the model's parameters.
        x: Images, shape (batch, 784).
        y: Digits, shape (batch,).
        kl_weight: Factor of the KL divergence; 0 leaves it out.
        num_samples: Draws of the weights; the gradient is the mean of theirs.

    Returns:
        Mean NLL of an image and KL divergence, averaged over the draws, in nats, shape (2,); the
        latter is NaN where it is left out.
    """
    optimizer.zero_grad()
    figures = torch.zeros(2, device=x.device)
    for _ in range(num_samples):
        if kl_weight:
            with criterion.record() as draws:
                output = model(x)
            loss, nll, kl = criterion(output, y, kl_weight=kl_weight, draws=draws)
        else:
            loss = nll = criterion.nll(model(x), y)
            kl = nll.new_full((), math.nan)
        (loss / num_samples).backward()  # type: ignore[no-untyped-call]
        figures += torch.stack((nll.detach(), kl.detach())) / num_samples
    optimizer.step()
    return figures


def train_epoch(
    model: nn.Module,
    criterion: bbb.ELBO,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    batch_size: int,
    lrs: Sequence[float],
    kl_weights: Sequence[float],
    num_samples: int = 1,
    after_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Pass once through shuffled images; there is a step for each of ``lrs``.

    Args:
        model: The model.
        criterion: Of the model.
        optimizer: Of the model's parameters.
        x: All training images, shape (images, 784).
        y: Their digits, shape (images,).
        batch_size: Images of a step.
        lrs: Step sizes, one for each batch that is taken.
        kl_weights: Factors of the KL divergence in the steps; it is left out where they are 0.
        num_samples: Draws of the weights in each step.
        after_step: Called after each.

    Returns:
        Means of NLL and KL, in nats, over the steps that have them.
    """
    model.train()
    order = torch.randperm(len(x)).to(x.device)
    figures = []
    for batch, lr, kl_weight in zip(order.split(batch_size), lrs, kl_weights, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("factor", 1.0)
        figures.append(
            train_step(
                *(model, criterion, optimizer, x[batch], y[batch]),
                kl_weight=kl_weight,
                num_samples=num_samples,
            )
        )
        after_step()
    nll, kl = torch.stack(figures).nanmean(0).tolist()
    return [nll, kl]


def cosine(done: float) -> float:
    """Factor of the step size at a share of the training, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))

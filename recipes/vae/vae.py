"""Variational autoencoders of binary images whose gradient estimator is one argument.

Written to be copied: this file needs nothing but torch and ``bbb.estimators``, and the training
loop at its end is the whole of it. Files, options, tables and pictures are its neighbours' trade.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
    kl_divergence,
)

import bbb.estimators as G

Loss: TypeAlias = Callable[["VAE", Tensor, G.Estimator], Tensor]
LATENTS = ("gaussian", "bernoulli", "categorical")
# Below it softplus underflows, and Normal refuses a scale of 0.
SMALLEST_SCALE = 1e-5


class VAE(nn.Module):
    r"""An encoder q(z | x), a prior p(z), and a decoder p(x | z) of independent Bernoulli pixels.

    The prior is N(0, I), or uniform over the values of a discrete z.

    Args:
        pixels: Pixels of an image.
        latent: Family of z: "gaussian", "bernoulli" or "categorical".
        size: Shape of z: (dim,), or (variables, classes) of a categorical one.
        hidden: Units of the encoder's hidden layers; the decoder has them in reverse order.
    """

    def __init__(
        self, pixels: int, latent: str, size: Sequence[int], hidden: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.latent, self.size = latent, torch.Size(size)
        codes = math.prod(size)
        parameters = 2 * codes if latent == "gaussian" else codes
        self.encoder = perceptron(pixels, *hidden, parameters)
        self.decoder = perceptron(codes, *reversed(hidden), pixels)

    def posterior(self, x: Tensor) -> Distribution:
        """Return q(z | x) of images (batch, pixels); its event is one z, of shape ``size``."""
        found = self.encoder(x)
        if self.latent == "gaussian":
            loc, rho = found.chunk(2, dim=-1)
            return Independent(Normal(loc, F.softplus(rho) + SMALLEST_SCALE), 1)
        logits = found.unflatten(-1, self.size)
        family = Bernoulli if self.latent == "bernoulli" else OneHotCategorical
        return Independent(family(logits=logits), 1)

    def prior(self, batch: Sequence[int] = ()) -> Distribution:
        """Return p(z), of this batch shape."""
        zeros = next(self.parameters()).new_zeros(*batch, *self.size)
        if self.latent == "gaussian":
            return Independent(Normal(zeros, torch.ones_like(zeros)), 1)
        family = Bernoulli if self.latent == "bernoulli" else OneHotCategorical
        return Independent(family(logits=zeros), 1)

    def decode(self, z: Tensor) -> Tensor:
        """Return the pixels' logits, (..., pixels), of (..., *size)."""
        logits: Tensor = self.decoder(z.flatten(-len(self.size)))
        return logits

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats of z (samples, batch, *size), (samples, batch)."""
        logits = self.decode(z)
        each = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -each.sum(-1)

    def kl(self, q: Distribution) -> Tensor:
        """Return KL(q || p) in nats, in closed form, (batch). Not KL(p || q)."""
        return kl_divergence(q, self.prior(q.batch_shape))

    def log_weight(self, x: Tensor, z: Tensor, q: Distribution) -> Tensor:
        """Return log p(x, z) - log q(z | x) in nats, (samples, batch)."""
        return self.log_likelihood(x, z) + self.prior().log_prob(z) - q.log_prob(z)


def perceptron(*sizes: int) -> nn.Sequential:
    """Return linear layers of these sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for inp, out in pairwise(sizes):
        layers += [nn.Linear(inp, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def negative_elbo(vae: VAE, x: Tensor, estimator: G.Estimator) -> Tensor:
    """Return -ELBO of each image in nats, (batch), with the estimator's gradient.

    Args:
        vae: The model.
        x: Images of zeros and ones, (batch, pixels).
        estimator: Any that fits the latent variables.
    """
    q = vae.posterior(x)
    cost = G.expectation(lambda z: -vae.log_likelihood(x, z), q, estimator, ctx=x)
    return cost + vae.kl(q)


def negative_bound(vae: VAE, x: Tensor, estimator: G.Estimator) -> Tensor:
    """Return the negative importance-weighted bound of each image; as `negative_elbo`.

    Here the divergence is not in closed form: the bound needs it at the very draws.
    """
    q = vae.posterior(x)
    return -G.multi_sample_bound(lambda z: vae.log_weight(x, z, q), q, estimator)


def make_optimizer(vae: VAE, estimator: G.Estimator, lr: float) -> torch.optim.Optimizer:
    """Return Adam over the model and what the estimator learns: a baseline, a temperature."""
    return torch.optim.Adam([*vae.parameters(), *estimator.parameters()], lr=lr)


def train(
    vae: VAE,
    estimator: G.Estimator,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    batches: Iterable[Tensor],
    after_step: Callable[[float], None] = lambda _: None,
) -> None:
    """Train, one step for each batch.

    Args:
        vae: The model.
        estimator: Gives the gradient of the encoder.
        loss: `negative_elbo` or `negative_bound`.
        optimizer: Of all their parameters.
        batches: Images, (batch, pixels) each.
        after_step: Called with each step's mean loss in nats.
    """
    for x in batches:
        optimizer.zero_grad()
        value = loss(vae, x, estimator).mean()
        value.backward()
        optimizer.step()
        after_step(value.item())

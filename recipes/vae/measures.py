"""How good a model is, and how noisy the gradient of its encoder."""

import copy
import math

import torch
from torch import Tensor

import bbb.estimators as G
from bbb.distributions import drawn_by
from recipes.vae.vae import VAE, Loss


@torch.no_grad()
def bounds_of(
    vae: VAE, images: Tensor, num_samples: int, seed: int, *, rows: int = 250, draws: int = 20
) -> tuple[float, float]:
    """Bounds on the log-likelihood of test images, both with real draws of z, never relaxed ones.

    Args:
        vae: The model.
        images: (images, pixels), uint8.
        num_samples: K; the ELBO is the mean over them too.
        seed: Of the draws.
        rows: Images at once.
        draws: Samples at once, at most.

    Returns:
        Negative ELBO and negative importance-weighted bound, nats per image.
    """
    generator = torch.Generator().manual_seed(seed)
    elbo, bound = 0.0, 0.0
    for x in images.split(rows):
        x = x.float()  # noqa: PLW2901 (the same images)
        q = vae.posterior(x)
        log_mean = torch.full((len(x),), -math.inf)
        likelihood = torch.zeros(len(x))
        for done in range(0, num_samples, draws):
            with drawn_by(generator):
                z = q.sample((min(draws, num_samples - done),))
            each = vae.log_likelihood(x, z)
            likelihood += each.sum(0)
            weights = each + vae.prior().log_prob(z) - q.log_prob(z)
            log_mean = torch.logaddexp(log_mean, weights.logsumexp(0))
        elbo += (vae.kl(q) - likelihood / num_samples).sum().item()
        bound -= (log_mean - math.log(num_samples)).sum().item()
    return elbo / len(images), bound / len(images)


def gradient_noise(
    vae: VAE, estimator: G.Estimator, loss: Loss, x: Tensor, *, replicas: int, seed: int
) -> dict[str, float]:
    """Variance and signal-to-noise ratio of the encoder's gradient on a fixed batch.

    Neither the model nor the estimator changes: a copy of the estimator draws, by its own
    generator, and what it has learned stands still.

    Args:
        vae: The model.
        estimator: The estimator.
        loss: The objective.
        x: The batch, (batch, pixels).
        replicas: Gradients that are compared, >= 2.
        seed: Of the draws.

    Returns:
        ``variance``: the sum over the encoder's parameters; ``snr``: length of the mean gradient
        (less what noise adds to it, 0 if noise is all there is) over the root of the variance.
    """
    still = copy.deepcopy(estimator).eval()
    still.generator = torch.Generator().manual_seed(seed)
    parameters = list(vae.encoder.parameters())
    mean = squares = torch.zeros(())
    for count in range(1, replicas + 1):
        value = loss(vae, x, still).mean()
        found = torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]).double()
        step = found - mean
        mean = mean + step / count
        squares = squares + (step * (found - mean)).sum()
    variance = squares.item() / (replicas - 1)
    signal = mean.square().sum().item() - variance / replicas
    snr = math.sqrt(max(signal, 0.0) / variance) if variance else math.inf
    return {"variance": variance, "snr": snr}

"""What a net says about images, at its mean or over draws, and how good that is."""

import torch
from torch import Tensor, nn

import bbb
from bbb import uncertainty

# Images at once: bounds the memory, and keeps a hidden layer in the processor's cache.
BLOCK = 2000


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor, num_samples: int = 0, seed: int = 0) -> Tensor:
    """Logits of images, in blocks.

    Args:
        model: The net; only a Bayesian one can be drawn.
        x: Images, shape (images, 784).
        num_samples: Draws of all weights; 0: the posterior mean, or the plain net in ``eval()``.
        seed: Names the draws, which are the same for all images.

    Returns:
        Shape (samples, images, 10), with one sample for the mean.
    """
    model.eval()
    if not num_samples:
        return torch.cat([model(block) for block in x.split(BLOCK)])[None]
    blocks = [bbb.predict(model, block, num_samples, seed=seed) for block in x.split(BLOCK)]
    return torch.cat(blocks, 1)


@torch.no_grad()
def dropout_outputs(model: nn.Module, x: Tensor, num_samples: int, seed: int = 0) -> Tensor:
    """Logits under Monte Carlo dropout (Gal and Ghahramani 2016), shape (samples, images, 10)."""
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rows = [torch.cat([model(b) for b in x.split(BLOCK)]) for _ in range(num_samples)]
    model.eval()
    return torch.stack(rows)


def figures(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Judge predictions.

    Args:
        logits: Shape (samples, images, classes); their probabilities are averaged.
        y: Right classes, shape (images,).

    Returns:
        "error": share of wrong ones in [0, 1]; "nll" in nats; "ece", of 15 bins of equal width.
    """
    wrong = logits.softmax(-1).mean(0).argmax(-1) != y
    return {
        "error": wrong.double().mean().item(),
        "nll": uncertainty.nll(logits, y).mean().item(),
        "ece": uncertainty.expected_calibration_error(logits, y).item(),
    }


def evaluate(
    model: nn.Module, x: Tensor, y: Tensor, num_samples: int = 0
) -> dict[str, dict[str, float]]:
    """Judge a net: "mean" by its means, and "draws" where ``num_samples`` are asked for."""
    found = {"mean": figures(outputs(model, x), y)}
    if num_samples:
        found["draws"] = figures(outputs(model, x, num_samples), y)
    return found
